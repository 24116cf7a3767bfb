"""Monte Carlo tree search: pictures, and a plain slow reference."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from math import log, sqrt

import pytest

from search.limits import LengthLimits
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
        for _ in range(self.params.simulations):
            path: list[Address] = [()]
            while path[-1] in self.options:
                scores = [await self.uct(child, path[-1]) for child in self.options[path[-1]]]
                path.append(self.options[path[-1]][scores.index(max(scores))])
            leaf = path[-1]
            done = leaf != () and self.said[leaf].stop is not Stop.STEP
            live: list[Address] = []
            if not done and len(leaf) < self.params.depth:
                sampled = {await self.sample(leaf, Until.STEP) for _ in range(self.params.width)}
                live = sorted(child for child in sampled if not self.is_dead(child))
                if live:
                    self.options[leaf] = live
                for child in live:
                    self.visits[child], self.totals[child] = 0, 0.0
                    if self.said[child].stop is not Stop.STEP:
                        self.solutions.add(child)
                if live:
                    values = [await self.value(child) for child in live]
                    leaf = live[values.index(max(values))]
                    path.append(leaf)
                    done = self.said[leaf].stop is not Stop.STEP
                else:  # only dead ends: worth nothing, unless a rollout from here is asked for
                    done = True
                    for node in path:
                        self.visits[node] += 1
                    continue
            end = leaf
            if not done and (self.params.value == "rollout" or len(leaf) >= self.params.depth):
                end = await self.sample(leaf, Until.END)
                if not self.is_dead(end):
                    self.solutions.add(end)
            for node in path:
                self.visits[node] += 1
                self.totals[node] += 0.0 if self.is_dead(end) else await self.value(end)

    def is_dead(self, at: Address) -> bool:
        """A dead end is finished or cut, without an answer."""
        return at != () and self.said[at].stop is not Stop.STEP and self.answer(at) is None

    async def uct(self, child: Address, parent: Address) -> float:
        n = self.visits[child]
        q = self.totals[child] / n if n else await self.value(child)
        return q + self.params.exploration * sqrt(log(max(1, self.visits[parent])) / max(1, n))


@pytest.mark.parametrize("value", ["prm", "rollout"])
@pytest.mark.parametrize("seed", range(5))
def test_mcts_statistics_are_those_of_a_plain_slow_reference(value: str, seed: int) -> None:
    params = MCTS(simulations=24, width=3, value=value, depth=4, temperature=0.9)  # type: ignore[arg-type]
    lengths = LengthLimits(step_tokens=9, solution_tokens=30)
    problem = Problem(f"p{seed}", "?")
    world = RandomWorld(depth=6)
    tree = Tree(problem, world, world, seed=seed, lengths=lengths, answers=FractionAnswers())
    stats, solutions = asyncio.run(params.search(tree))

    slow = SlowMCTS(params, world, problem, seed, lengths)
    asyncio.run(slow.run())
    assert {node.address: own.visits for node, own in stats.items()} == slow.visits
    for node, own in stats.items():
        assert own.total == pytest.approx(slow.totals[node.address])
        assert [child.address for child in own.children] == slow.options.get(node.address, [])
    first_to_say = {(node.duplicate_of or node).address for node in solutions}
    assert first_to_say == slow.solutions


def test_mcts_counts_add_up() -> None:
    world = RandomWorld()
    tree = Tree(Q, world, world, answers=FractionAnswers())
    stats, _ = asyncio.run(MCTS(simulations=30).search(tree))
    assert stats[tree.root].visits == 30
    for own in stats.values():
        assert 0 <= own.total <= own.visits
        below = sum(stats[child].visits for child in own.children)
        assert below <= own.visits
