"""Every strategy at several budgets on the built-in task, and the page that shows it."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.report.strategies_page import GREEDY, JUDGED_AT, ORACLE, POOL, Ranking, Results, draw, page
from bench.report.summary import Summary
from bench.runner.budget import Budget
from bench.runner.execute import RunWatch, execute, replay
from bench.runner.models import Models, load_run
from bench.runner.pool import PooledPolicy, PooledScorer
from bench.runner.request import Run, RunRequest
from bench.runner.specs import PolicySpec
from bench.runner.weights import prm_weight
from bench.tasks.base import Task
from prm.evaluation.metrics import auc
from search.node import Node, TreeEvent
from search.params import make_strategy
from search.strategies import STRATEGIES
from search.tree import Strategy
from search.types import Label, Problem

TIMES = (2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategiesRequest:
    """limit: problems. times: budgets, in costs of greedy decoding. out: a folder for the runs.

    page: the Markdown file; the picture is beside it. A run that `out` holds whole is not executed again.
    """

    limit: int
    times: tuple[int, ...] = TIMES
    out: Path = Path("runs/strategies")
    page: Path = Path("docs/results/strategies.md")
    engine: str | None = None
    command: str = "python -m bench.strategies"


class ScoredSteps(RunWatch):
    """Keeps the steps that best-of-N has scored: by depth, P(not wrong) and whether they are right."""

    def __init__(self, task: Task):
        self.by_depth: dict[int, list[tuple[float, bool]]] = defaultdict(list)
        self._task, self._strategy = task, ""

    def begin(self, strategy: str, problems: int) -> None:
        self._strategy = strategy
        print(f"  {strategy}", file=sys.stderr)

    def event(self, problem: Problem, event: TreeEvent, node: Node) -> None:
        if self._strategy != POOL or event is not TreeEvent.SCORE or node.score is None:
            return
        labels = self._task.step_labels(problem, [step.text for step in node.steps])
        self.by_depth[len(node.path)].append((1 - node.score.negative, labels[-1] is not Label.NEGATIVE))

    def rankings(self) -> list[Ranking]:
        """By depth."""
        rows = []
        for depth, steps in sorted(self.by_depth.items()):
            wrong = sum(not right for _, right in steps)
            mixed = 0 < wrong < len(steps)
            rows.append(Ranking(depth, len(steps), wrong, _auc(steps) if mixed else None))
        return rows


def _auc(steps: Sequence[tuple[float, bool]]) -> float:
    values, right = np.array([v for v, _ in steps]), np.array([r for _, r in steps])
    return auc(values, right, np.ones(len(steps)))


def measure(request: StrategiesRequest) -> None:
    """Run what is not recorded yet, write the page and the picture."""
    results = asyncio.run(_measured(request))
    request.page.parent.mkdir(parents=True, exist_ok=True)
    picture = request.page.with_suffix(".png")
    request.page.write_text(page(results, picture.name), encoding="utf-8")
    draw(results, picture)
    print(f"wrote {request.page}", file=sys.stderr)


async def _measured(request: StrategiesRequest) -> Results:
    every = {name: make_strategy(name) for name in STRATEGIES} | {ORACLE: make_strategy(POOL)}
    first = _run(request, "default", {GREEDY: every[GREEDY], "hgs": every["hgs"]}, None)
    first = replace(first, prm_weight=prm_weight(first.policy, first.prm))
    async with load_run(first) as loaded:
        models = Models(PooledPolicy(loaded.policy), PooledScorer(loaded.scorer))
        return await measured(request, models, every, first)


async def measured(
    request: StrategiesRequest, models: Models, every: Mapping[str, Strategy], first: Run
) -> Results:
    """All cells. first: HGS at its default, with its total counted."""
    silent = RunWatch()
    default = (await _executed(first, models, silent))["hgs"]
    tokens = round(default.cost.total_tokens / max(1, len(default.graded)))
    budget = Budget(tokens=tokens)
    matched = await _executed(_run(request, "matched", {POOL: every[POOL]}, budget), models, silent)
    judged = JUDGED_AT if JUDGED_AT in request.times else max(request.times)
    cells, steps = dict[int, Mapping[str, Summary]](), ScoredSteps(first.task)
    for times in request.times:
        print(f"{times}x", file=sys.stderr)
        run = _run(request, f"{times}x", every, Budget(times=times))
        cells[times] = await _executed(run, models, steps if times == judged else silent)
    return Results(cells, default, matched[POOL], steps.rankings(), request.command)


async def _executed(run: Run, models: Models, watch: RunWatch) -> dict[str, Summary]:
    """Results by strategy. What is recorded is read; steps to be watched are replayed."""
    recorded = await replay(run) if run.request.resume and type(watch) is RunWatch else None
    return {s.strategy: s for s in recorded or await execute(run, models, watch)}


def _run(
    request: StrategiesRequest, name: str, strategies: Mapping[str, Strategy], budget: Budget | None
) -> Run:
    out = request.out / name
    return RunRequest(
        strategies=strategies, limit=request.limit, policy=PolicySpec(engine=request.engine), budget=budget,
        out=out, resume=out.is_dir(),
    ).validate()
