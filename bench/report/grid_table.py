"""The tables of a grid: at each budget every strategy beside the baseline, and what is more than noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report.grid import Grid
from bench.report.methods import Method, Versus, against_baseline, methods_of


@dataclass(frozen=True, slots=True)
class Line:
    """A method in the table of its budget.

    versus: the comparison with the baseline; None for the baseline itself, for bounds, and where the baseline
    is not finished. is_baseline: whether the others are compared with this one.
    """

    method: Method
    versus: Versus | None
    is_baseline: bool

    @property
    def verdict(self) -> str:
        """Whether it differs from the baseline by more than noise, in words."""
        if self.versus is not None:
            return self.versus.verdict
        return "bound" if self.method.is_bound else "baseline" if self.is_baseline else ""


def tables_of(grid: Grid) -> Mapping[str, Sequence[Line]]:
    """The table of each budget, most accurate first, bounds last."""
    methods = methods_of(grid)
    versus = against_baseline(methods, grid.baseline)
    tables: dict[str, list[Line]] = {budget: [] for budget in grid.budgets}
    for method in methods:
        line = Line(method, versus.get(method), method.strategy == grid.baseline)
        tables[method.budget].append(line)
    for lines in tables.values():
        lines.sort(key=lambda line: (line.method.is_bound, -line.method.accuracy, line.method.total_tokens))
    return tables
