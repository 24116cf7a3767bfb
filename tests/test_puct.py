"""PUCT: pictures, and a plain slow reference."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from math import exp, log, sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.limits import LengthLimits, charge
from search.node import Node
from search.seeds import derive
from search.strategies.mcts import MCTS
from search.strategies.puct import PUCT
from search.tree import Tree
from search.types import Address, Problem, Step, Stop, Until
from tests.fakes import BAD, FractionAnswers, RandomWorld, ScriptedScorer, step
from tests.pictures import Picture, Q, of_value

# -- pictures --------------------------------------------------------------------------------------


class Likes:
    """A policy of two levels. liked: log-probabilities of first steps, in order; they differ in length."""

    def __init__(self, liked: dict[str, float]):
        self.liked = liked

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, seed: int, **how: object
    ) -> list[Step]:
        texts = ["x.", "y."] if steps else list(self.liked)
        at = tuple([list(self.liked).index(steps[0].text)] if steps else [])
        child = next(i for i in range(99) if derive(0, problem.id, *at, i) == seed)
        charge(policy_tokens=len(texts[child]))
        new = step(texts[child])
        return [new if steps else replace(new, logprob=self.liked[new.text])]


def statistics(params: Any, liked: dict[str, float], scores: dict[str, float]) -> tuple[dict[str, Any], Tree]:
    scorer = ScriptedScorer({text: of_value(value) for text, value in scores.items()})
    tree = Tree(Q, Likes(liked), scorer, aggregate="last")
    found = asyncio.run(params.search(tree))
    stats = found if isinstance(found, dict) else found[0]
    return {node.text: own for node, own in stats.items()}, tree


def test_what_the_policy_finds_likely_is_explored_first() -> None:
    """Equal values: UCT visits both children as often; PUCT goes where the prior is."""
    liked, scores = {"a,": -4.0, "b,": -0.2}, {"a,": 0.6, "b,": 0.6, "x.": 0.6, "y.": 0.6}
    even, _ = statistics(MCTS(simulations=9, width=2), liked, scores)
    assert abs(even["a,"].visits - even["b,"].visits) == 1
    led, _ = statistics(PUCT(simulations=9, width=2), liked, scores)
    assert led["b,"].visits > 2 * led["a,"].visits > 0


def test_the_prior_is_of_the_mean_log_probability_or_of_the_sum() -> None:
    """Feng et al. divide by the length: without that, priors favour short steps."""
    short, long = Node((0,), None, Step("a,", (1, 2), -2.0, Stop.STEP)), Node(
        (1,), None, Step("bbbbbb,", tuple(range(8)), -4.0, Stop.STEP)
    )
    assert PUCT().priors([short, long]) == pytest.approx([1 / (1 + exp(0.5)), exp(0.5) / (1 + exp(0.5))])
    of_sums = PUCT(mean_logprob=False).priors([short, long])
    assert of_sums == pytest.approx([exp(2) / (1 + exp(2)), 1 / (1 + exp(2))])


def test_a_policy_that_reports_no_log_probabilities_gives_equal_priors() -> None:
    nodes = [Node((i,), None, Step("a" * i, (), 0.0, Stop.STEP, n_tokens=i)) for i in range(4)]
    assert PUCT().priors(nodes) == [0.25] * 4
    assert PUCT().priors([]) == []


def test_a_simulation_backs_up_the_value_of_the_leaf_it_selects() -> None:
    """AlphaZero's backup: not the value of the best new child, which RAP's search moves on to."""
    scores = {"a,": 0.7, "b,": 0.1, "x.": 1.0, "y.": 0.2}
    own, _ = statistics(PUCT(simulations=1, width=2), {"a,": -1.0, "b,": -1.0}, scores)
    assert (own["a,"].visits, own["a,"].total, own[""].total) == (1, 0.7, 0.7)
    rap, _ = statistics(MCTS(simulations=2, width=2), {"a,": -1.0, "b,": -1.0}, scores)
    assert rap["a,"].total == 0.7 + 1.0


def test_before_any_visit_the_best_child_is_taken_whatever_the_prior() -> None:
    """sqrt(N) is 0 at a node that was not visited: the values decide alone, as in openr."""
    own, _ = statistics(PUCT(simulations=1, width=2), {"a,": -9.0, "b,": -0.1}, {"a,": 0.51, "b,": 0.5})
    assert (own["a,"].visits, own["b,"].visits) == (1, 0)


def test_a_missing_score_is_never_zero() -> None:
    """openr scores a step 0.0 where steps and scores do not match; here the candidate fails."""

    class Mismatched(ScriptedScorer):
        async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[Any]:
            scores = await super().score(problem, steps, num_scored=num_scored)
            return [] if steps[-1].text == "a," else scores

    tree = Tree(Q, Likes({"a,": -0.1, "b,": -3.0}), Mismatched())
    stats = asyncio.run(PUCT(simulations=3, width=2).search(tree))
    assert [node.text for node in stats if node.parent is tree.root] == ["b,"]
    assert tree.events.failed == 1 and stats[tree.root].visits == 3


def test_a_simulation_that_fails_is_no_visit() -> None:
    class Lost(Likes):
        async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
            if steps:
                raise RuntimeError("lost")
            return await super().propose(problem, steps, **how)

    tree = Tree(Q, Lost({"a,": -1.0, "b,": -1.0}), ScriptedScorer({}))
    stats = asyncio.run(PUCT(simulations=3, width=2).search(tree))
    assert [own.visits for own in stats.values()] == [0, 0, 0] and tree.events.failed == 6


def test_a_leaf_with_dead_ends_only_is_worth_nothing_and_tried_again() -> None:
    script = {"": ["a,", "b,"], "a,": ["~", "~"], "b,": ["= 1.", "= 1."]}
    scores = {"a,": of_value(0.9), "b,": of_value(0.5)}
    seen = Picture(PUCT(simulations=2, width=2), script, scores, fractions=True)
    assert seen.text == "b,= 1."
    assert seen.path == ["", "", "a,", "a,", "b,", "b,"]


def test_without_a_solution_the_most_visited_path_is_finished() -> None:
    script = {"": ["a,", "b,"], "b,": ["c,", "d,"], "b,c,": ["greedy."]}
    seen = Picture(PUCT(simulations=1, width=2), script, {"a,": BAD})
    assert seen.text == "b,c,greedy." and seen.temperatures[-1] == 0.0


# -- the reference ---------------------------------------------------------------------------------


class SlowPUCT:
    """The reference: plain dicts by address, written from the formulas, no `Tree`."""

    def __init__(self, params: PUCT, world: RandomWorld, problem: Problem, seed: int, lengths: LengthLimits):
        self.params, self.world, self.problem = params, world, problem
        self.seed, self.lengths = seed, lengths
        self.said: dict[Address, Step] = {}
        self.given: dict[Address, int] = {}
        self.options: dict[Address, list[Address]] = {}
        self.values: dict[Address, list[float]] = {(): []}

    def steps(self, at: Address) -> list[Step]:
        return [self.said[at[:i]] for i in range(1, len(at) + 1)]

    def is_dead(self, at: Address) -> bool:
        last = self.said[at]
        text = "".join(s.text for s in self.steps(at))
        answered = last.stop is Stop.END and FractionAnswers().extract(text) is not None
        return last.stop is not Stop.STEP and not answered

    async def value(self, at: Address) -> float:
        steps = self.steps(at)
        while steps and steps[-1].text == "":
            steps.pop()
        product = 1.0
        for own in await self.world.score(self.problem, steps) if steps else []:
            product *= own.positive + own.neutral
        return product

    async def expand(self, at: Address) -> None:
        left = self.lengths.solution_tokens - sum(s.n_tokens for s in self.steps(at))
        for _ in range(self.params.width):
            own = (*at, self.given.get(at, 0))
            self.given[at] = own[-1] + 1
            most = min(left, self.lengths.step_tokens)
            [new] = await self.world.propose(
                self.problem, self.steps(at), until=Until.STEP, max_tokens=most,
                seed=derive(self.seed, self.problem.id, *own), temperature=self.params.temperature,
            )
            if new.stop is Stop.STEP and new.n_tokens >= left:
                new = replace(new, stop=Stop.LENGTH)
            siblings = [self.said[(*at, i)] for i in range(own[-1]) if (*at, i) in self.said]
            if (new.text, new.stop) not in [(s.text, s.stop) for s in siblings]:
                self.said[own] = new
        children = [(*at, i) for i in range(self.given[at]) if (*at, i) in self.said]
        self.options[at] = [child for child in children if not self.is_dead(child)]
        for child in self.options[at]:
            self.values[child] = []

    def prior(self, child: Address) -> float:
        def likes(at: Address) -> float:
            said = self.said[at]
            return exp(said.logprob / max(1, said.n_tokens) if self.params.mean_logprob else said.logprob)

        return likes(child) / sum(likes(other) for other in self.options[child[:-1]])

    async def score(self, child: Address) -> float:
        above, own = len(self.values[child[:-1]]), self.values[child]
        q = sum(own) / len(own) if own else await self.value(child)
        weight = log((above + self.params.c_base + 1) / self.params.c_base) + self.params.c_init
        return q + self.prior(child) * weight * sqrt(above) / (1 + len(own))

    async def run(self) -> None:
        await self.expand(())
        for _ in range(self.params.simulations):
            at: Address = ()
            while self.options.get(at):
                scores = [await self.score(child) for child in self.options[at]]
                at = self.options[at][scores.index(max(scores))]
            if at == () or self.said[at].stop is Stop.STEP:
                await self.expand(at)
            worth = 0.0 if self.options.get(at) == [] else await self.value(at)
            for i in range(len(at) + 1):
                self.values[at[:i]].append(worth)


def grown(problem: int, seed: int, params: PUCT, jitter: int | None) -> tuple[Tree, dict[Node, Any]]:
    world = RandomWorld(jitter, depth=6)
    lengths = LengthLimits(step_tokens=12, solution_tokens=40)
    tree = Tree(
        Problem(f"p{problem}", "?"), world, world, seed=seed, lengths=lengths, answers=FractionAnswers()
    )
    return tree, asyncio.run(params.search(tree))


@given(
    problem=st.integers(0, 400), seed=st.integers(0, 3), c_init=st.sampled_from([0.0, 1.25, 9.0]),
    c_base=st.sampled_from([1.0, 19652.0]), mean_logprob=st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_statistics_are_those_of_a_plain_slow_reference(
    problem: int, seed: int, c_init: float, c_base: float, mean_logprob: bool
) -> None:
    params = PUCT(simulations=20, width=3, c_init=c_init, c_base=c_base, mean_logprob=mean_logprob)
    tree, stats = grown(problem, seed, params, None)
    lengths = LengthLimits(step_tokens=12, solution_tokens=40)
    slow = SlowPUCT(params, RandomWorld(depth=6), tree.problem, seed, lengths)
    asyncio.run(slow.run())
    assert {node.address: own.visits for node, own in stats.items()} == {
        at: len(values) for at, values in slow.values.items()
    }
    for node, own in stats.items():
        assert own.total == pytest.approx(sum(slow.values[node.address]))
        assert [child.address for child in own.children] == slow.options.get(node.address, [])


@given(problem=st.integers(0, 400), seed=st.integers(0, 3))
@settings(max_examples=10, deadline=None)
def test_what_ends_first_changes_nothing(problem: int, seed: int) -> None:
    runs = [grown(problem, seed, PUCT(), jitter) for jitter in (1, 2, 3)]
    seen = [
        ({n.address: (own.visits, own.total) for n, own in stats.items()}, tree.cost) for tree, stats in runs
    ]
    assert seen[0] == seen[1] == seen[2]
