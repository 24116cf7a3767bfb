"""What is drawn ahead changes cost and time, never the tree."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.engine import Outcome, solve
from search.limits import CostLimits, LengthLimits, LimitReached, charge
from search.node import Node, TreeEvent
from search.seeds import derive
from search.speculation import Speculate
from search.strategies.hgs import HGS
from search.tree import Tree
from search.types import Problem, Step, StepScore, Until
from tests.fakes import BAD, FractionAnswers, RandomWorld, ScriptedScorer, step

LENGTHS = LengthLimits(step_tokens=12, solution_tokens=40)


def grown(
    problem: str, seed: int, speculate: Speculate, strategy: HGS, *, limits: CostLimits = CostLimits()
) -> tuple[list[tuple[Any, ...]], Tree]:
    """What is told of a problem's tree, and the tree."""
    told = list[tuple[Any, ...]]()
    world = RandomWorld(jitter=seed)

    def watch(problem: Problem, event: TreeEvent, node: Node) -> None:
        told.append((event, node.address, node.text, node.score))

    async def run() -> Tree:
        question = Problem(problem, "Which way?")
        tree = Tree(
            question, world, world, seed=seed, lengths=LENGTHS, answers=FractionAnswers(), limits=limits,
            speculate=speculate, watch=lambda event, node: watch(question, event, node),
        )
        try:
            chosen = await strategy(tree)
        except LimitReached:
            chosen = await tree.best_so_far()
        await tree.close()
        told.append((chosen.address,))
        return tree

    return told, asyncio.run(run())


@settings(max_examples=60)
@given(
    problem=st.integers(0, 400), seed=st.integers(0, 3), speculate=st.sampled_from([1, 3, 16, "auto"]),
    width=st.integers(1, 6), max_samples=st.sampled_from([None, 3, 12]),
    neutral=st.sampled_from(["defer", "accept", "reject"]),
)  # fmt: skip
def test_the_same_tree_is_grown(
    problem: int, seed: int, speculate: Speculate, width: int, max_samples: int | None, neutral: Any
) -> None:
    strategy = HGS(width=width, max_samples=max_samples, neutral=neutral, reject=0.3)
    told, tree = grown(f"p{problem}", seed, 0, strategy)
    sooner, ahead = grown(f"p{problem}", seed, speculate, strategy)
    assert sooner == told
    assert ahead.events == tree.events
    assert ahead.cost.samples == tree.cost.samples and ahead.cost.scores >= tree.cost.scores
    assert ahead.cost.policy_tokens >= tree.cost.policy_tokens


def test_it_costs_more_where_it_was_of_no_use() -> None:
    costs = [grown(f"p{n}", 0, "auto", HGS(width=6))[1].cost.policy_tokens for n in range(20)]
    plain = [grown(f"p{n}", 0, 0, HGS(width=6))[1].cost.policy_tokens for n in range(20)]
    assert sum(costs) > sum(plain)


def test_nothing_is_drawn_ahead_within_a_limit_that_it_would_take_from() -> None:
    for limits in (CostLimits(policy_tokens=100), CostLimits(scores=9)):
        for n in range(10):
            _, tree = grown(f"p{n}", 0, 0, HGS(width=6, on_budget="abstain"), limits=limits)
            _, ahead = grown(f"p{n}", 0, 16, HGS(width=6, on_budget="abstain"), limits=limits)
            assert ahead.cost == tree.cost


class Slow:
    """Draws "a," for ever. A call takes a tick of the clock, as does each score; calls are noted.

    tokens: drawn by a call before it is stopped.
    """

    def __init__(self) -> None:
        self.ticks = 0
        self.stopped = 0
        self.at_once: list[int] = []
        self._running = 0

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, **how: object
    ) -> list[Step]:
        self._running += 1
        self.at_once.append(self._running)
        try:
            for _ in range(4):
                charge(policy_tokens=1)
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        finally:
            self._running -= 1
        return [step("abc.") if len(steps) == 2 else step("ab,")]


class Turned:
    """The root's children are "no," and "yes,". A call below "no," takes long, one below "yes," longer."""

    def __init__(self) -> None:
        self.stopped = 0

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, seed: int, **how: object
    ) -> list[Step]:
        try:
            for _ in range({"no,": 50, "yes,": 100}[steps[0].text] if steps else 4):
                charge(policy_tokens=1)
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return [step("end." if steps else "no," if seed == derive(0, problem.id, 0) else "yes,")]


def test_the_child_of_a_step_that_was_turned_down_is_stopped() -> None:
    policy = Turned()

    async def run() -> Outcome:
        scorer = ScriptedScorer({"no,": BAD})
        [outcome] = [o async for o in solve([Problem("p", "?")], HGS(), policy, scorer, speculate=1)]
        return outcome

    outcome = asyncio.run(run())
    assert outcome.text == "yes,end." and policy.stopped == 1
    assert outcome.cost.policy_tokens < 4 + 4 + 100 + 50


def outcome_of(speculate: Speculate, scores: dict[str, StepScore], policy: Slow, width: int = 16) -> Outcome:
    async def run() -> Outcome:
        strategy = HGS(width=width, on_dead_end="finish", on_budget="abstain")
        problems, scorer = [Problem("p", "?")], ScriptedScorer(scores)
        [outcome] = [o async for o in solve(problems, strategy, policy, scorer, speculate=speculate)]
        return outcome

    return asyncio.run(run())


@pytest.mark.parametrize(("speculate", "at_once"), [(0, 1), (2, 3), (16, 16)])
def test_siblings_are_drawn_together_once_the_first_was_turned_down(
    speculate: Speculate, at_once: int
) -> None:
    policy = Slow()
    outcome_of(speculate, {"ab,": BAD}, policy)
    assert max(policy.at_once) <= at_once
    if speculate == 0:
        assert policy.at_once == [1] * 16
    elif speculate == 16:
        assert max(policy.at_once) > 3


def test_what_is_not_asked_for_is_stopped_and_its_tokens_are_counted() -> None:
    plain, policy = outcome_of(0, {}, Slow()), Slow()
    ahead = outcome_of(4, {}, policy)
    assert ahead.text == plain.text == "ab,ab,abc."
    assert ahead.cost.policy_tokens >= plain.cost.policy_tokens
    discarded = ahead.cost.policy_tokens_discarded - plain.cost.policy_tokens_discarded
    assert discarded == ahead.cost.policy_tokens - plain.cost.policy_tokens
