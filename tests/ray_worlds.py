"""Runs in the random world, solved by engines on a Ray cluster; as a command, a driver that can be killed:
`python -m tests.ray_worlds ADDRESS OUT`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.report.summary import Summary
from bench.runner.execute import RunWatch, execute
from bench.runner.models import Models
from bench.runner.ray.cluster import load_engines
from bench.runner.ray.spec import ClusterSpec
from bench.runner.request import Run, RunRequest
from bench.tasks.base import Example
from search.limits import LengthLimits
from search.strategies.beam import BeamSearch
from search.strategies.hgs import HGS
from search.types import Problem
from tests.budgets import POLICY
from tests.fakes import RandomWorld
from tests.random_runs import Fractions

STRATEGIES = {"hgs": HGS(width=3), "beam": BeamSearch()}
PAUSE_S = 0.01


@asynccontextmanager
async def load_world(run: Run) -> AsyncIterator[Models]:
    """The random world as both models. Each call takes a while, so that there is time to be killed."""
    world = RandomWorld(pause_s=PAUSE_S)
    yield Models(world, world)


def a_run(out: Path, *, n_problems: int = 24, cluster: ClusterSpec | None = None) -> Run:
    task = Fractions()
    request = RunRequest(
        strategies=STRATEGIES, lengths=LengthLimits(step_tokens=12, solution_tokens=60), out=out,
        concurrency=3, cluster=cluster,
    )  # fmt: skip
    examples = [Example(Problem(f"w/{i:03}", f"Which way, {i}?"), "1/2") for i in range(n_problems)]
    return Run(
        request=request, strategies=STRATEGIES, task=task, examples=examples, policy=POLICY, prm=None, out=out
    )


async def solved(run: Run, watch: RunWatch | None = None, load: Any = load_world) -> list[Summary]:
    """The run, on its cluster if it has one."""
    if run.request.cluster is None:
        async with load(run) as models:
            return await execute(run, models, watch or RunWatch())
    async with load_engines(run, load) as engines:
        return await execute(run, engines, watch or RunWatch())


def outcomes(summaries: list[Summary]) -> dict[tuple[str, str], Any]:
    """By strategy and problem, without what is measured."""
    return {
        (summary.strategy, g.outcome.problem.id): (
            replace(g.outcome, seconds=0.0, events=replace(g.outcome.events, replayed=0)), g.correct
        )
        for summary in summaries for g in summary.graded
    }  # fmt: skip


if __name__ == "__main__":
    address, folder = sys.argv[1:]
    asyncio.run(solved(a_run(Path(folder), cluster=ClusterSpec(address=address, engines=2))))
