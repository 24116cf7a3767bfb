"""Runs at a budget in the random world."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from bench.report.summary import Summary
from bench.runner.budget import Budget, recorded_plan
from bench.runner.execute import RunWatch, execute
from bench.runner.models import Models
from bench.runner.request import Run, RunRequest, greedy_baseline
from bench.runner.resolve import ResolvedPolicy
from search.limits import LengthLimits
from search.policies.stepping import Sampling
from search.prompts import Prompt
from search.segment import SEGMENTERS
from search.tree import Strategy
from tests.fakes import RandomWorld
from tests.random_runs import Fractions

WEIGHT = 2.5
POLICY = ResolvedPolicy(
    name="world", path="", engine="server", dtype="auto", tokenizer=None, servers=(),
    prompt=Prompt("{question}"), segmenter=SEGMENTERS["newline"], sampling=Sampling(), seeded=True,
)  # fmt: skip


def run_at(
    budget: Budget, strategies: Mapping[str, Strategy], out: Path, *, n_problems: int = 12
) -> Run:
    """A run, with the plan that `out` holds, if it holds one."""
    every = {**greedy_baseline(), **strategies}
    request = RunRequest(
        strategies=every, budget=budget, lengths=LengthLimits(step_tokens=12, solution_tokens=60), out=out
    )
    task = Fractions()
    run = Run(
        request=request, strategies=every, task=task, examples=task.load(None, n_problems), policy=POLICY,
        prm=None, out=out, prm_weight=WEIGHT,
    )  # fmt: skip
    plan = recorded_plan(out, budget, WEIGHT)
    return run if plan is None else run.with_plan(plan)


def executed(run: Run, *, jitter: int = 0, pause_s: float = 0.0) -> dict[str, Summary]:
    world = RandomWorld(jitter, pause_s=pause_s)
    summaries = asyncio.run(execute(run, Models(world, world), RunWatch()))
    return {summary.strategy: summary for summary in summaries}
