"""Particle filtering and particle Gibbs: pictures, and a plain slow reference."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from math import exp, inf, log
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.limits import CostLimits, LengthLimits, LimitReached
from search.node import Node
from search.seeds import derive
from search.strategies.particle import ParticleFilter
from search.tree import Tree
from search.types import Address, Problem, Step, StepScore, Stop, Until
from tests.fakes import FractionAnswers, RandomWorld, ScriptedPolicy, ScriptedScorer
from tests.pictures import Picture, Q, Script, of_value

# -- logits ----------------------------------------------------------------------------------------


def test_logits_tell_apart_what_values_do_not() -> None:
    sure, surer = StepScore(1e-20, 0.0, 1.0), StepScore(1e-38, 0.4, 0.6)
    assert sure.value == surer.value == 1.0
    assert sure.logit == pytest.approx(20 * log(10)) and surer.logit == pytest.approx(38 * log(10))
    assert StepScore(0.5, 0.25, 0.25).logit == 0.0
    assert StepScore(0.2, 0.3, 0.5).logit == pytest.approx(log(4))


@given(parts=st.tuples(*[st.floats(0, 1)] * 3).filter(lambda parts: sum(parts) > 1e-3))
def test_logits_are_bounded_and_rise_with_the_value(parts: tuple[float, float, float]) -> None:
    score = StepScore(*(part / sum(parts) for part in parts))
    assert -708.4 < score.logit < 708.4
    assert (score.logit >= 0) == (score.positive + score.neutral >= score.negative)


def test_logits_where_one_side_is_zero() -> None:
    most = -log(sys.float_info.min)
    assert StepScore(0.0, 0.0, 1.0).logit == most and StepScore(1.0, 0.0, 0.0).logit == -most
    assert StepScore(5e-324, 0.0, 1.0).logit == most, "a denormal is no smaller than 0"


# -- pictures --------------------------------------------------------------------------------------


def of_odds(odds: float) -> StepScore:
    """A score whose weight is `odds`, before weights are divided by their sum."""
    return StepScore(1 / (1 + odds), 0.0, odds / (1 + odds))


def filtered(
    params: ParticleFilter, script: Script, scores: Mapping[str, StepScore], seed: int = 0
) -> tuple[list[str], list[float], list[float], ScriptedPolicy]:
    policy = ScriptedPolicy(script, seed)
    tree = Tree(Q, policy, ScriptedScorer(scores), seed=seed)
    particles, weights, sizes = asyncio.run(params.run(tree))
    return [node.text for node in particles], weights, sizes, policy


def test_a_node_that_several_particles_hold_gets_as_many_children() -> None:
    script = {"": ["a,", "b,"], "a,": ["x.", "y."]}
    seen = Picture(ParticleFilter(n=2), script, {"b,": of_odds(1e-12), "y.": of_odds(99)})
    assert seen.path == ["", "", "a,", "a,"]
    assert seen.text == "a,y."


def test_weights_are_of_logits_where_values_are_all_one() -> None:
    """Two steps that the PRM is sure of, one a thousand times surer: by values, they would weigh the same."""
    scores = {"a.": StepScore(1e-20, 0.0, 1.0), "b.": StepScore(1e-23, 0.0, 1.0)}
    texts, weights, sizes, _ = filtered(ParticleFilter(n=2), {"": ["a.", "b."]}, scores)
    assert texts == ["a.", "b."]
    assert weights == pytest.approx([1 / 1001, 1000 / 1001])
    assert sizes == pytest.approx([1001**2 / (1000**2 + 1)])


@pytest.mark.parametrize("resampling", ["multinomial", "systematic"])
def test_an_unlikely_particle_lives_on_with_its_probability(resampling: Any) -> None:
    """Beam search would keep the best prefix only, whatever the weights."""
    script = {"": ["a,", "b,", "b,", "b,"], "a,": ["x."] * 4, "b,": ["x."] * 4}
    scores = {"a,": of_odds(9.0), "b,": of_odds(1.0), "x.": of_odds(1.0)}
    counts: Counter[int] = Counter()
    for seed in range(300):
        params = ParticleFilter(n=4, resampling=resampling)
        texts, *_ = filtered(params, script, scores, seed)
        counts[texts.count("a,x.")] += 1
    drawn = sum(n * times for n, times in counts.items()) / 300
    assert drawn == pytest.approx(4 * 0.75, abs=0.15)  # "a," weighs 9 of 12
    assert set(counts) == ({3} if resampling == "systematic" else {0, 1, 2, 3, 4})


def test_an_end_of_text_ends_a_particle() -> None:
    """its_hub goes on after the end of the text, up to its maximum of steps, unless told a stop token."""
    seen = Picture(ParticleFilter(n=4), {"": ["= 1.", "= 2.", "= 3.", "a,"], "a,": ["= 4."]}, {
        "a,": of_odds(1e-15)
    })  # fmt: skip
    assert seen.path == [""] * 4
    assert seen.cost.samples == 4


def test_a_finished_particle_keeps_its_weight() -> None:
    """One ends at the first step; the next weighing sees its logit beside those of the second step."""
    script = {"": ["= 1.", "a,"], "a,": ["= 2.", "= 2."]}
    scores = {"= 1.": of_odds(1.0), "a,": of_odds(1.0), "a,= 2.": of_odds(3.0)}
    for seed in range(20):
        texts, weights, sizes, _ = filtered(ParticleFilter(n=2), script, scores, seed)
        if sorted(texts) == ["= 1.", "a,= 2."]:
            assert sorted(weights) == pytest.approx([0.25, 0.75])
            assert sizes == pytest.approx([2.0, 1.6])
            return
    raise AssertionError("no run had one particle of each")


def test_the_result_is_not_resampled() -> None:
    """its_hub resamples finished particles once more, and may lose the best one before it takes it."""
    scores = {"= 1.": of_odds(1.5), "= 2.": of_odds(1.0)}
    for seed in range(30):
        texts, weights, _, _ = filtered(ParticleFilter(n=2), {"": ["= 2.", "= 1."]}, scores, seed)
        assert texts == ["= 2.", "= 1."] and weights == pytest.approx([0.4, 0.6])


def test_equal_siblings_are_one_particle_held_twice() -> None:
    script = {"": ["a,", "a,"], "a,": ["x.", "y."]}
    texts, weights, _, policy = filtered(ParticleFilter(n=2), script, {})
    assert sorted(texts) == ["a,x.", "a,y."] and weights == [0.5, 0.5]
    assert [call.after for call in policy.calls] == ["", "", "a,", "a,"]


def test_dead_ends_weigh_nothing() -> None:
    script = {"": ["a~", "b!", "c,"], "c,": ["who knows."] * 2 + ["= 1."]}
    scores = {"a~": of_odds(1e9), "b!": of_odds(1e9), "c,": of_odds(0.1), "c,who knows.": of_odds(1e9)}
    seen = Picture(ParticleFilter(n=3), script, scores, fractions=True)
    assert seen.text == "c,= 1."


def test_where_all_particles_are_dead_ends_there_is_an_end() -> None:
    seen = Picture(ParticleFilter(n=3), {"": ["a~", "b!", "c."]}, fractions=True)
    assert seen.cost.samples == 3 and seen.tree.answer(seen.chosen) is None


def test_the_answer_of_the_heaviest_particle_or_of_the_heaviest_vote() -> None:
    script = {"": ["= 1.", "so = 2.", "2/1 = 2."]}
    scores = {"= 1.": of_odds(3.0), "so = 2.": of_odds(2.0), "2/1 = 2.": of_odds(2.5)}
    assert Picture(ParticleFilter(n=3), script, scores, fractions=True).text == "= 1."
    voted = Picture(ParticleFilter(n=3, choose="weighted_vote"), script, scores, fractions=True)
    assert voted.text == "2/1 = 2.", "the better one of the winning answer"


@pytest.mark.parametrize(
    ("texts", "odds", "answer"),
    [
        (["= 1.", "= 2.", "so = 2."], [9.0, 2.0, 2.0], "1"),  # weights are summed, heads are not counted
        (["= 1.", "= 2.", "= 2."], [3.0, 2.0, 2.0], "2"),  # two particles that are one node weigh twice
    ],
)
def test_particles_vote_with_their_weights(texts: list[str], odds: list[float], answer: str) -> None:
    scores = {text: of_odds(own) for text, own in zip(texts, odds, strict=True)}
    voted = Picture(ParticleFilter(n=3, choose="weighted_vote"), {"": texts}, scores, fractions=True)
    assert voted.tree.answer(voted.chosen) == answer


def test_ties_go_to_the_lower_address() -> None:
    for seed in range(10):
        script = {"": ["a,", "b,"], "a,": ["= 1.", "= 1."], "b,": ["= 1.", "= 1."]}
        policy = ScriptedPolicy(script, seed)
        tree = Tree(Q, policy, ScriptedScorer({}), seed=seed)
        chosen = asyncio.run(ParticleFilter(n=2)(tree))
        finished = [child for node in tree.root.children for child in node.children]
        assert chosen.address == min((child.duplicate_of or child).address for child in finished)


# -- particle Gibbs --------------------------------------------------------------------------------


def test_gibbs_keeps_one_particle_as_it_is() -> None:
    """The second iteration samples n - 1 new first steps, and the kept particle is its last one."""
    script = {"": ["a.", "b.", "c."]}
    scores = {"a.": of_odds(1e12), "b.": of_odds(1.0), "c.": of_odds(1.0)}
    texts, weights, sizes, policy = filtered(ParticleFilter(n=2, iterations=2), script, scores)
    assert texts == ["c.", "a."] and weights[1] > 0.999
    assert len(policy.calls) == 3 and len(sizes) == 2


def test_the_kept_particle_is_weighed_by_the_step_that_the_others_are_at() -> None:
    """its_hub weighs it by its last step from the beginning, against the first steps of the others."""
    script = {"": ["a,", "a,", "c,"], "a,": ["x.", "x.", "x."], "c,": ["x."]}
    scores = {"a,": of_odds(1.0), "c,": of_odds(1.0), "a,x.": of_odds(1e9)}
    _, _, sizes, _ = filtered(ParticleFilter(n=2, iterations=2), script, scores)
    assert sizes[2] == 2.0, "by its last step it would weigh all, and the size would be 1"


def test_a_new_particle_may_go_on_from_a_prefix_of_the_kept_one() -> None:
    """Not from all of it: what it takes over is the kept particle's first step."""
    script = {"": ["a,", "a,", "c,"], "a,": ["x.", "y.", "z."], "c,": ["w."]}
    scores = {"a,": of_odds(1e12), "c,": of_odds(1e-12)}
    texts, *_, policy = filtered(ParticleFilter(n=2, iterations=2), script, scores)
    assert texts[0] == "a,z." and texts[1] in ("a,x.", "a,y.")
    assert [call.after for call in policy.calls] == ["", "", "a,", "a,", "", "a,"]


