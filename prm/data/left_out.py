"""Rows of a data set that were left out because they could not be read, counted by reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MOST_REASONS = 8
"""Reasons that are listed; the others are summed up."""

_DETAIL = re.compile(r", not .*|: .*", re.DOTALL)
_NUMBER = re.compile(r"(?<=step )\d+|^\d+(?= steps)|(?<=steps but )\d+")


@dataclass(slots=True)
class LeftOut:
    """What was left out of the data sets that were read with it.

    read: rows seen, by data set. counts: rows left out, by data set and reason.
    first: the place of the first of them and what was wrong with it, by data set and reason.
    """

    read: dict[str, int] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    first: dict[tuple[str, str], str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counts)

    def saw(self, source: str) -> None:
        """Count a row of the data set `source`."""
        self.read[source] = self.read.get(source, 0) + 1

    def add(self, source: str, where: str, reason: str) -> None:
        """Count a row as left out. where: its place, for messages."""
        key = source, _NUMBER.sub("N", _DETAIL.sub("", reason))
        self.counts[key] = self.counts.get(key, 0) + 1
        self.first.setdefault(key, f"{where}: {reason}")

    def first_of(self, source: str) -> str | None:
        """The first row of the data set that was left out, and why; None if there is none."""
        return next((first for (of, _), first in self.first.items() if of == source), None)

    def describe(self) -> str:
        """The counts, for the terminal and the model card."""
        if not self:
            return "rows left out: none"
        lines = []
        for source in dict.fromkeys(source for source, _ in self.counts):
            reasons = sorted(
                ((n, reason) for (of, reason), n in self.counts.items() if of == source), reverse=True
            )
            total = sum(n for n, _ in reasons)
            lines.append(f"rows left out: {total:,} of {self.read.get(source, total):,} of {source}")
            for n, reason in reasons[:MOST_REASONS]:
                lines.append(f"  {n:,} x {reason} (first: {self.first[source, reason]})")
            if rest := reasons[MOST_REASONS:]:
                lines.append(f"  {sum(n for n, _ in rest):,} for {len(rest)} other reasons")
        return "\n".join(lines)

    def report(self) -> dict[str, dict[str, int]]:
        """By data set: how many rows were left out, by reason."""
        report: dict[str, dict[str, int]] = {}
        for (source, reason), n in self.counts.items():
            report.setdefault(source, {})[reason] = n
        return report
