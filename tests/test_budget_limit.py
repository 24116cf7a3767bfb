"""The limit on weighted tokens: what it counts, that it holds, and that it does not depend on timing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from math import ceil
from pathlib import Path

import pytest

from search.engine import Outcome, solve
from search.errors import UsageError
from search.limits import CostLimits, LengthLimits
from search.node import Node
from search.strategies import STRATEGIES
from search.strategies.best_of_n import BestOfN
from search.trace import Trace
from search.tree import Strategy, Tree
from search.types import Problem
from tests.fakes import FractionAnswers, RandomWorld, ScriptedPolicy, ScriptedScorer
from tests.random_runs import PROBLEMS

LENGTHS = LengthLimits(step_tokens=12, solution_tokens=60)


def run(
    strategy: Strategy, *, total: int | None, weight: float, jitter: int = 0, concurrency: int = 64,
    trace: Trace | None = None,
) -> list[Outcome]:  # fmt: skip
    world = RandomWorld(jitter)

    async def collect() -> list[Outcome]:
        return [
            outcome
            async for outcome in solve(
                PROBLEMS[:6], strategy, world, world, limits=CostLimits(total_tokens=total),
                lengths=LENGTHS, answers=FractionAnswers(), prm_weight=weight, concurrency=concurrency,
                trace=trace,
            )
        ]  # fmt: skip

    return sorted(asyncio.run(collect()), key=lambda outcome: outcome.problem.id)


def results(outcomes: list[Outcome]) -> list[tuple[str, str | None, int, int]]:
    return [(o.text, o.answer, o.cost.total_tokens, o.cost.scores) for o in outcomes]


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize(("total", "weight"), [(60, 5.55), (200, 1.0)])
def test_no_strategy_exceeds_it_nor_depends_on_timing(name: str, total: int, weight: float) -> None:
    first = run(STRATEGIES[name](), total=total, weight=weight)
    assert all(outcome.error is None and outcome.cost.total_tokens <= total for outcome in first)
    again = run(STRATEGIES[name](), total=total, weight=weight, jitter=7, concurrency=1)
    assert results(again) == results(first)


def nodes(top: Node) -> Iterator[Node]:
    yield top
    for child in top.children:
        yield from nodes(child)


@pytest.mark.parametrize("name", ["mcts", "hgs", "particle", "self_consistency"])
def test_it_counts_sampled_tokens_and_each_scored_step_once(name: str) -> None:
    """Against a plain recount over the finished tree."""
    world = RandomWorld(3)
    tree = Tree(
        Problem("p", "?"), world, world, lengths=LENGTHS, answers=FractionAnswers(), prm_weight=2.5
    )
    asyncio.run(STRATEGIES[name]()(tree))
    scored, seen = 0, set[tuple[object, str, object]]()
    for node in nodes(tree.root):
        if node.step is None or node.score is None or node.step.is_blank or node.duplicate_of is not None:
            continue
        key = (node.parent, node.step.text, node.step.stop)
        if key not in seen:
            seen.add(key)
            scored += ceil(2.5 * node.step.n_tokens)
    if name == "self_consistency":
        assert scored == 0
    assert tree.cost.total_tokens == tree.cost.policy_tokens + scored


def test_of_equal_solutions_one_is_scored() -> None:
    policy = ScriptedPolicy({"": ["= 1.", "a,", "= 1."], "a,": ["= 2."]})
    tree = Tree(Problem("q", "?"), policy, ScriptedScorer(), answers=FractionAnswers(), prm_weight=1.5)
    asyncio.run(BestOfN(3)(tree))
    assert tree.cost.policy_tokens == 4 + 2 + 4 + 4
    assert tree.cost.total_tokens == 14 + ceil(1.5 * 4) + ceil(1.5 * 2) + ceil(1.5 * 4)


def test_a_resumed_run_has_the_same_total(tmp_path: Path) -> None:
    totals = []
    for _ in range(2):
        with closing(Trace(tmp_path / "t.jsonl", {})) as trace:
            totals.append(results(run(STRATEGIES["mcts"](), total=300, weight=2.0, trace=trace)))
    assert totals[0] == totals[1]


def test_without_a_weight_nothing_is_counted_and_no_limit_is_taken() -> None:
    world = RandomWorld()
    tree = Tree(Problem("p", "?"), world, world)
    asyncio.run(BestOfN(2)(tree))
    assert tree.cost.total_tokens == 0
    with pytest.raises(UsageError, match="total_tokens needs prm_weight"):
        Tree(Problem("p", "?"), world, world, limits=CostLimits(total_tokens=9))