def test_gibbs_needs_two_particles() -> None:
    ParticleFilter(n=1)
    with pytest.raises(ValueError, match="n=1"):
        ParticleFilter(n=1, iterations=2)


# -- the reference ---------------------------------------------------------------------------------


class SlowFilter:
    """The reference: algorithms 1 and 2 of the paper on lists of addresses, no `Tree`.

    It draws by inverting the distribution function, with the uniform numbers that the engine's draws use.
    """

    def __init__(self, params: ParticleFilter, world: RandomWorld, problem: Problem, seed: int, lengths: Any):
        self.params, self.world, self.problem = params, world, problem
        self.seed, self.lengths = seed, lengths
        self.rng = random.Random(derive(seed, problem.id, "strategy"))
        self.said: dict[Address, Step] = {}
        self.given: Counter[Address] = Counter()
        self.weights: list[list[float]] = []

    def steps(self, at: Address) -> list[Step]:
        return [self.said[at[:i]] for i in range(1, len(at) + 1)]

    def stopped(self, at: Address) -> bool:
        return at != () and self.said[at].stop is not Stop.STEP

    async def grow(self, at: Address) -> Address:
        if self.stopped(at):
            return at
        own = (*at, self.given[at])
        self.given[at] += 1
        left = self.lengths.solution_tokens - sum(s.n_tokens for s in self.steps(at))
        [new] = await self.world.propose(
            self.problem, self.steps(at), until=Until.STEP, max_tokens=min(left, self.lengths.step_tokens),
            seed=derive(self.seed, self.problem.id, *own), temperature=None,
        )  # fmt: skip
        is_cut = new.stop is Stop.STEP and new.n_tokens >= left
        self.said[own] = replace(new, stop=Stop.LENGTH) if is_cut else new
        first = next(i for i in range(own[-1] + 1) if self.same((*at, i), own))
        return (*at, first)

    def same(self, a: Address, b: Address) -> bool:
        return (self.said[a].text, self.said[a].stop) == (self.said[b].text, self.said[b].stop)

    async def reward(self, at: Address) -> float:
        steps = self.steps(at)
        text = "".join(s.text for s in steps)
        answered = steps[-1].stop is Stop.END and FractionAnswers().extract(text) is not None
        if steps[-1].stop is not Stop.STEP and not answered:
            return -inf
        while steps[-1].text == "":
            steps.pop()
        own = (await self.world.score(self.problem, steps))[-1]
        return log((own.neutral + own.positive) / own.negative)

    async def weigh(self, particles: list[Address]) -> list[float]:
        rewards = [await self.reward(at) for at in particles]
        if max(rewards) == -inf:
            rewards = [0.0] * len(rewards)
        total = sum(exp(reward) for reward in rewards)
        self.weights.append([exp(reward) / total for reward in rewards])
        return self.weights[-1]

    def draw(self, weights: list[float], n: int) -> list[int]:
        offset = self.rng.random() if self.params.resampling == "systematic" else 0.0
        drawn = []
        for i in range(n):
            systematic = self.params.resampling == "systematic"
            u = (i + offset) / n if systematic else self.rng.random()
            index = 0
            while u >= weights[index] and index < len(weights) - 1:
                u -= weights[index]
                index += 1
            drawn.append(index)
        return drawn

    async def run(self) -> tuple[list[Address], list[float]]:
        particles, weights, reference = list[Address](), list[float](), None
        for iteration in range(self.params.iterations):
            if iteration:
                reference = particles[self.choose_one(weights)]
            new: list[Address] = [()] * (self.params.n - (reference is not None))
            t = 0
            while True:
                t += 1
                new = [await self.grow(at) for at in new]
                particles = new + ([] if reference is None else [reference[:t]])
                weights = await self.weigh(particles)
                if all(self.stopped(at) for at in particles):
                    break
                new = [particles[i] for i in self.draw(weights, len(new))]
        return particles, weights

    def choose_one(self, weights: list[float]) -> int:
        u, index = self.rng.random(), 0
        while u >= weights[index] and index < len(weights) - 1:
            u -= weights[index]
            index += 1
        return index


