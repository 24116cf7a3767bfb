"""Why one problem was not solved, as far as its search tree tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bench.report.summary import Ending, Graded
from bench.report.tree_facts import TreeFacts
from search.types import Stop

RIGHT_FROM = 0.5
"""A step is scored as right if P(not wrong) is at least this."""
SHOWN = 80
"""Characters of a step that are quoted."""


class Cause(StrEnum):
    """Why a problem was lost. Of several that hold, the first one counts."""

    ERROR = "error"
    """The problem failed with an error."""
    GUESS = "guess"
    """The solution states no answer; its last mathematics or number was graded, and is wrong."""
    CHOICE = "choice"
    """A right solution is among the candidates, and another one was chosen."""
    STEP = "step"
    """A step-guided search went wrong at a step that the reward model scored as right."""
    BUDGET = "budget"
    """A limit ended the search with one candidate at most, or cut the solution.

    With more candidates it is `POOL`: at equal cost, sampling always goes on until the budget is spent.
    """
    UNREAD = "unread"
    """The solution ends without an answer that could be read."""
    POOL = "pool"
    """No candidate is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A problem that was not solved. why: one or two sentences about it, with its figures."""

    problem: str
    seed: int
    cause: Cause
    why: str


def loss_of(graded: Graded, facts: TreeFacts | None, *, seed: int, guided: bool) -> Loss:
    """Why a problem that is not solved was lost.

    facts: None if the trace has no tree of it. guided: whether steps, not solutions, guide the strategy.
    """
    cause, why = _cause(graded, facts, guided)
    return Loss(problem=graded.outcome.problem.id, seed=seed, cause=cause, why=why)


def _cause(graded: Graded, facts: TreeFacts | None, guided: bool) -> tuple[Cause, str]:
    outcome = graded.outcome
    if outcome.error is not None or facts is None or facts.tree.chosen is None:
        return Cause.ERROR, f"It failed: {outcome.error or 'its trace has no answer'}."
    if graded.fallback:
        return Cause.GUESS, (
            f"The chosen solution states no answer, so its last mathematics or number was graded: "
            f"{outcome.answer}."
        )
    if facts.is_solvable:
        return Cause.CHOICE, _choice(facts)
    error, scored_right = facts.first_error, False
    at = ""
    if error is not None and error.step is not None:
        scored_right = error.score is not None and error.score.value >= RIGHT_FROM
        score = "not scored" if error.score is None else f"scored {error.score.value:.2f}"
        text = " ".join(error.step.text.split())
        quoted = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
        at = f" Its first wrong step is step {len(error.address)}, {score}: {quoted}"
    if guided and scored_right:
        return Cause.STEP, f"The reward model scored a wrong step of the chosen solution as right.{at}"
    stop = None if facts.tree.chosen.step is None else facts.tree.chosen.step.stop
    if stop is Stop.LENGTH:
        return Cause.BUDGET, f"The chosen solution was cut at the length limit.{at}"
    answered = sum(candidate.answer is not None for candidate in facts.candidates)
    if (outcome.events.late or outcome.events.exhausted) and answered <= 1:
        limit = "deadline" if outcome.events.late else "limit"
        return Cause.BUDGET, f"Its {limit} ended the search, and {_none_right(facts)}.{at}"
    if graded.ending is Ending.WITHOUT_ANSWER:
        return Cause.UNREAD, "The chosen solution ends without an answer that could be read."
    what = _none_right(facts)
    return Cause.POOL, f"{what[0].upper()}{what[1:]}.{at}"


def _none_right(facts: TreeFacts) -> str:
    n = len(facts.candidates)
    if n == 1:
        return "its one candidate is wrong"
    return f"none of its {n:,} candidates is right" if n else "it has no finished solution"


def _choice(facts: TreeFacts) -> str:
    right = [c for c in facts.candidates if c.right]
    text = f"{len(right):,} of {len(facts.candidates):,} candidates are right, and another one was chosen."
    best = max((c.value for c in right if c.value is not None), default=None)
    chosen = next((c.value for c in facts.candidates if c.node is facts.tree.chosen), None)
    if best is None or chosen is None:
        return text
    return f"{text} Its value is {chosen:.2g}, that of the best right one {best:.2g}."
