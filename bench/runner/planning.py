"""Turns a budget into a plan: measures greedy decoding, and fits parameters on a few problems."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from statistics import fmean

from bench.report.files import replace_text
from bench.report.summary import Graded, Summary
from bench.runner.budget import FILE, Plan, scaled_value
from bench.runner.request import Run
from bench.tasks.oracle import OracleScorer, is_oracle
from search.engine import Outcome, solve
from search.errors import UsageError
from search.tree import Strategy
from search.types import Policy, StepScorer

PILOTS = 8
"""Problems, the first of the run, whose cost fits a parameter. Their answers are not looked at."""


async def planned(run: Run, policy: Policy, scorer: StepScorer, greedy: Summary | None) -> Run:
    """The run with its budget in figures and its strategies scaled; recorded in its folder.

    greedy: the results of greedy decoding; needed if the budget is a multiple of its cost. What is recorded
    already is kept.
    """
    budget = run.request.budget
    assert budget is not None and run.prm_weight is not None
    plan = run.plan
    if plan is None:
        mean = None if greedy is None else greedy.cost.policy_tokens / max(1, len(greedy.graded))
        tokens = budget.tokens if budget.times is None else round(budget.times * (mean or 0))
        if tokens == 0:
            raise UsageError(f"--budget {budget.text}: greedy decoding has sampled no tokens")
        kept = 0 if greedy is None else longest_answered(greedy.graded)
        plan = Plan(budget.text, tokens, budget.seconds, run.prm_weight, kept, {})
    values = dict(plan.values)
    for name in run.budgeted:
        if name not in values:
            value = await _value(run, plan, name, policy, scorer)
            values |= {} if value is None else {name: value}
    plan = replace(plan, values=values)
    run.out.mkdir(parents=True, exist_ok=True)
    replace_text(run.out / FILE, json.dumps(asdict(plan), indent=1) + "\n")
    return run.with_plan(plan)


def longest_answered(graded: Sequence[Graded]) -> int:
    """The most tokens of a solution with an answer, 0 if none has one.

    One that ran on until it was cut may be much longer: so many tokens would be kept back for nothing.
    """
    answered = (g.outcome for g in graded if g.outcome.answer is not None)
    return max((outcome.cost.policy_tokens for outcome in answered), default=0)


async def _value(run: Run, plan: Plan, name: str, policy: Policy, scorer: StepScorer) -> int | None:
    request, oracle = run.request, is_oracle(name)

    async def measure(strategy: Strategy) -> float:
        outcomes: list[Outcome] = [
            outcome
            async for outcome in solve(
                [example.problem for example in run.examples[:PILOTS]], strategy, policy,
                OracleScorer(run.task) if oracle else scorer,
                seed=request.seed, limits=request.limits, lengths=request.lengths, answers=run.task,
                aggregate="product" if oracle else run.aggregate,
                outcome=not run.task.checks_steps if oracle else run.is_outcome,
                concurrency=request.concurrency, prm_weight=plan.prm_weight,
                environment=run.environment(policy),
            )
        ]  # fmt: skip
        if plan.tokens is not None:
            return fmean(outcome.cost.total_tokens for outcome in outcomes)
        return fmean(outcome.seconds for outcome in outcomes)

    amount = plan.tokens if plan.tokens is not None else plan.seconds
    assert amount is not None
    return await scaled_value(
        name, run.strategies[name], amount, in_tokens=plan.tokens is not None, measure=measure
    )