LENGTHS = LengthLimits(step_tokens=12, solution_tokens=40)


def grown(
    problem: int, seed: int, params: ParticleFilter, jitter: int | None = None
) -> tuple[Tree, list[Node], list[float], list[float]]:
    world = RandomWorld(jitter, depth=4)
    tree = Tree(
        Problem(f"p{problem}", "?"), world, world, seed=seed, lengths=LENGTHS, answers=FractionAnswers()
    )
    return tree, *asyncio.run(params.run(tree))


PARAMS = st.builds(
    ParticleFilter, n=st.integers(2, 7), iterations=st.integers(1, 3),
    resampling=st.sampled_from(["multinomial", "systematic"]),
)  # fmt: skip


@given(problem=st.integers(0, 400), seed=st.integers(0, 3), params=PARAMS)
@settings(max_examples=60, deadline=None)
def test_particles_and_weights_are_those_of_a_plain_slow_reference(
    problem: int, seed: int, params: ParticleFilter
) -> None:
    tree, particles, weights, sizes = grown(problem, seed, params)
    slow = SlowFilter(params, RandomWorld(depth=4), tree.problem, seed, LENGTHS)
    theirs, their_weights = asyncio.run(slow.run())
    assert [node.address for node in particles] == theirs
    assert weights == pytest.approx(their_weights)
    assert sizes == pytest.approx([1 / sum(w * w for w in weights) for weights in slow.weights])
    assert all(1 - 1e-9 <= size <= params.n + 1e-9 for size in sizes)


