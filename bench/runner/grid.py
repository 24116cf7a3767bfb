"""Executes a grid: strategies x budgets x seeds. Models are loaded once, and whole solutions sampled once.

Every budget and seed is one run in a folder of its own (`bench.report.grid`), so whatever reads runs reads
the cells of a grid. A cell is finished when its results are written; one that is not goes on from its trace.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.report.files import replace_text
from bench.report.grid import ASKED, DEFAULT, PROBLEMS, folder_of
from bench.report.results import read_results, results_path, write_results
from bench.report.summary import Graded, Summary
from bench.runner.budget import Budget, recorded_plan
from bench.runner.episodes import check_sandbox
from bench.runner.execute import RunWatch, execute_strategy, pooled, replay
from bench.runner.faults import Faults
from bench.runner.machine import machine
from bench.runner.models import Models, Solver
from bench.runner.planning import planned
from bench.runner.request import BASELINE, Run, RunRequest
from bench.runner.weights import prm_weight
from bench.tasks.base import Example
from search.params import nearest, params


class GridWatch(RunWatch):
    """Told what happens in a grid. Does nothing; displays override what they show."""

    def fitting(self, row: Row) -> None:
        """The parameters of strategies are being fitted to the budget, on a few problems."""

    def cell(self, row: Row, strategy: str) -> None:
        """A cell begins, or goes on."""

    def finished(self, row: Row, summary: Summary) -> None:
        """A cell is finished and written."""


@dataclass(frozen=True, slots=True)
class Row:
    """All strategies at one budget with one seed. budget: as in `bench.report.grid.Cell`."""

    budget: str
    seed: int
    run: Run

    @property
    def unfinished(self) -> list[str]:
        """The strategies whose results are not there, or hold problems that failed."""
        return [name for name in self.run.strategies if self.recorded(name) is None]

    def recorded(self, name: str) -> Summary | None:
        """The results of a finished cell. Raises UsageError if they are damaged."""
        path, examples = self.run.trace_path(name), self.run.examples
        if not path.exists() or not results_path(path).exists():
            return None
        problems = {example.problem.id: example.problem for example in examples}
        summary, _ = read_results(results_path(path), problems)
        return summary if len(summary.graded) == len(examples) and not summary.failed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRequest:
    """base: what all cells share; of its budget, seed, out and resume nothing is used.

    budgets: None runs the strategies with their own parameters. baseline: the strategy that the others are
    compared with. out: the folder of the grid. command, words: as it was asked for.
    """

    base: RunRequest
    budgets: tuple[Budget | None, ...]
    seeds: tuple[int, ...]
    baseline: str
    out: Path
    command: str
    words: tuple[str, ...] = ()

    def validate(self) -> GridRun:
        """The grid, ready to be executed. Loads no model, spends no token, writes nothing.

        Traces that are there are checked to be of these runs. Raises UsageError, which lists everything that
        is wrong.
        """
        faults = Faults()
        # What is there may be finished, or is to be replayed: that takes no sandbox.
        base = replace(self.base, budget=None, out=self.out, resume=(self.out / ASKED).exists())
        if self.baseline not in base.strategies:
            known = nearest(self.baseline, base.strategies)
            faults.add(f"--baseline: {self.baseline!r} is not one of the strategies{known}")
        for budget in self.budgets:
            replace(base, budget=budget).check_budget(faults)
        if base.cluster is not None and any(self.budgets):
            faults.add("--ray goes with --budget default only: the others are measured on one machine")
        run: Run | None = None
        with faults.collected():
            run = base.validate()
        faults.raise_if_any()
        assert run is not None
        weight = prm_weight(run.policy, run.prm)
        rows = []
        for seed in self.seeds:
            for budget in self.budgets:
                name = DEFAULT if budget is None else budget.text
                out = folder_of(self.out, name, seed)
                request = replace(base, budget=budget, seed=seed, out=out, resume=out.is_dir())
                row = replace(run, request=request, out=out, prm_weight=weight).with_recorded()
                rows.append(Row(name, seed, row))
        return GridRun(self, run, tuple(rows))


@dataclass(frozen=True, slots=True)
class GridRun:
    """A validated grid. base: one of its runs, without a budget. rows: seed by seed, budget by budget."""

    request: GridRequest
    base: Run
    rows: tuple[Row, ...]

    @property
    def is_finished(self) -> bool:
        return not any(row.unfinished for row in self.rows)

    def write(self) -> None:
        """Record what was asked, and the problems."""
        request, base = self.request, self.base
        asked = {
            "title": self.title, "command": request.command, "words": list(request.words),
            "baseline": request.baseline, "task": base.task.name, "policy": base.policy.name,
            "prm": base.prm_name, "strategies": list(base.strategies),
            "params": {name: params(strategy) for name, strategy in base.strategies.items()},
            "budgets": list(dict.fromkeys(row.budget for row in self.rows)),
            "seeds": list(request.seeds), "prm_weight": self.rows[0].run.prm_weight,
            **({} if (episodes := base.request.episodes) is None else {"episodes": episodes.identity()}),
            "models": base.policy.identity() | ({} if base.prm is None else base.prm.identity()),
        }  # fmt: skip
        request.out.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(_problem(base, example), ensure_ascii=False) for example in base.examples)
        replace_text(request.out / PROBLEMS, "".join(f"{line}\n" for line in lines))
        replace_text(request.out / ASKED, json.dumps(asked, ensure_ascii=False, indent=1) + "\n")

    @property
    def title(self) -> str:
        return f"{self.base.task.name}: {len(self.base.strategies)} strategies, {self.base.described}"


def _problem(run: Run, example: Example) -> dict[str, str]:
    """A problem, with hashes as lm-evaluation-harness gives them: of the document, the prompt, the target."""
    problem = example.problem
    document = {"id": problem.id, "question": problem.question, "reference": example.reference}
    return {
        **document, "group": example.group,
        "doc_hash": _hash(json.dumps(document, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(run.policy.shown_prompt(problem)), "target_hash": _hash(example.reference),
    }  # fmt: skip


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


async def execute_grid(grid: GridRun, models: Solver, watch: GridWatch) -> None:
    """Finish all cells. A kill or an interrupt loses at most the call in flight.

    What strategies sample alike is sampled once for all budgets of a seed, but not by engines on a cluster.
    Raises SandboxError if the code of episodes cannot be run here.
    """
    if grid.base.request.episodes is not None:
        check_sandbox()
    for seed in grid.request.seeds:
        shared = pooled(models) if isinstance(models, Models) else models
        for row in grid.rows:
            if row.seed == seed:
                await _execute_row(grid, row, shared, watch)


async def _execute_row(grid: GridRun, row: Row, models: Solver, watch: GridWatch) -> None:
    todo = row.unfinished
    if not todo:
        return
    run = row.run
    if run.request.budget is not None:
        greedy: Summary | None = None
        if BASELINE in run.strategies:  # run first: budgets count in its costs
            greedy = row.recorded(BASELINE) or await _execute_cell(row, run, BASELINE, models, watch)
        watch.fitting(row)
        assert isinstance(models, Models), "validated"
        run = await planned(_with_first_plan(grid, row), models.policy, models.scorer, greedy)
    for name in todo:
        if name != BASELINE or run.request.budget is None:
            await _execute_cell(row, run, name, models, watch)


async def _execute_cell(row: Row, run: Run, name: str, models: Solver, watch: GridWatch) -> Summary:
    watch.cell(row, name)
    summary = await execute_strategy(run, models, name, watch)
    _write(run, summary, machine())
    watch.finished(row, summary)
    return summary


def _with_first_plan(grid: GridRun, row: Row) -> Run:
    """The run of a row with the plan of the first seed, so that parameters are the same for all seeds."""
    run, budget = row.run, row.run.request.budget
    assert budget is not None and run.prm_weight is not None
    if run.plan is not None:
        return run
    first = folder_of(grid.request.out, row.budget, grid.request.seeds[0])
    plan = recorded_plan(first, budget, run.prm_weight)
    return run if plan is None else run.with_plan(plan)


def _write(run: Run, summary: Summary, made_on: Mapping[str, str]) -> None:
    problems = [example.problem for example in run.examples]
    write_results(results_path(run.trace_path(summary.strategy)), summary, problems, made_on)


async def replay_grid(grid: GridRun) -> list[str]:
    """Write the results of all cells again, from their traces and without models: graded as answers are now.

    Times that were measured are kept. Returns the cells that are not recorded to their end.
    """
    missing = []
    for row in grid.rows:
        for name, strategy in row.run.strategies.items():
            alone = replace(row.run, strategies={name: strategy})
            summaries = await replay(alone)
            if summaries is None:
                missing.append(f"{name} at {row.budget}, seed {row.seed}")
                continue
            _rewrite(alone, summaries[0])
    return missing


def _rewrite(run: Run, summary: Summary) -> None:
    path = results_path(run.trace_path(summary.strategy))
    if not path.exists():
        _write(run, summary, {})
        return
    before, made_on = read_results(path, {e.problem.id: e.problem for e in run.examples})
    timed = {graded.outcome.problem.id: graded.outcome for graded in before.graded}

    def with_time(graded: Graded) -> Graded:
        outcome, old = graded.outcome, timed.get(graded.outcome.problem.id)
        if old is None:
            return graded
        events = replace(outcome.events, replayed=old.events.replayed)
        return replace(graded, outcome=replace(outcome, seconds=old.seconds, events=events))

    kept = replace(
        summary, graded=list(map(with_time, summary.graded)), seconds=before.seconds, revision=before.revision
    )
    _write(run, kept, made_on)
