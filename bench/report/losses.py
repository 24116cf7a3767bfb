"""Why one problem was not solved, as far as its search tree tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why a problem was lost. Of several that hold, the first one counts."""

    ERROR = "error"
    """The problem failed with an error."""
    GRADER = "grader"
    """The solution states no answer that could be read: what was graded is a guess, or nothing."""
    CHOICE = "choice"
    """A right solution is among the candidates, and another one was chosen."""
    STEP = "step"
    """A step-guided search went wrong at a step that the reward model scored as right."""
    BUDGET = "budget"
    """A limit ended the search, or cut the solution, before a right one was found."""
    POOL = "pool"
    """The search came to its own end, and no candidate is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A problem that was not solved. why: one sentence about it, with its figures."""

    problem: str
    seed: int
    cause: Cause
    why: str
