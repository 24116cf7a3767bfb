"""Monte Carlo tree search: pictures, and a plain slow reference."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from math import log, sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.limits import CostLimits, LengthLimits, LimitReached
from search.seeds import derive
from search.strategies.mcts import MCTS
from search.tree import Tree
from search.types import Address, Problem, Step, Stop, Until
from tests.fakes import BAD, FractionAnswers, RandomWorld
from tests.pictures import Picture, Q, of_value


def test_mcts_follows_the_reward_to_a_solution() -> None:
    script = {"": ["a,", "b,"], "a,": ["x.", "y."], "b,": ["right.", "wrong."]}
    scored = {"a,": of_value(0.3), "b,": of_value(0.9), "b,wrong.": of_value(0.1)}
    seen = Picture(MCTS(simulations=2, width=2, exploration=0.0), script, scored)
    assert seen.text == "b,right."
    assert seen.path == ["", "", "b,", "b,"]


def test_mcts_explores_what_was_visited_less() -> None:
    script = {"": ["a,", "b,"], "a,": ["x.", "z."], "b,": ["y.", "w."]}
    scored = {"a,": of_value(0.6), "b,": of_value(0.5)}
    greedy = Picture(MCTS(simulations=4, width=2, exploration=0.0), script, scored)
    assert "b," not in greedy.path
    curious = Picture(MCTS(simulations=4, width=2, exploration=5.0), script, scored)
    assert "b," in curious.path


def test_mcts_without_a_solution_finishes_the_most_visited_path() -> None:
    script = {"": ["a,", "b,"], "b,": ["c,", "d,", "end."], "b,c,": ["greedy."]}
    seen = Picture(MCTS(simulations=2, width=2), script, {"a,": BAD})
    assert seen.text == "b,c,greedy."
    assert seen.temperatures[-1] == 0.0


def test_mcts_rollouts_are_judged_and_may_be_the_answer() -> None:
    script = {"": ["a,", "b,"], "a,": ["2,"], "a,2,": ["good."], "b,": ["bad."]}
    seen = Picture(MCTS(simulations=1, width=2, value="rollout"), script, {"bad.": BAD})
    assert seen.text == "a,2,good."
    assert [call.until for call in seen.policy.calls] == [Until.STEP, Until.STEP, Until.END]


def test_mcts_expanding_into_what_a_rollout_has_said_already() -> None:
    script = {"": ["a,"], "a,": ["2,", "2,", "2,"], "a,2,": ["good.", "good.", "good."]}
    seen = Picture(MCTS(simulations=3, width=1, value="rollout"), script)
    assert seen.text == "a,2,good."
    assert seen.events.duplicates > 0


def test_mcts_depth_ends_expansion() -> None:
    script = {"": ["a,"], "a,": ["b,", "c."], "a,b,": ["end."]}
    seen = Picture(MCTS(simulations=2, width=1, depth=1), script, {"c.": BAD})
    assert seen.text == "a,b,end."
    assert [call.until for call in seen.policy.calls] == [Until.STEP, Until.END, Until.END]


def test_mcts_of_equally_good_solutions_the_lower_address_is_the_answer() -> None:
    script = {"": ["a,", "b,"], "a,": ["x.", "x."], "b,": ["y.", "y."]}
    scored = {"a,": of_value(0.5), "b,": of_value(0.6), "y.": of_value(0.5), "x.": of_value(0.6)}
    seen = Picture(MCTS(simulations=4, width=2, exploration=9.0), script, scored)
    assert seen.text == "a,x."  # b,y. was met first


class SlowMCTS:
    """The reference: plain dicts by address, every value computed anew, no `Tree`.

    Written from the formulas, UCT = Q + w * sqrt(ln N(parent) / max(1, N(child))).
    """

    def __init__(self, params: MCTS, world: RandomWorld, problem: Problem, seed: int, lengths: LengthLimits):
        self.params, self.world, self.problem = params, world, problem
        self.seed, self.lengths = seed, lengths
        self.said: dict[Address, Step] = {}
        self.given: dict[Address, int] = {}
        self.options: dict[Address, list[Address]] = {}
        self.visits: dict[Address, int] = {(): 0}
        self.totals: dict[Address, float] = {(): 0.0}
        self.flying: Counter[Address] = Counter()
        self.solutions: set[Address] = set()

    def steps(self, at: Address) -> list[Step]:
        return [self.said[at[:i]] for i in range(1, len(at) + 1)]

    def answer(self, at: Address) -> str | None:
        text = "".join(s.text for s in self.steps(at))
        return FractionAnswers().extract(text) if self.said[at].stop is Stop.END else None

    async def value(self, at: Address) -> float:
        steps = self.steps(at)
        while steps and steps[-1].text == "":
            steps.pop()
        if not steps:
            return 0.0
        product = 1.0
        for j in await self.world.score(self.problem, steps):
            product *= j.positive + j.neutral
        return product

    async def sample(self, at: Address, until: Until) -> Address:
        """The first address that says what is sampled after `at`."""
        own = (*at, self.given.get(at, 0))
        self.given[at] = self.given.get(at, 0) + 1
        left = self.lengths.solution_tokens - sum(s.n_tokens for s in self.steps(at))
        steps = await self.world.propose(
            self.problem, self.steps(at), until=until, seed=derive(self.seed, self.problem.id, *own),
            max_tokens=left if until is Until.END else min(left, self.lengths.step_tokens),
            temperature=self.params.temperature,
        )
        leaf = own[:-1]
        for i, new in enumerate(steps):
            leaf = own if i == 0 else (*leaf, 0)
            if i:
                self.given[leaf[:-1]] = 1
            self.said[leaf] = new
        if steps[-1].stop is Stop.STEP and sum(s.n_tokens for s in steps) >= left:
            self.said[leaf] = replace(steps[-1], stop=Stop.LENGTH)
        tail = [(self.said[leaf[:i]].text, self.said[leaf[:i]].stop) for i in range(len(own), len(leaf) + 1)]
        for other in sorted(self.said):  # tuples sort as addresses do
            if len(other) == len(leaf) and other[: len(at)] == at and other[len(at)] < own[-1]:
                path = [other[:i] for i in range(len(at) + 1, len(other) + 1)]
                if [(self.said[p].text, self.said[p].stop) for p in path] == tail:
                    return other
        return leaf

    async def run(self) -> None:
        left = self.params.simulations
        while left:
            paths: list[list[Address]] = []
            while len(paths) < min(left, self.params.at_once):
                path = await self.select()
                if path in paths:
                    break
                paths.append(path)
                self.flying.update(path)
            left -= len(paths)
            backups = [await self.simulate(path) for path in paths]
            self.flying.clear()
            for path, value in backups:
                for node in path:
                    self.visits[node] += 1
                    self.totals[node] += value

    async def select(self) -> list[Address]:
        path: list[Address] = [()]
        while path[-1] in self.options:
            scores = [await self.uct(child, path[-1]) for child in self.options[path[-1]]]
            path.append(self.options[path[-1]][scores.index(max(scores))])
        return path

    async def simulate(self, path: list[Address]) -> tuple[list[Address], float]:
        """Where to back up, and what."""
        leaf = path[-1]
        done = leaf != () and self.said[leaf].stop is not Stop.STEP
        if not done and len(leaf) < self.params.depth:
            sampled = {await self.sample(leaf, Until.STEP) for _ in range(self.params.width)}
            live = sorted(child for child in sampled if not self.is_dead(child))
            if not live:
                return path, 0.0  # only dead ends: worth nothing, also where rollouts are asked for
            self.options[leaf] = live
            for child in live:
                self.visits[child], self.totals[child] = 0, 0.0
                if self.said[child].stop is not Stop.STEP:
                    self.solutions.add(child)
            values = [await self.value(child) for child in live]
            leaf = live[values.index(max(values))]
            path = [*path, leaf]
            done = self.said[leaf].stop is not Stop.STEP
        if not done and (self.params.value == "rollout" or len(leaf) >= self.params.depth):
            leaf = await self.sample(leaf, Until.END)
            if not self.is_dead(leaf):
                self.solutions.add(leaf)
        return path, 0.0 if self.is_dead(leaf) else await self.value(leaf)

    def is_dead(self, at: Address) -> bool:
        """A dead end is finished or cut, without an answer."""
        return at != () and self.said[at].stop is not Stop.STEP and self.answer(at) is None

    async def uct(self, child: Address, parent: Address) -> float:
        """Simulations in flight count as visits with value 0."""
        n, above = (self.visits[at] + self.flying[at] for at in (child, parent))
        q = self.totals[child] / n if n else await self.value(child)
        return q + self.params.exploration * sqrt(log(max(1, above)) / max(1, n))


@given(
    problem=st.integers(0, 400), seed=st.integers(0, 3), at_once=st.sampled_from([1, 2, 3, 8]),
    value=st.sampled_from(["prm", "rollout"]), exploration=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_mcts_statistics_are_those_of_a_plain_slow_reference(
    problem: int, seed: int, at_once: int, value: Any, exploration: float
) -> None:
    params = MCTS(
        simulations=24, width=3, value=value, depth=4, temperature=0.9, exploration=exploration,
        at_once=at_once,
    )  # fmt: skip
    lengths = LengthLimits(step_tokens=9, solution_tokens=30)
    question = Problem(f"p{problem}", "?")
    world = RandomWorld(depth=6)
    tree = Tree(question, world, world, seed=seed, lengths=lengths, answers=FractionAnswers())
    stats, solutions = asyncio.run(params.search(tree))

    slow = SlowMCTS(params, world, question, seed, lengths)
    asyncio.run(slow.run())
    assert {node.address: own.visits for node, own in stats.items()} == slow.visits
    for node, own in stats.items():
        assert own.total == pytest.approx(slow.totals[node.address])
        assert [child.address for child in own.children] == slow.options.get(node.address, [])
    first_to_say = {(node.duplicate_of or node).address for node in solutions}
    assert first_to_say == slow.solutions


@pytest.mark.parametrize("at_once", [1, 4])
def test_mcts_counts_add_up(at_once: int) -> None:
    world = RandomWorld()
    tree = Tree(Q, world, world, answers=FractionAnswers())
    stats, _ = asyncio.run(MCTS(simulations=30, at_once=at_once).search(tree))
    assert stats[tree.root].visits == 30
    for own in stats.values():
        assert 0 <= own.total <= own.visits
        below = sum(stats[child].visits for child in own.children)
        assert below <= own.visits


# -- several simulations in flight ------------------------------------------------------------------

TWO_BRANCHES = {"": ["a,", "b,"], "a,": ["x.", "y."], "b,": ["x.", "y."]}
NEARLY_EQUAL = {"a,": of_value(0.62), "b,": of_value(0.6)}


def test_virtual_loss_sends_a_simulation_in_flight_another_way() -> None:
    """Alone, the second simulation goes on below "a,": beside another in flight there, it tries "b,"."""
    alone = Picture(MCTS(simulations=2, width=2, exploration=0.1), TWO_BRANCHES, NEARLY_EQUAL)
    assert alone.path == ["", "", "a,", "a,"]
    both = Picture(MCTS(simulations=3, width=2, exploration=0.1, at_once=2), TWO_BRANCHES, NEARLY_EQUAL)
    assert both.path == ["", "", "a,", "a,", "b,", "b,"]


def test_a_leaf_in_flight_is_not_expanded_twice() -> None:
    """All of the first round would select the root: it is one simulation, and none is lost."""
    seen = Picture(MCTS(simulations=3, width=2, exploration=0.1, at_once=8), TWO_BRANCHES, NEARLY_EQUAL)
    assert seen.path.count("") == 2
    assert seen.cost.samples == 6


@given(problem=st.integers(0, 400), value=st.sampled_from(["prm", "rollout"]))
@settings(max_examples=15, deadline=None)
def test_what_ends_first_changes_nothing(problem: int, value: Any) -> None:
    """With calls in flight that end in another order each time."""
    trees = []
    for jitter in (1, 2, 3):
        world = RandomWorld(jitter, depth=6)
        tree = Tree(Problem(f"p{problem}", "?"), world, world, answers=FractionAnswers())
        chosen = asyncio.run(MCTS(simulations=24, at_once=4, value=value)(tree))
        trees.append((chosen.address, tree.cost, tree.events))
    assert trees[0] == trees[1] == trees[2]


class Busy(RandomWorld):
    """Counts the calls of the policy in flight."""

    most = running = 0

    async def propose(self, *args: Any, **how: Any) -> list[Step]:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        try:
            return await super().propose(*args, **how)
        finally:
            self.running -= 1


def test_simulations_at_once_keep_the_policy_busy() -> None:
    most = []
    for at_once in (1, 4):
        world = Busy(depth=6)
        tree = Tree(Problem("p0", "?"), world, world, answers=FractionAnswers())
        asyncio.run(MCTS(simulations=24, width=3, at_once=at_once)(tree))
        most.append(world.most)
    assert most == [3, 12]


@given(problem=st.integers(0, 60), value=st.sampled_from(["prm", "rollout"]), samples=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_what_limits_leave_of_a_round_does_not_depend_on_what_ends_first(
    problem: int, value: Any, samples: int
) -> None:
    seen = []
    for jitter in (1, 2):
        world = RandomWorld(jitter, depth=6)
        tree = Tree(
            Problem(f"p{problem}", "?"), world, world, answers=FractionAnswers(),
            limits=CostLimits(samples=samples),
        )  # fmt: skip
        with suppress(LimitReached):
            asyncio.run(MCTS(simulations=16, at_once=4, value=value).search(tree))
        seen.append(([node.text for node in tree.root.children], tree.cost, tree.events.exhausted > 0))
        assert tree.cost.samples <= samples
    assert seen[0] == seen[1]


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_simulation_that_fails_is_no_visit(at_once: int) -> None:
    class Lost(RandomWorld):
        async def propose(self, problem: Problem, steps: Any, **how: Any) -> list[Step]:
            if steps:
                raise RuntimeError("lost")
            return await super().propose(problem, steps, **how)

    world = Lost()
    tree = Tree(Problem("p0", "?"), world, world, answers=FractionAnswers())
    stats, _ = asyncio.run(MCTS(simulations=9, exploration=0.0, at_once=at_once).search(tree))
    alive = [child for child in stats[tree.root].children if not child.is_terminal]
    assert tree.events.failed > 0 and alive
    assert stats[tree.root].visits == 1 + sum(stats[n].visits for n in stats if n.is_terminal)
