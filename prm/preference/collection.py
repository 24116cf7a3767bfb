"""How a preference tree is collected (Eurus, Yuan et al. 2024, section 2 and appendix A).

At each turn one correct and one incorrect action are looked for, after the history of incorrect actions and
observations. The correct one ends; the incorrect one is answered by the environment and expanded. A correct
action is looked for on a ladder:

    1. the actor samples, up to `samples` times
    2. stronger actors sample, each as often, in turn
    3. the strongest one is shown a gold solution

The paper samples 20 actions and draws one of the correct ones. Here the first correct one ends the rung: it
has the same distribution, for the samples are independent, at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from prm.preference.tree import MAX_DEPTH, Observation, Turn, canonical
from search.types import Problem

History = Sequence[tuple[str, Observation]]
"""Incorrect actions, each with the observation that answered it."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """An environment's answer to an action.

    correct: whether the action solves the problem. is_valid: False for one that is no attempt, as text
        without a program where a program is asked for; it becomes neither side of a pair.
    """

    correct: bool
    observation: Observation
    is_valid: bool = True


class Environment(Protocol):
    """What an action is sent to: a checker, a Python interpreter, a critic."""

    async def step(self, problem: Problem, actions: Sequence[str]) -> Feedback:
        """Answer the last action of a branch, given those before it. Raises SearchError if it cannot."""
        ...


class Status(StrEnum):
    CORRECT = "correct"
    WRONG = "wrong"
    INVALID = "invalid"
    """No attempt, or cut at the token limit."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An action that was sampled and answered."""

    text: str
    status: Status
    observation: Observation


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in the collection of one problem an action is sampled; seeds and records are keyed by it.

    turn: from 1. actor: 0, then the stronger ones. gold: which gold solution is shown, from 0; -1 is none.
    number: of the sample, from 0.
    """

    turn: int
    actor: int
    gold: int
    number: int

    def __str__(self) -> str:
        return f"{self.turn}/{self.actor}/{self.gold}/{self.number}"


Attempted = Callable[[Place, History], Coroutine[Any, Any, Attempt | None]]
"""Samples an action and has it answered; None if that failed."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """actors: how many, the stronger ones included. samples, gold_samples: of each rung, at most."""

    samples: int = 20
    gold_samples: int = 20
    actors: int = 1
    depth: int = MAX_DEPTH

    @property
    def rungs(self) -> list[str]:
        """Names of the rungs, as `Collected.rungs` has them."""
        return ["actor", *(f"stronger {n}" for n in range(1, self.actors)), "gold"]


@dataclass(frozen=True, slots=True)
class Collected:
    """turns: of the tree; empty if there is none. extra: pairs of further gold solutions.

    rungs: for each turn, the rung that its correct action comes from, None if there was none.
    """

    turns: tuple[Turn, ...]
    extra: tuple[Turn, ...]
    rungs: tuple[str | None, ...]


async def collect(attempt: Attempted, n_gold: int, ladder: Ladder) -> Collected:
    """Collect the tree of one problem. n_gold: the number of its gold solutions."""
    turns, rungs, history = list[Turn](), list[str | None](), list[tuple[str, Observation]]()
    extra: list[Turn] = []
    for number in range(1, ladder.depth + 1):
        correct, wrong, rung = await _climb(attempt, number, history, n_gold, ladder)
        rungs.append(rung)
        if number == 1 and rung == "gold":
            extra = await _extra(attempt, wrong[1:], n_gold, ladder)
        first = wrong[0] if wrong else None
        turns.append(
            Turn(
                None if correct is None else correct.text, None if first is None else first.text,
                None if first is None else first.observation,
            )
        )  # fmt: skip
        if first is None:
            break
        history.append((first.text, first.observation))
    return Collected(canonical(turns), tuple(extra), tuple(rungs))


async def _climb(
    attempt: Attempted, turn: int, history: History, n_gold: int, ladder: Ladder
) -> tuple[Attempt | None, list[Attempt], str | None]:
    """The correct action of a turn, the wrong ones that were sampled, and the rung of the correct one."""
    correct: Attempt | None = None
    wrong: dict[str, Attempt] = {}
    for actor in range(ladder.actors):
        for number in range(ladder.samples):
            made = await attempt(Place(turn, actor, -1, number), history)
            if made is not None and made.status is Status.WRONG:
                wrong.setdefault(made.text.strip(), made)
            elif made is not None and made.status is Status.CORRECT:
                correct = correct or made
            if correct is not None and wrong:
                break
        if correct is not None:
            return correct, list(wrong.values()), ladder.rungs[actor]
    if n_gold:
        correct = await _after_gold(attempt, turn, 0, history, ladder)
    return correct, list(wrong.values()), None if correct is None else "gold"


async def _after_gold(
    attempt: Attempted, turn: int, gold: int, history: History, ladder: Ladder
) -> Attempt | None:
    """A correct action of the strongest actor, which is shown a gold solution."""
    for number in range(ladder.gold_samples):
        made = await attempt(Place(turn, ladder.actors - 1, gold, number), history)
        if made is not None and made.status is Status.CORRECT:
            return made
    return None


async def _extra(attempt: Attempted, wrong: Sequence[Attempt], n_gold: int, ladder: Ladder) -> list[Turn]:
    """Pairs of a correct action after each further gold solution and a wrong one that is in no pair."""
    pairs = []
    for gold, other in zip(range(1, n_gold), wrong, strict=False):
        correct = await _after_gold(attempt, 1, gold, (), ladder)
        if correct is not None:
            pairs.append(Turn(correct.text, other.text))
    return pairs
