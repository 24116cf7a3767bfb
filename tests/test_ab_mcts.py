"""Adaptive branching: posteriors, pictures, and a plain slow reference."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import asin, atan, pi, sqrt
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.limits import LengthLimits, charge
from search.node import Node
from search.seeds import derive
from search.strategies.ab_mcts import ABMCTS, Arms
from search.strategies.mcts import MCTS
from search.tree import Tree
from search.types import Address, Problem, Step, StepScore, Stop, Until
from search.values import Rewards
from tests.fakes import BAD, FractionAnswers, RandomWorld, step
from tests.pictures import Picture, Q, of_value

# -- posteriors ------------------------------------------------------------------------------------


def normal_inverse_chi_squared(rewards: Sequence[float]) -> tuple[float, float, float]:
    """m, kappa = nu and tau^2, of all rewards at once: Murphy 2023, section 3.4.3.3. The prior: 0, 1, 0.1."""
    n, mean = len(rewards), fmean(rewards) if rewards else 0.0
    spread = sum((reward - mean) ** 2 for reward in rewards)
    kappa = nu = 1.0 + n
    return n * mean / kappa, kappa, (1 * 0.1 + spread + n * 1 * (0 - mean) ** 2 / (1 + n)) / nu


def betas(rewards: Sequence[float]) -> tuple[float, float]:
    return round(0.5 + sum(rewards), 9), round(0.5 + sum(1 - reward for reward in rewards), 9)


@given(rewards=st.lists(st.floats(0, 1), max_size=40))
def test_posteriors_are_those_of_all_rewards_at_once(rewards: list[float]) -> None:
    observed = Rewards()
    for reward in rewards:
        observed.observe(reward)
    assert observed.gaussian == pytest.approx(normal_inverse_chi_squared(rewards), abs=1e-12)
    assert observed.beta == pytest.approx(betas(rewards), abs=2e-9)


def below(x: float, rewards: Sequence[float], prior: Any) -> float:
    """The fraction of draws of a mean reward below x."""
    observed, rng = Rewards(), random.Random(3)
    for reward in rewards:
        observed.observe(reward)
    return sum(observed.draw(rng, prior) < x for _ in range(20_000)) / 20_000


@pytest.mark.parametrize("x", [-1.0, -0.2, 0.1, 0.6])
def test_draws_of_a_gaussian_mean_are_student_t(x: float) -> None:
    """With 1 and 2 degrees of freedom the distribution function is elementary."""
    cauchy = 0.5 + atan(x / sqrt(0.1)) / pi
    assert below(x, [], "gaussian") == pytest.approx(cauchy, abs=0.015)
    m, kappa, tau2 = normal_inverse_chi_squared([0.7])
    t = (x - m) / sqrt(tau2 / kappa)
    assert below(x, [0.7], "gaussian") == pytest.approx(0.5 + t / (2 * sqrt(2 + t * t)), abs=0.015)


@pytest.mark.parametrize("x", [0.05, 0.5, 0.9])
def test_draws_of_a_beta_mean(x: float) -> None:
    assert below(x, [], "beta") == pytest.approx(2 / pi * asin(sqrt(x)), abs=0.015)
    assert below(x, [0.5], "beta") == pytest.approx(x, abs=0.015), "Beta(1, 1)"


# -- pictures --------------------------------------------------------------------------------------


class Ladder:
    """Endless steps, all different unless they have a `text`. values: by depth, then the last."""

    def __init__(self, values: Sequence[float], text: str = ""):
        self.values, self.text = values, text

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, seed: int, **how: object
    ) -> list[Step]:
        charge(policy_tokens=1)
        stop = Stop.STEP if until is Until.STEP else Stop.END
        return [Step(self.text or f"{seed},", (1,), -1.0, stop)]

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        depths = range(num_scored, len(steps))
        return [of_value(self.values[min(depth, len(self.values) - 1)]) for depth in depths]


def shape(values: Sequence[float], params: ABMCTS, seed: int = 0) -> Counter[int]:
    """How many nodes there are at each depth."""
    model = Ladder(values)
    tree = Tree(Q, model, model, seed=seed, aggregate="last")
    arms, _ = asyncio.run(params.search(tree))
    return Counter(len(node.path) for node in arms)


@pytest.mark.parametrize("prior", ["gaussian", "beta"])
def test_it_goes_wider_where_going_deeper_does_not_pay_and_deeper_where_it_does(prior: Any) -> None:
    """MCTS with a fixed width grows the same shape for both."""
    params = ABMCTS(samples=60, prior=prior)
    wide = sum(shape([0.8, 0.1], params, seed)[1] for seed in range(5)) / 5
    deep = sum(shape([0.1, 0.8], params, seed)[1] for seed in range(5)) / 5
    assert wide > 40 and deep < 15
    assert shape([0.1, 0.3, 0.6, 0.9], params)[1] < 15 and max(shape([0.1, 0.3, 0.6, 0.9], params)) >= 4


def test_the_first_sample_at_a_node_needs_no_draw() -> None:
    model = Ladder([0.5])
    tree = Tree(Q, model, model)
    before = tree.rng.getstate()
    asyncio.run(ABMCTS(samples=1).search(tree))
    assert tree.rng.getstate() == before


def test_where_a_reward_is_told() -> None:
    """`gen` at the parent; `cont` and `below` above it; to `below` of the child itself at once."""
    model = Ladder([0.25, 0.75])
    for seed in range(20):
        tree = Tree(Q, model, model, seed=seed, aggregate="last")
        arms, _ = asyncio.run(ABMCTS(samples=2).search(tree))
        root, [first, *others] = arms[tree.root], tree.root.children
        if others:
            assert (root.gen.n, root.cont.n, root.below[first].n, root.below[others[0]].n) == (2, 0, 1, 1)
        else:
            assert (root.gen.n, root.gen.mean, root.cont.n, root.cont.mean) == (1, 0.25, 1, 0.75)
            assert (root.below[first].n, root.below[first].mean) == (2, 0.5)
            assert (arms[first].gen.n, arms[first].gen.mean, arms[first].cont.n) == (1, 0.75, 0)


def test_a_finished_child_is_no_place_to_go_on_from() -> None:
    """In TreeQuest every node is a whole answer that may be refined; a finished solution here is not."""
    seen = Picture(ABMCTS(samples=6), {"": ["= 1.", "= 2.", "= 3.", "= 4.", "= 5.", "= 6."]}, {
        "= 4.": of_value(0.95)
    }, fractions=True)  # fmt: skip
    assert seen.path == [""] * 6 and seen.text == "= 4."


def test_a_duplicate_is_a_reward_and_no_further_child() -> None:
    model = Ladder([0.5], text="a,")
    tree = Tree(Q, model, model)
    arms, _ = asyncio.run(ABMCTS(samples=8).search(tree))
    root = arms[tree.root]
    assert root.gen.n + root.cont.n == 8 and tree.events.duplicates > 0
    [child] = root.below.values()
    assert child.n == 1 + root.cont.n, "its own reward is told once"


def test_dead_ends_are_worth_nothing_and_failures_are_no_reward() -> None:
    class Flaky(Ladder):
        calls = 0

        async def propose(self, *args: Any, **how: Any) -> list[Step]:
            self.calls += 1
            if self.calls % 2:
                raise RuntimeError("lost")
            charge(policy_tokens=2)
            return [step("a~")]

    model = Flaky([0.9])
    tree = Tree(Q, model, model)
    arms, solutions = asyncio.run(ABMCTS(samples=6).search(tree))
    assert tree.events.failed == 3 and solutions == []
    assert (arms[tree.root].gen.n, arms[tree.root].gen.mean, arms[tree.root].below) == (3, 0.0, {})


def test_a_rollout_is_the_reward_and_may_be_the_answer() -> None:
    script = {"": ["a,"], "a,": ["2,"], "a,2,": ["good."]}
    seen = Picture(ABMCTS(samples=1, value="rollout"), script)
    assert seen.text == "a,2,good."
    assert [call.until for call in seen.policy.calls] == [Until.STEP, Until.END]


def test_without_a_solution_the_path_with_most_rewards_is_finished() -> None:
    model = Ladder([0.2, 0.4, 0.8])
    tree = Tree(Q, model, model, answers=FractionAnswers(), aggregate="last")
    chosen = asyncio.run(ABMCTS(samples=30)(tree))
    assert chosen.is_finished and len(chosen.path) > 2


def test_its_nearest_neighbour_samples_a_fixed_number_at_a_node() -> None:
    script = {"": ["a,", "b,", "c,"], "a,": ["x.", "y.", "z."], "b,": ["x."] * 3, "c,": ["x."] * 3}
    mcts = Picture(MCTS(simulations=2, width=3), script, {"b,": BAD})
    assert Counter(mcts.path) == {"": 3, "a,": 3}
    paths = set()
    for seed in range(30):
        tree = Tree(Q, Ladder([0.5]), Ladder([0.5]), seed=seed)
        arms, _ = asyncio.run(ABMCTS(samples=3).search(tree))
        paths.add(tuple(sorted(node.address for node in arms)))
    assert len(paths) > 3, "one, two or three children of the root, and chains"


# -- the reference ---------------------------------------------------------------------------------


class SlowABMCTS:
    """The reference: lists of rewards by address, posteriors of all of them at once, no `Tree`."""

    def __init__(
        self, params: ABMCTS, world: RandomWorld, problem: Problem, seed: int, lengths: LengthLimits
    ):
        self.params, self.world, self.problem = params, world, problem
        self.seed, self.lengths = seed, lengths
        self.rng = random.Random(derive(seed, problem.id, "strategy"))
        self.said: dict[Address, Step] = {}
        self.given: Counter[Address] = Counter()
        self.gen: dict[Address, list[float]] = {(): []}
        self.cont: dict[Address, list[float]] = {(): []}
        self.own: dict[Address, list[float]] = {}

    def steps(self, at: Address) -> list[Step]:
        return [self.said[at[:i]] for i in range(1, len(at) + 1)]

    def draw(self, rewards: list[float]) -> float:
        if self.params.prior == "beta":
            return self.rng.betavariate(*betas(rewards))
        m, kappa, tau2 = normal_inverse_chi_squared(rewards)
        variance = kappa * tau2 / self.rng.gammavariate(kappa / 2, 2.0)  # inverse chi-squared, scaled
        return self.rng.gauss(m, sqrt(variance / kappa))

    async def sample(self, at: Address) -> Address:
        """The first address with the text that is sampled after `at`."""
        own = (*at, self.given[at])
        self.given[at] += 1
        left = self.lengths.solution_tokens - sum(s.n_tokens for s in self.steps(at))
        [new] = await self.world.propose(
            self.problem, self.steps(at), until=Until.STEP, max_tokens=min(left, self.lengths.step_tokens),
            seed=derive(self.seed, self.problem.id, *own), temperature=None,
        )  # fmt: skip
        is_cut = new.stop is Stop.STEP and new.n_tokens >= left
        self.said[own] = new = replace(new, stop=Stop.LENGTH) if is_cut else new
        said = [self.said[(*at, i)] for i in range(own[-1] + 1)]
        return (*at, next(i for i, s in enumerate(said) if (s.text, s.stop) == (new.text, new.stop)))

    async def reward(self, at: Address) -> float:
        steps = self.steps(at)
        text = "".join(s.text for s in steps)
        answered = steps[-1].stop is Stop.END and FractionAnswers().extract(text) is not None
        if steps[-1].stop is not Stop.STEP and not answered:
            return 0.0
        while steps[-1].text == "":
            steps.pop()
        product = 1.0
        for score in await self.world.score(self.problem, steps):
            product *= score.positive + score.neutral
        return product

    async def run(self) -> None:
        for _ in range(self.params.samples):
            at: Address = ()
            while True:
                children = [child for child in self.own if child[:-1] == at]  # oldest first
                if not children or self.draw(self.gen[at]) >= self.draw(self.cont[at]):
                    break
                draws = [self.draw(self.own[child]) for child in children]
                at = children[draws.index(max(draws))]
            new = await self.sample(at)
            reward = await self.reward(new)
            self.gen[at].append(reward)
            for depth in range(len(at)):
                self.cont[at[:depth]].append(reward)
                self.own[at[: depth + 1]].append(reward)
            if self.said[new].stop is Stop.STEP and new not in self.own:
                self.own[new], self.gen[new], self.cont[new] = [reward], [], []


LENGTHS = LengthLimits(step_tokens=12, solution_tokens=60)


def grown(
    problem: int, seed: int, params: ABMCTS, jitter: int | None = None
) -> tuple[Tree, dict[Node, Arms]]:
    world = RandomWorld(jitter, depth=6)
    tree = Tree(
        Problem(f"p{problem}", "?"), world, world, seed=seed, lengths=LENGTHS, answers=FractionAnswers()
    )
    return tree, asyncio.run(params.search(tree))[0]


def approx(rewards: list[float]) -> Any:
    mean = fmean(rewards) if rewards else 0.0
    return pytest.approx((len(rewards), mean, sum((reward - mean) ** 2 for reward in rewards)), abs=1e-9)


@given(problem=st.integers(0, 400), seed=st.integers(0, 3), prior=st.sampled_from(["gaussian", "beta"]))
@settings(max_examples=40, deadline=None)
def test_what_is_observed_is_what_a_plain_slow_reference_observes(
    problem: int, seed: int, prior: Any
) -> None:
    params = ABMCTS(samples=25, prior=prior)
    tree, arms = grown(problem, seed, params)
    slow = SlowABMCTS(params, RandomWorld(depth=6), tree.problem, seed, LENGTHS)
    asyncio.run(slow.run())
    assert [node.address for node in arms] == list(slow.gen)
    for node, own in arms.items():
        at = node.address
        assert (own.gen.n, own.gen.mean, own.gen.spread) == approx(slow.gen[at])
        assert (own.cont.n, own.cont.mean, own.cont.spread) == approx(slow.cont[at])
        for child, seen in own.below.items():
            assert (seen.n, seen.mean, seen.spread) == approx(slow.own[child.address])


@given(problem=st.integers(0, 400), seed=st.integers(0, 3), value=st.sampled_from(["prm", "rollout"]))
@settings(max_examples=15, deadline=None)
def test_what_ends_first_changes_nothing(problem: int, seed: int, value: Any) -> None:
    seen = []
    for jitter in (1, 2, 3):
        tree, arms = grown(problem, seed, ABMCTS(samples=15, value=value), jitter)
        seen.append(([(n.address, own.gen.mean) for n, own in arms.items()], tree.cost, tree.events))
    assert seen[0] == seen[1] == seen[2]
