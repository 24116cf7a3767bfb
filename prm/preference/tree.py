"""Preference trees: an instruction, and for each turn a right and a wrong action.

The right action ends its branch. The wrong one is answered by the environment, and the next turn follows:

    instruction -> right 1
                -> wrong 1 -> observation -> right 2
                                          -> wrong 2 -> observation -> ...

Section 2 and appendix A of Eurus (Yuan et al. 2024, arXiv:2404.02078), whose data set is UltraInteract.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import zip_longest

from search.errors import UsageError

MAX_DEPTH = 5
"""Turns of a tree at most (appendix A)."""
TASKS = ("Coding", "Math_CoT", "Math_PoT", "Logic")
"""UltraInteract's tasks. PoT: program of thought, a program that computes the answer."""

_VERDICT = re.compile(r"^Your answer is (correct|wrong)\.$", re.MULTILINE)
_OUTPUT = "Out: "


@dataclass(frozen=True, slots=True)
class Observation:
    """What the environment answers to an action, as the user's next message.

    The properties read the message's parts, "Out: OUTPUT", "Your answer is wrong." and a critique, each on
    lines of its own. A program can print a verdict, so what was right is never read from here.
    """

    text: str

    @classmethod
    def of(cls, correct: bool, *, output: str = "", critique: str = "") -> Observation:
        """output: what the programs of the action printed, or a traceback. critique: advice in words."""
        verdict = f"Your answer is {'correct' if correct else 'wrong'}."
        parts = [f"{_OUTPUT}{output}" if output else "", verdict, critique]
        return cls("\n".join(part for part in parts if part))

    @property
    def output(self) -> str:
        """What programs printed; "" if the message does not say."""
        return self._before.removeprefix(_OUTPUT) if self._before.startswith(_OUTPUT) else ""

    @property
    def critique(self) -> str:
        """What follows the verdict; the whole message if it has neither verdict nor output."""
        end = self._verdict
        if end is not None:
            return self.text[end.end() :].removeprefix("\n")
        return "" if self.text.startswith(_OUTPUT) else self.text

    @property
    def _verdict(self) -> re.Match[str] | None:
        """The last one: what stands before it may be the output of a program."""
        return next(reversed(list(_VERDICT.finditer(self.text))), None)

    @property
    def _before(self) -> str:
        found = self._verdict
        return self.text if found is None else self.text[: found.start()].removesuffix("\n")


@dataclass(frozen=True, slots=True)
class Turn:
    """The actions of one turn, each a complete message of a policy.

    observation: the answer to the incorrect action, which the next turn follows.
    """

    correct: str | None
    incorrect: str | None = None
    observation: Observation | None = None

    @property
    def is_pair(self) -> bool:
        return self.correct is not None and self.incorrect is not None


@dataclass(frozen=True, slots=True)
class PreferenceTree:
    """A tree in the form that UltraInteract's files can hold; `canonical` makes it of any turns.

    id: unique. parent_id: shared by all trees of an instruction. task: as in `TASKS`, or another word.
    dataset: where the instruction comes from. depth: turns of the whole tree; more than `turns` if some of
        them are unknown.
    turns: in all but the last one or two, the incorrect action is known, and its observation. The last turn
        is a pair, or there is a pair and then a turn without an incorrect action, or a correct action alone.

    Raises UsageError if the turns are not in this form, or if a text is blank.
    """

    id: str
    parent_id: str
    task: str
    dataset: str
    instruction: str
    turns: tuple[Turn, ...]
    depth: int = 0

    def __post_init__(self) -> None:
        if not self.turns or canonical(self.turns) != self.turns:
            raise UsageError(f"{self.id}: the turns of a preference tree are incomplete")
        actions = [text for turn in self.turns for text in (turn.correct, turn.incorrect) if text is not None]
        if not all(text.strip() for text in (self.instruction, *actions)):
            raise UsageError(f"{self.id}: an instruction or an action is blank")
        if not self.depth:
            object.__setattr__(self, "depth", len(self.turns))
        if self.depth < len(self.turns):
            raise UsageError(f"{self.id}: {len(self.turns)} turns, but a depth of {self.depth}")

    @property
    def pairs(self) -> list[tuple[int, str, str]]:
        """Turn (from 1), correct and incorrect action of each pair."""
        return [
            (number, turn.correct, turn.incorrect)
            for number, turn in enumerate(self.turns, start=1)
            if turn.correct is not None and turn.incorrect is not None
        ]

    def history(self, turn: int) -> list[tuple[str, Observation]]:
        """The incorrect actions before a turn (from 1), each with its observation.

        Raises UsageError if one of them is unknown, as it may be before the last turn.
        """
        before: list[tuple[str, Observation]] = []
        for earlier in self.turns[: turn - 1]:
            if earlier.incorrect is None or earlier.observation is None:
                raise UsageError(f"{self.id}: what came before turn {turn} is unknown")
            before.append((earlier.incorrect, earlier.observation))
        return before


def canonical(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns as UltraInteract's files can hold them; empty if there is no correct action to begin with.

    A history stands in the pairs that follow it, and a correct action alone is written without one. So of
    what comes after the last pair only a correct action is kept, and the last pair's observation is not.
    """
    reached = list[Turn]()  # turns whose history is complete
    for turn, after in zip_longest(turns, turns[1:]):
        reached.append(turn)
        if turn.incorrect is None or turn.observation is None:
            if turn.is_pair and after is not None and after.incorrect is None:
                reached.append(after)
            break
    last = max((n for n, turn in enumerate(reached, start=1) if turn.is_pair), default=0)
    kept = [*reached[: max(0, last - 1)]]
    if last:
        kept.append(Turn(reached[last - 1].correct, reached[last - 1].incorrect))
    if last < len(reached) and reached[last].correct is not None:
        kept.append(Turn(reached[last].correct))
    return tuple(kept)


def instruction_id(instruction: str) -> str:
    """The id that all trees of an instruction share, as their `parent_id`."""
    return sha256(instruction.encode(errors="surrogatepass")).hexdigest()


def tree_id(instruction: str, key: str = "") -> str:
    """The id of a tree of an instruction. key: tells several trees of one instruction apart."""
    return instruction_id(f"{instruction}\x1f{key}" if key else instruction)


def task_name(task: str) -> str:
    """A task as in `TASKS` ("Math_Cot" is Math_CoT); other words stay as they are."""
    return next((name for name in TASKS if name.casefold() == task.casefold()), task)
