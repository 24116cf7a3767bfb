"""How many trees, correct actions and pairs there are, by task, turn and data set; and the split guard."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from prm.data.guard import Guard
from prm.preference.records import PairRow, SftRow

_FRAMES = re.compile(
    r"(?:Tool available:|\[\d+\] |When you send a message containing Python code|"
    r"The Wikipedia Search tool|Can query specific keywords|Solve the following |"
    r"Simplify your answer as much as possible|Write Python code to solve the task).*"
)
"""Lines that UltraInteract puts before its problems."""


def problem_of(instruction: str) -> str:
    """The problem that an instruction states, without the lines that UltraInteract puts before it."""
    lines = instruction.split("\n")
    while len(lines) > 1 and _FRAMES.fullmatch(lines[0]):
        del lines[0]
    return "\n".join(lines)


@dataclass(slots=True)
class Decontamination:
    """Keeps instructions that overlap an evaluation set out.

    Two problems overlap if they are the same or share eight consecutive words (`prm.data.guard`).
    kept, dropped: instructions, by id; dropped ones with the reason. rows: how many rows were dropped.
    """

    guard: Guard = field(default_factory=Guard.known)
    kept: set[str] = field(default_factory=set)
    dropped: dict[str, str] = field(default_factory=dict)
    rows: int = 0

    def allows(self, id_: str, instruction: str) -> bool:
        """Whether an instruction may be trained on. id_: its own, the `parent_id` of its rows."""
        if id_ not in self.kept and id_ not in self.dropped:
            reason = self.guard.overlap(problem_of(instruction))
            if reason is None:
                self.kept.add(id_)
            else:
                self.dropped[id_] = reason
        return id_ in self.kept

    def pairs(self, rows: Iterable[PairRow]) -> Iterator[PairRow]:
        """The rows of instructions that may be trained on."""
        for row in rows:
            if self.allows(row.parent_id, row.instruction):
                yield row
            else:
                self.rows += 1

    def sft(self, rows: Iterable[SftRow]) -> Iterator[SftRow]:
        """The rows of instructions that may be trained on."""
        for row in rows:
            if self.allows(row.parent_id, row.instruction):
                yield row
            else:
                self.rows += 1

    def report(self) -> dict[str, Any]:
        return {
            "instructions_kept": len(self.kept),
            "instructions_dropped": dict(Counter(self.dropped.values())),
            "rows_dropped": self.rows,
        }

    def describe(self) -> str:
        reasons = ", ".join(f"{n:,} {why}" for why, n in Counter(self.dropped.values()).most_common())
        total = f"split guard: {len(self.kept) + len(self.dropped):,} instructions"
        if not reasons:
            return f"{total}, none overlaps an evaluation set"
        return f"{total}, {len(self.dropped):,} overlap an evaluation set and are left out ({reasons})"


@dataclass(slots=True)
class Counts:
    """What rows hold; each row is counted as it passes, so files of any size can be counted.

    correct, pairs: by (task, data set, turn).
    """

    instructions: set[str] = field(default_factory=set)
    trees: set[str] = field(default_factory=set)
    correct: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def sft(self, rows: Iterable[SftRow]) -> Iterator[SftRow]:
        """Pass the rows on, counted."""
        for row in rows:
            self._saw(row)
            self.correct[row.task, row.dataset, row.id.turn] += 1
            yield row

    def paired(self, rows: Iterable[PairRow]) -> Iterator[PairRow]:
        """Pass the rows on, counted. The turn is that of the trajectory."""
        for row in rows:
            self._saw(row)
            self.pairs[row.task, row.dataset, len(row.trajectory) // 2 + 1] += 1
            yield row

    def _saw(self, row: SftRow | PairRow) -> None:
        self.instructions.add(row.parent_id)
        self.trees.add(row.id.tree)

    @property
    def turns(self) -> list[int]:
        return sorted({turn for _, _, turn in self.pairs})

    def pairs_by_turn(self, task: str, dataset: str) -> list[int]:
        """One number for each of `turns`."""
        return [self.pairs[task, dataset, turn] for turn in self.turns]

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Task and data set of all rows, sorted."""
        return sorted({(task, dataset) for task, dataset, _ in (*self.correct, *self.pairs)})

    def correct_of(self, task: str, dataset: str) -> int:
        return sum(n for (a, b, _), n in self.correct.items() if (a, b) == (task, dataset))

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "instructions": len(self.instructions), "trees": len(self.trees),
            "correct_actions": sum(self.correct.values()), "pairs": sum(self.pairs.values()),
            "by_source": [
                {
                    "task": task, "dataset": dataset, "correct_actions": self.correct_of(task, dataset),
                    "pairs_by_turn": dict(
                        zip(map(str, self.turns), self.pairs_by_turn(task, dataset), strict=True)
                    ),
                }
                for task, dataset in self.sources
            ],
        }  # fmt: skip

    def describe(self) -> str:
        """A table, for the terminal."""
        head = ["task", "data set", "correct", *(f"pairs, turn {turn}" for turn in self.turns)]
        rows = [
            [task, dataset, f"{self.correct_of(task, dataset):,}",
             *(f"{n:,}" for n in self.pairs_by_turn(task, dataset))]
            for task, dataset in self.sources
        ]  # fmt: skip
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        lines = [
            "  ".join(
                text.ljust(width) if column < 2 else text.rjust(width)
                for column, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in [head, *rows]
        ]
        total = (
            f"{len(self.instructions):,} instructions, {len(self.trees):,} trees, "
            f"{sum(self.correct.values()):,} correct actions, {sum(self.pairs.values()):,} pairs"
        )
        return "\n".join([total, "", *lines])
