"""What a grid will take: tokens from its budgets, hours from a short measurement on a few problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from bench.report.grid import DEFAULT
from bench.report.summary import Summary
from bench.runner.budget import Budget
from bench.runner.grid import GridRun, GridWatch, Row, execute_grid
from bench.runner.models import Models
from bench.runner.request import BASELINE

MEASURED = 4
"""Problems, the first of the grid, on which every strategy is timed."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One budget, all strategies and seeds. tokens: the most total tokens; None if the budget is in seconds.

    hours: on this machine, at the speed that was measured.
    """

    budget: str
    tokens: float | None
    hours: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """problems: that were measured, at the budget `at`, in so many seconds."""

    rows: tuple[Expected, ...]
    problems: int
    at: str
    seconds: float

    @property
    def hours(self) -> float:
        return sum(row.hours for row in self.rows)


class _Kept(GridWatch):
    def __init__(self) -> None:
        self.summaries: dict[str, Summary] = {}

    def finished(self, row: Row, summary: Summary) -> None:
        self.summaries[summary.strategy] = summary


async def forecast(grid: GridRun, models: Models) -> Forecast:
    """Run every strategy on a few problems at the smallest budget, in a folder that is removed."""
    budget, kept, start = _smallest(grid), _Kept(), perf_counter()
    name, seed = DEFAULT if budget is None else budget.text, grid.request.seeds[0]
    with TemporaryDirectory() as folder:
        out = Path(folder)
        run = replace(
            grid.base, examples=grid.base.examples[:MEASURED], out=out,
            request=replace(grid.base.request, budget=budget, seed=seed, out=out),
            prm_weight=grid.rows[0].run.prm_weight,
        )  # fmt: skip
        few = GridRun(replace(grid.request, out=out, seeds=(seed,)), run, (Row(name, seed, run),))
        await execute_grid(few, models, kept)
    rows = tuple(_expected(grid, budget, kept.summaries) for budget in grid.request.budgets)
    return Forecast(rows, len(run.examples), name, perf_counter() - start)


def _smallest(grid: GridRun) -> Budget | None:
    """What is measured: the default, if it is asked for, because nothing else tells what it costs."""
    budgets = grid.request.budgets
    if None in budgets:
        return None
    for unit in ("times", "tokens"):
        if amounts := [b for b in budgets if b is not None and getattr(b, unit) is not None]:
            return min(amounts, key=lambda b: float(getattr(b, unit)))
    return None


def _expected(grid: GridRun, budget: Budget | None, measured: Mapping[str, Summary]) -> Expected:
    name = DEFAULT if budget is None else budget.text
    n, seeds = len(grid.base.examples), len(grid.request.seeds)
    if budget is not None and budget.seconds is not None:
        waves = n / min(n, grid.base.request.concurrency)
        return Expected(name, None, seeds * len(measured) * waves * budget.seconds / 3600)
    tokens = seconds = 0.0
    for strategy, summary in measured.items():
        mean = summary.cost.total_tokens / len(summary.graded)
        if budget is None or strategy == BASELINE:
            each = mean
        elif budget.times is not None:
            greedy = measured[BASELINE]
            each = budget.times * greedy.cost.policy_tokens / len(greedy.graded)
        else:
            each = float(budget.tokens or 0)
        tokens += seeds * n * each
        seconds += seeds * n * each * summary.seconds / max(1, summary.cost.total_tokens)
    return Expected(name, tokens, seconds / 3600)
