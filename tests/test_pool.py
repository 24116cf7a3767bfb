"""Strategies of one run that sample the same solutions share them; each is charged what it costs alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bench.runner.pool import BoundedPooledScorer, PooledPolicy, PooledScorer
from search.engine import Outcome, solve
from search.limits import metered
from search.strategies.best_of_n import BestOfN
from search.strategies.cot import ChainOfThought
from search.strategies.hgs import HGS
from search.strategies.self_consistency import SelfConsistency
from search.strategies.weighted_vote import WeightedVote
from search.tree import Strategy
from search.types import BoundedScorer, Policy, Problem, StepScorer, Until
from tests.contracts import check_policy, check_scorer
from tests.fakes import FractionAnswers, RandomWorld

PROBLEMS = [Problem(f"p{n}", "Which way?") for n in range(6)]
STRATEGIES: list[Strategy] = [
    ChainOfThought(), SelfConsistency(n=4), BestOfN(n=8), WeightedVote(n=8), HGS(width=3)
]  # fmt: skip


def solved(strategy: Strategy, policy: Policy, scorer: StepScorer) -> list[Outcome]:
    async def run() -> list[Outcome]:
        outcomes = solve(PROBLEMS, strategy, policy, scorer, answers=FractionAnswers())
        return sorted([replace(o, seconds=0.0) async for o in outcomes], key=lambda o: o.problem.id)

    return asyncio.run(run())


def test_every_strategy_has_its_own_result_at_its_own_cost() -> None:
    shared = RandomWorld()
    policy, scorer = PooledPolicy(shared), PooledScorer(shared)
    for strategy in STRATEGIES:
        alone = RandomWorld()
        assert solved(strategy, policy, scorer) == solved(strategy, alone, alone)


def test_a_pool_is_drawn_and_scored_once() -> None:
    shared, alone = RandomWorld(), RandomWorld()
    policy, scorer = PooledPolicy(shared), PooledScorer(shared)
    solved(BestOfN(n=8), alone, alone)
    for strategy in (SelfConsistency(n=4), BestOfN(n=8), WeightedVote(n=8)):
        solved(strategy, policy, scorer)
    assert shared.calls == alone.calls, "best-of-8 asks for all that the others ask for"
    assert policy.memo.saved.policy_tokens > 0 and scorer.memo.saved.prm_tokens > 0


async def test_a_pooled_policy_and_a_pooled_scorer_keep_the_contracts() -> None:
    await check_policy(PooledPolicy(RandomWorld()))
    await check_scorer(PooledScorer(RandomWorld()))


async def test_a_call_that_fails_is_charged_and_made_again() -> None:
    class Failing(RandomWorld):
        async def propose(self, *args: object, **how: object) -> list[object]:  # type: ignore[override]
            await super().propose(*args, **how)  # type: ignore[arg-type]
            raise OSError("gone")

    world = Failing()
    policy = PooledPolicy(world)  # type: ignore[arg-type]
    for _ in range(2):
        with metered() as spent, pytest.raises(OSError, match="gone"):
            await policy.propose(PROBLEMS[0], [], until=Until.END, max_tokens=50, seed=1)
        assert spent.policy_tokens > 0
    assert world.calls == 2


def test_a_scorer_that_knows_its_bound_still_does() -> None:
    class Bounded(RandomWorld):
        def max_tokens(self, problem: Problem, steps: object) -> int:
            return 7

    world = Bounded()
    pooled = BoundedPooledScorer(world, world)
    assert isinstance(pooled, BoundedScorer) and pooled.max_tokens(PROBLEMS[0], []) == 7
    assert not isinstance(PooledScorer(world), BoundedScorer)
