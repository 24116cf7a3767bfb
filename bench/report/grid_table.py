"""The table of a grid at one budget: every strategy beside the baseline, and what is more than noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report.comparison import ALPHA, Comparison, accuracy_of, compare
from bench.report.diagnosis import Diagnosis
from bench.report.grid import Cell, Grid
from bench.report.sides import Seed, Side
from bench.report.stats import holm
from bench.tasks.oracle import is_oracle
from search.limits import Cost

Diagnoses = Mapping[tuple[str, str], Diagnosis]
"""By strategy and budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A strategy at one budget, over all its seeds. An answer is one problem with one seed.

    accuracy, interval: with its 95 % interval. versus: the comparison with the baseline, None for the
    baseline itself, for bounds, and where the baseline is not finished. p: of that, after Holm's correction
    over the table. is_baseline: whether the others are compared with this one.
    cost: the sum over all answers. used: the share of the budget; None without one.
    oracle: the share of answers for which any candidate is right; None if it was not looked at.
    """

    strategy: str
    cells: Sequence[Cell]
    side: Side
    accuracy: float
    interval: tuple[float, float]
    versus: Comparison | None
    p: float | None
    oracle: float | None
    is_baseline: bool = False

    @property
    def is_bound(self) -> bool:
        """Whether it is guided by the references: an upper bound, and no result."""
        return is_oracle(self.strategy)

    @property
    def answers(self) -> int:
        return sum(len(cell.summary.graded) for cell in self.cells)

    @property
    def cost(self) -> Cost:
        return sum((cell.summary.cost for cell in self.cells), Cost())

    @property
    def total_tokens(self) -> float:
        """Of an answer, on average."""
        return self.cost.total_tokens / max(1, self.answers)

    @property
    def used(self) -> float | None:
        shares = [share for cell in self.cells if (share := cell.summary.used) is not None]
        return sum(shares) / len(shares) if shares else None

    @property
    def failed(self) -> int:
        """Answers that failed with an error; they count as wrong."""
        return sum(len(cell.summary.failed) for cell in self.cells)

    @property
    def verdict(self) -> str:
        """Whether it differs from the baseline by more than noise, in words."""
        if self.versus is None or self.p is None:
            return "bound" if self.is_bound else "baseline" if self.is_baseline else ""
        if self.p >= ALPHA:
            return "within the noise"
        return "better" if self.versus.difference > 0 else "worse"


def side_of(strategy: str, cells: Sequence[Cell]) -> Side:
    """The results of a strategy at one budget, to be paired by problem. Failed problems count as wrong."""
    seeds = [
        Seed(
            cell.seed, {g.outcome.problem.id: g.correct for g in cell.summary.graded},
            {g.outcome.problem.id: g.outcome.cost for g in cell.summary.graded},
        )
        for cell in cells
    ]  # fmt: skip
    return Side(strategy, seeds)


def lines(grid: Grid, budget: str, diagnoses: Diagnoses) -> list[Line]:
    """The table at one budget, most accurate first, bounds last."""
    sides = {
        name: side_of(name, cells) for name in grid.strategies if (cells := grid.of(name, budget))
    }
    base = sides.get(grid.baseline)
    against = {
        name: compare(side, base)
        for name, side in sides.items()
        if base is not None and name != grid.baseline and not is_oracle(name)
    }
    adjusted = dict(zip(against, holm([c.p for c in against.values()]), strict=True))
    table = []
    for name, side in sides.items():
        accuracy, interval = accuracy_of(side, side.problems)
        found = diagnoses.get((name, budget))
        table.append(Line(
            strategy=name, cells=grid.of(name, budget), side=side, accuracy=accuracy, interval=interval,
            versus=against.get(name), p=adjusted.get(name), oracle=None if found is None else found.oracle,
            is_baseline=name == grid.baseline,
        ))  # fmt: skip
    return sorted(table, key=lambda line: (line.is_bound, -line.accuracy, line.total_tokens))
