"""What a person sees while a grid runs, and before."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress

from bench.report.summary import Graded, Summary
from bench.runner.cli.report import say
from bench.runner.forecast import Forecast
from bench.runner.grid import GridRun, GridWatch, Row


class GridLines(GridWatch):
    """A line for the grid and one for the cell that runs; without a terminal, one for each finished cell."""

    def __init__(self, grid: GridRun, progress: Progress, notes: Console):
        self._progress, self._notes = progress, notes
        self._problems = len(grid.base.examples)
        self._cells = sum(len(row.run.strategies) for row in grid.rows)
        self._finished = self._cells - sum(len(row.unfinished) for row in grid.rows)
        self._all = progress.add_task("all cells", total=self._cells, completed=self._finished, facts="")
        self._cell = progress.add_task("", total=self._problems, facts="")
        self._done = self._correct = 0

    def fitting(self, row: Row) -> None:
        what = f"{row.budget}, seed {row.seed}"
        self._progress.update(self._cell, description=what, completed=0, facts="fitting parameters to it")

    def cell(self, row: Row, strategy: str) -> None:
        self._done = self._correct = 0
        what = f"{strategy}, {row.budget}, seed {row.seed}"
        self._progress.reset(self._cell, description=what, total=self._problems, facts="")

    def graded(self, graded: Graded) -> None:
        self._done += 1
        self._correct += graded.correct
        right = f"{self._correct / self._done:.1%} right"
        self._progress.update(self._cell, completed=self._done, facts=right)

    def finished(self, row: Row, summary: Summary) -> None:
        self._finished += 1
        self._progress.update(self._all, completed=self._finished)
        if not self._notes.is_terminal:
            n = len(summary.graded)
            say(
                self._notes,
                f"{self._finished:,} of {self._cells:,} cells: {summary.strategy} at {row.budget}, seed "
                f"{row.seed}: {summary.correct:,} of {n:,} right, "
                f"{summary.cost.total_tokens / max(1, n):,.0f} total tokens each, {summary.seconds:,.0f} s",
            )


def forecast_lines(grid: GridRun, forecast: Forecast) -> list[str]:
    """What a grid will take, as a table, and how that was measured."""
    strategies, seeds = len(grid.base.strategies), len(grid.request.seeds)
    cells = sum(len(row.run.strategies) for row in grid.rows)
    rows = [
        (row.budget, "unknown" if row.tokens is None else f"{row.tokens:,.0f}", f"{row.hours:,.2f}")
        for row in forecast.rows
    ]
    if len(rows) > 1:
        known = [row.tokens for row in forecast.rows if row.tokens is not None]
        rows.append(("all", f"{sum(known):,.0f}", f"{forecast.hours:,.2f}"))
    heads = ("budget", "total tokens, at most", "hours")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    at_once = min(len(grid.base.examples), grid.base.request.concurrency)
    return [
        f"{len(grid.base.examples):,} problems x {strategies} strategies x {len(forecast.rows)} budgets x "
        f"{seeds} seeds = {cells:,} cells",
        "",
        *(
            f"{name:{widths[0]}}  {tokens:>{widths[1]}}  {hours:>{widths[2]}}"
            for name, tokens, hours in (heads, *rows)
        ),
        "",
        f"Measured: all strategies at {forecast.at} on the first {forecast.problems} problems, together, in "
        f"{forecast.seconds:,.0f} s.",
        f"The grid works on {at_once:,} problems together, which is faster where an engine batches. Fitting "
        "parameters to a budget, on 8 problems, is not included.",
    ]
