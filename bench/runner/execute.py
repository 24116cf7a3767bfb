"""Executes a run: every strategy over every problem, graded while the others are worked on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from time import perf_counter
from typing import Any

from bench.report.summary import Allowance, Graded, Summary
from bench.report.turns import right_turns
from bench.runner.checkpoints import revision
from bench.runner.episodes import check_sandbox
from bench.runner.job import job_of
from bench.runner.models import Models, NoScorer, Solver
from bench.runner.planning import planned
from bench.runner.pool import BoundedPooledScorer, PooledPolicy, PooledScorer
from bench.runner.request import BASELINE, Run
from bench.tasks.oracle import is_oracle
from search.engine import Outcome, solve
from search.errors import PolicyError
from search.node import Node, TreeEvent
from search.params import params
from search.types import BoundedScorer, Problem, Step


class RunWatch:
    """Told what happens while a run is executed. Does nothing; displays override what they show."""

    def begin(self, strategy: str, problems: int) -> None:
        """A strategy begins on so many problems."""

    def event(self, problem: Problem, event: TreeEvent, node: Node) -> None:
        """Something happened in a problem's tree."""

    def graded(self, graded: Graded) -> None:
        """A problem is finished."""


async def execute(run: Run, models: Solver, watch: RunWatch) -> list[Summary]:
    """Run all strategies of `run`, one after the other; what several of them sample is sampled once.

    models: engines on other machines sample once for themselves. A budget takes models that are loaded here.
    Raises SandboxError if a turn's code cannot be run here.
    """
    if run.request.episodes is not None:
        check_sandbox()
    if len(run.strategies) > 1 and isinstance(models, Models):
        models = pooled(models)
    done: dict[str, Summary] = {}
    if run.request.budget is not None:
        assert isinstance(models, Models)
        if BASELINE in run.strategies:
            done[BASELINE] = await execute_strategy(run, models, BASELINE, watch)
        run = await planned(run, models.policy, models.scorer, done.get(BASELINE))
    for name in run.strategies:
        if name not in done:
            done[name] = await execute_strategy(run, models, name, watch)
    return [done[name] for name in run.strategies]


def pooled(models: Models) -> Models:
    """The models, which sample and score each whole solution once, for all strategies that ask for it."""
    scorer = models.scorer
    bounded = BoundedPooledScorer(scorer, scorer) if isinstance(scorer, BoundedScorer) else None
    return Models(PooledPolicy(models.policy), bounded or PooledScorer(scorer))


async def execute_strategy(
    run: Run, models: Solver, name: str, watch: RunWatch, *, keep_steps: bool = False
) -> Summary:
    """Run the strategy `name` over all problems. An error of one problem stays with that problem.

    keep_steps: whether the summary's outcomes hold the steps of the solutions, which the trace holds anyway.
    """
    plan, given = run.plan if name in run.budgeted else None, None
    if plan is not None:
        given = Allowance(plan.budget, plan.tokens, plan.seconds, plan.prm_weight)
    examples = {example.problem.id: example for example in run.examples}
    start = perf_counter()

    async def grade(outcome: Outcome) -> Graded:
        example = examples[outcome.problem.id]
        grade = await asyncio.to_thread(run.task.grade, outcome.problem, outcome.answer)
        fallback = outcome.answer is not None and run.task.falls_back(outcome.answer_text)
        turns = await asyncio.to_thread(
            right_turns, run.task, outcome.problem, outcome.steps, outcome.answer, grade.correct
        )
        graded = Graded(outcome, grade.correct, example.group, fallback, turns)
        watch.graded(graded)
        return graded if keep_steps else replace(graded, outcome=replace(outcome, steps=()))

    watch.begin(name, len(examples))
    async with aclosing(models.solve(run, job_of(run, name), watch.event)) as outcomes:
        grading = [asyncio.create_task(grade(outcome)) async for outcome in outcomes]
    graded = await asyncio.gather(*grading)
    return Summary(
        name, params(run.strategies[name]), run.task.name, run.request.seed, run.policy.name,
        "the references" if is_oracle(name) else run.prm_name, revision(),
        perf_counter() - start, graded, given,
    )


async def answer(run: Run, models: Models, watch: RunWatch) -> Outcome:
    """Answer the run's one question by its one strategy. Nothing is recorded or graded."""
    [strategy] = run.strategies.values()
    [example] = run.examples
    request = run.request
    outcomes = solve(
        [example.problem], strategy, models.policy, models.scorer, seed=request.seed,
        limits=request.limits, lengths=request.lengths, answers=run.task, aggregate=run.aggregate,
        outcome=run.is_outcome, deadline=request.deadline, speculate=request.speculate,
        environment=run.environment(models.policy), watch=watch.event,
    )  # fmt: skip
    [outcome] = [outcome async for outcome in outcomes]
    return outcome


class _NoModels(NoScorer):
    """In place of the models while a run is replayed: what is not recorded fails."""

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        raise PolicyError("not recorded")


def _is_whole(run: Run, name: str) -> bool:
    """Whether the trace of a strategy may hold all problems: a quick look, which parses nothing."""
    path = run.trace_path(name)
    if not path.exists():
        return False
    with path.open("rb") as file:
        return sum(b'"event": "chosen"' in line for line in file) >= len(run.examples)


async def replay(run: Run, *, keep_steps: bool = False) -> list[Summary] | None:
    """The results of a run that is recorded whole, without a model; None if something is missing.

    keep_steps: as for `execute_strategy`.
    """
    if run.budgeted and run.plan is None:
        return None
    if not all(_is_whole(run, name) for name in run.strategies):
        return None
    nothing, summaries = Models(_NoModels(), _NoModels()), list[Summary]()
    for name in run.strategies:
        summaries.append(await execute_strategy(run, nothing, name, RunWatch(), keep_steps=keep_steps))
        if summaries[-1].failed:
            return None
    return summaries
