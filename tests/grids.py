"""Grids in the random world."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.report.grid import DEFAULT, folder_of
from bench.runner.budget import Budget
from bench.runner.grid import GridRequest, GridRun, GridWatch, Row, execute_grid
from bench.runner.models import Models
from bench.runner.request import Run, RunRequest, greedy_baseline
from search.limits import LengthLimits
from search.strategies import STRATEGIES
from search.tree import Strategy
from tests.budgets import POLICY, WEIGHT
from tests.fakes import RandomWorld
from tests.random_runs import Fractions

NAMES = ("self_consistency", "best_of_n", "beam", "hgs")
STRATEGIES_OF_GRID: Mapping[str, Strategy] = {
    **greedy_baseline(), **{name: STRATEGIES[name]() for name in NAMES}
}  # fmt: skip


def grid_at(
    out: Path,
    *,
    strategies: Mapping[str, Strategy] = STRATEGIES_OF_GRID,
    budgets: Sequence[Budget | None] = (None, Budget(times=3)),
    seeds: Sequence[int] = (0, 1),
    n_problems: int = 4,
    baseline: str = "self_consistency",
) -> GridRun:
    """A grid, as `GridRequest.validate` makes one, with what its folder holds."""
    lengths, task = LengthLimits(step_tokens=12, solution_tokens=60), Fractions()
    base = Run(
        request=RunRequest(strategies=strategies, task=task.name, lengths=lengths, out=out),
        strategies=strategies, task=task, examples=task.load(None, n_problems), policy=POLICY, prm=None,
        out=out,
    )  # fmt: skip
    rows = []
    for seed in seeds:
        for budget in budgets:
            name = DEFAULT if budget is None else budget.text
            at = folder_of(out, name, seed)
            asked = replace(base.request, budget=budget, seed=seed, out=at, resume=at.is_dir())
            run = replace(base, request=asked, out=at, prm_weight=WEIGHT)
            rows.append(Row(name, seed, run.with_recorded()))
    request = GridRequest(
        base=base.request, budgets=tuple(budgets), seeds=tuple(seeds), baseline=baseline, out=out,
        command="python -m bench.run --seeds 2", words=("--seeds", "2"),
    )  # fmt: skip
    return GridRun(request, base, tuple(rows))


def finish(grid: GridRun, world: Any = None) -> Any:
    """Execute what is not finished; returns the world."""
    world = RandomWorld() if world is None else world
    grid.write()
    asyncio.run(execute_grid(grid, Models(world, world), GridWatch()))
    return world