@given(problem=st.integers(0, 400), seed=st.integers(0, 3), params=PARAMS)
@settings(max_examples=15, deadline=None)
def test_what_ends_first_changes_nothing(problem: int, seed: int, params: ParticleFilter) -> None:
    seen = []
    for jitter in (1, 2, 3):
        tree, particles, weights, sizes = grown(problem, seed, params, jitter)
        seen.append(([node.address for node in particles], weights, sizes, tree.cost, tree.events))
    assert seen[0] == seen[1] == seen[2]


@given(problem=st.integers(0, 400), samples=st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_where_limits_allow_no_more_the_search_ends(problem: int, samples: int) -> None:
    world = RandomWorld()
    tree = Tree(
        Problem(f"p{problem}", "?"), world, world, lengths=LENGTHS, answers=FractionAnswers(),
        limits=CostLimits(samples=samples),
    )  # fmt: skip
    try:
        asyncio.run(ParticleFilter(n=4, iterations=2)(tree))
    except LimitReached:
        assert tree.cost.samples == samples
    assert tree.cost.samples <= samples


def test_scores_are_asked_for_once() -> None:
    """A step of the kept particle, or of one that is held twice, is not scored again."""
    script = {"": ["a,", "a,", "a,"], "a,": ["x.", "y.", "x."]}
    seen = Picture(ParticleFilter(n=2, iterations=2), script, {"x.": of_value(0.6)})
    assert len(seen.scorer.calls) == len(set(seen.scorer.calls)) == 3
