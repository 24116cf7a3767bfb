"""Tree of Thoughts: pictures, and the paper's algorithms to the letter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.engine import solve_all
from search.limits import CostLimits, LimitReached
from search.node import Node, TreeEvent
from search.strategies.hgs import HGS
from search.strategies.tot import TreeOfThoughts
from search.tree import Tree
from search.types import Address, Problem, Until
from tests.fakes import FractionAnswers, RandomWorld
from tests.pictures import Picture, of_value
from tests.plain import LENGTHS, Lossy, PlainTree, all_nodes


def bfs(width: int = 2, breadth: int = 2, **params: Any) -> TreeOfThoughts:
    return TreeOfThoughts("bfs", width, breadth, **{"aggregate": "last", **params})


def dfs(width: int = 2, threshold: float = 0.1, **params: Any) -> TreeOfThoughts:
    return TreeOfThoughts("dfs", width, threshold=threshold, **{"aggregate": "last", **params})


def valued(**values: float) -> dict[str, Any]:
    """Scores of the steps "a,", "b," and so on; "one" is "= 1." and "two" is "= 2."."""
    names = {"one": "= 1.", "two": "= 2.", "three": "= 3."}
    return {names.get(name, f"{name},"): of_value(value) for name, value in values.items()}


# -- breadth-first ---------------------------------------------------------------------------------


def test_bfs_keeps_the_best_of_all_states_of_a_depth() -> None:
    """Not the best of each: both that go on at depth 2 come from "b,", which was the second best."""
    script = {"": ["a,", "b,", "c,"], "a,": ["u,"] * 3, "b,": ["v,", "w,", "v,"], "b,v,": ["= 1."] * 3,
              "b,w,": ["= 2."] * 3}  # fmt: skip
    scores = valued(a=0.9, b=0.8, c=0.7, u=0.3, v=0.6, w=0.5, one=0.4, two=0.45)
    seen = Picture(bfs(width=3), script, scores, fractions=True)
    assert seen.path == [""] * 3 + ["a,"] * 3 + ["b,"] * 3 + ["b,v,"] * 3 + ["b,w,"] * 3
    assert seen.text == "b,w,= 2."
    assert [told for told in seen.told if "reject" in told] == ["reject c,", "reject a,u,"]


FINISHED_EARLY = {
    "": ["= 1.", "a,"], "a,": ["x,", "y,"], "a,x,": ["= 2.", "= 3."], "a,y,": ["= 2.", "= 3."],
}  # fmt: skip


def test_bfs_a_finished_state_keeps_its_place_among_the_best() -> None:
    """Beam search lays finished solutions aside, and would go on from "y," too."""
    scores = valued(one=0.6, a=0.9, x=0.5, y=0.4, two=0.3, three=0.2)
    seen = Picture(bfs(), FINISHED_EARLY, scores, fractions=True)
    assert seen.path == ["", "", "a,", "a,", "a,x,", "a,x,"]
    assert seen.text == "= 1."


def test_bfs_goes_on_while_one_of_the_best_is_unfinished() -> None:
    scores = valued(one=0.6, a=0.5, x=0.5, y=0.1, two=0.7, three=0.2)
    seen = Picture(bfs(), FINISHED_EARLY, scores, fractions=True)
    assert seen.text == "a,x,= 2."


def test_bfs_ends_where_all_of_the_best_are_finished() -> None:
    seen = Picture(bfs(breadth=1), FINISHED_EARLY, valued(one=0.6, a=0.5), fractions=True)
    assert seen.path == ["", ""] and seen.text == "= 1."


def test_bfs_a_duplicate_takes_no_place() -> None:
    """The authors' code values it 0, and may keep it beside its original where nothing is better."""
    script = {"": ["a,", "a,", "b,"], "a,": ["= 1."] * 3, "b,": ["= 2."] * 3}
    seen = Picture(bfs(width=3), script, valued(a=0.9, b=0.0), fractions=True)
    assert seen.path == [""] * 3 + ["a,"] * 3 + ["b,"] * 3


def test_bfs_ties_go_to_the_lower_address() -> None:
    script = {"": ["a,", "b,", "c,"], "a,": ["= 1.", "= 2.", "= 3."], "b,": ["= 1."] * 3}
    seen = Picture(bfs(width=3), script, fractions=True)
    assert seen.path == [""] * 3 + ["a,"] * 3 + ["b,"] * 3 and seen.text == "a,= 1."


def test_bfs_dead_ends_are_dropped() -> None:
    script = {"": ["a~", "b!", "who knows.", "c,"], "c,": ["= 1."] * 4}
    scores = {"a~": of_value(1.0), "b!": of_value(1.0), "who knows.": of_value(1.0), **valued(c=0.01)}
    assert Picture(bfs(width=4), script, scores, fractions=True).text == "c,= 1."


def test_bfs_where_only_dead_ends_follow_the_best_state_is_completed() -> None:
    script = {"": ["a,", "b,"], "a,": ["~", "!"], "b,": ["~", "!", "= 1."]}
    seen = Picture(bfs(), script, valued(a=0.8, b=0.9), fractions=True)
    assert seen.text == "b,= 1." and seen.temperatures[-1] == 0.0


def test_bfs_at_the_last_thought_the_best_state_is_completed() -> None:
    script = {"": ["a,", "b,"], "b,": ["x,"], "b,x,": ["= 1."]}
    seen = Picture(bfs(depth=1), script, valued(a=0.8), fractions=True)
    assert (seen.text, seen.path) == ("b,x,= 1.", ["", "", "b,"])
    assert seen.policy.calls[-1].until is Until.END and seen.temperatures == [None, None, 0.0]


# -- depth-first -----------------------------------------------------------------------------------


def test_dfs_samples_all_thoughts_of_a_state_and_enters_the_best() -> None:
    """HGS enters the first that is positive, and samples no other unless it has to go back."""
    script = {"": ["a,", "b,"], "a,": ["= 1.", "= 1."], "b,": ["= 2.", "= 2."]}
    scores = valued(a=0.8, b=0.9)
    seen = Picture(dfs(), script, scores, fractions=True)
    assert (seen.path, seen.text) == (["", "", "b,", "b,"], "b,= 2.")
    first = Picture(HGS(width=2), script, scores, fractions=True)
    assert (first.path, first.text) == (["", "a,"], "a,= 1.")


def test_dfs_prunes_and_goes_back_to_the_next_best() -> None:
    script = {"": ["a,", "b,"], "a,": ["= 1.", "x,"], "b,": ["y,", "z,"]}
    scores = valued(a=0.8, b=0.9, y=0.05, z=0.02, one=0.7, x=0.3)
    seen = Picture(dfs(), script, scores, fractions=True)
    assert (seen.path, seen.text) == (["", "", "b,", "b,", "a,", "a,"], "a,= 1.")
    marks = [told for told in seen.told if told.startswith(("reject", "backtrack"))]
    assert marks == ["reject b,y,", "reject b,z,", "backtrack b,"]
    assert seen.events.backtracks == 1


@pytest.mark.parametrize(("threshold", "text"), [(0.25, "b,= 2."), (0.24, "a,= 1.")])
def test_dfs_prunes_a_state_whose_value_is_the_threshold(threshold: float, text: str) -> None:
    """Algorithm 2 enters a state if its value is above v_th."""
    script = {"": ["a,", "b,"], "a,": ["= 1.", "= 1."], "b,": ["= 2.", "= 2."]}
    scores = {**valued(a=0.9, b=0.8), "a,= 1.": of_value(0.25), "b,= 2.": of_value(0.5)}
    assert Picture(dfs(threshold=threshold), script, scores, fractions=True).text == text


def test_dfs_prunes_finished_solutions_too() -> None:
    script = {"": ["= 1.", "a,"], "a,": ["= 2.", "= 2."]}
    seen = Picture(dfs(threshold=0.5), script, valued(one=0.5, a=0.6), fractions=True)
    assert seen.text == "a,= 2."


THREE = {"": ["a,", "b,"], "a,": ["= 1.", "= 2."], "b,": ["= 3.", "= 3."]}
VALUES = valued(a=0.9, b=0.8, one=0.6, two=0.5, three=0.7)


@pytest.mark.parametrize(
    ("outputs", "text", "asked"), [(1, "a,= 1.", 4), (2, "a,= 1.", 4), (3, "b,= 3.", 6), (None, "b,= 3.", 6)]
)
def test_dfs_ends_with_so_many_outputs_and_answers_with_the_best(
    outputs: int | None, text: str, asked: int
) -> None:
    """Algorithm 2 records all. LLM Reasoners checks the number on entry only, and goes on to the siblings."""
    seen = Picture(dfs(outputs=outputs), THREE, VALUES, fractions=True)
    assert (seen.text, len(seen.path)) == (text, asked)


def test_dfs_of_equal_outputs_the_one_of_the_lower_address_is_the_answer() -> None:
    seen = Picture(dfs(outputs=None), THREE, valued(a=0.8, b=0.9), fractions=True)
    assert seen.path == ["", "", "b,", "b,", "a,", "a,"] and seen.text == "a,= 1."


def test_dfs_at_the_last_thought_a_state_is_completed_and_recorded() -> None:
    """A completion without an answer is no output: the search goes back."""
    script = {"": ["a,", "b,"], "b,": ["who knows."], "a,": ["x,"], "a,x,": ["= 1."]}
    seen = Picture(dfs(depth=1, temperature=0.7), script, valued(a=0.8), fractions=True)
    assert (seen.text, seen.path) == ("a,x,= 1.", ["", "", "b,", "a,"])
    assert [call.until for call in seen.policy.calls] == [Until.STEP] * 2 + [Until.END] * 2
    assert set(seen.temperatures) == {0.7} and "backtrack b," in seen.told


def test_dfs_outputs_that_were_completed_are_compared_by_their_scores() -> None:
    script = {"": ["a,", "b,"], "a,": ["= 1."], "b,": ["= 2."]}
    seen = Picture(dfs(depth=1, outputs=2), script, valued(a=0.9, one=0.3, b=0.8, two=0.6), fractions=True)
    assert seen.text == "b,= 2."


DEEP = {
    "": ["a,", "b,"], "a,": ["x,", "~"], "b,": ["y,", "~"],
    "a,x,": ["~", "~", "= 1."], "b,y,": ["~", "~", "= 2."],
}  # fmt: skip


def test_dfs_without_an_output_the_first_of_the_deepest_states_is_completed() -> None:
    """As in the paper's crosswords: LLM Reasoners has an error here, for it takes the first of no outputs."""
    seen = Picture(dfs(), DEEP, valued(a=0.8, b=0.9), fractions=True)
    assert (seen.text, seen.temperatures[-1]) == ("b,y,= 2.", 0.0)
    assert seen.events.backtracks == 5


@pytest.mark.parametrize(("max_states", "path", "last"), [
    (1, ["", "", "a,"], 0.0), (2, ["", "", "a,", "a,", "a,x,"], 0.0),
    (3, ["", "", "a,", "a,", "a,x,", "a,x,"], None),
])  # fmt: skip
def test_dfs_enters_no_more_states_than_it_may(max_states: int, path: list[str], last: float | None) -> None:
    """The last that it enters may be an output; else the deepest is completed."""
    script = {"": ["a,", "b,"], "a,": ["x,", "y,"], "a,x,": ["= 1.", "= 2."]}
    scores = valued(a=0.95, x=0.95, one=0.95)
    seen = Picture(dfs(max_states=max_states), script, scores, fractions=True)
    assert (seen.path, seen.temperatures[-1], seen.text) == (path, last, "a,x,= 1.")


def test_dfs_where_nothing_is_promising_the_root_is_completed() -> None:
    seen = Picture(dfs(), {"": ["a,", "b,", "= 1."]}, valued(a=0.1, b=0.0), fractions=True)
    assert (seen.text, seen.temperatures) == ("= 1.", [None, None, 0.0])


def test_dfs_values_a_state_by_all_of_its_steps_or_as_it_is_told() -> None:
    script = {"": ["a,", "b,"], "a,": ["x,", "x,"], "b,": ["= 2.", "= 2."], "a,x,": ["= 1.", "= 1."]}
    scores = valued(a=0.6, x=0.6, b=0.5, one=0.9)
    assert Picture(dfs(threshold=0.5), script, scores, fractions=True).text == "a,x,= 1."
    product = Picture(dfs(threshold=0.4, aggregate=None), script, scores, fractions=True)
    assert product.text == "b,= 2.", "0.36 is pruned"


# -- the reference ---------------------------------------------------------------------------------


class Enough(Exception):
    """The depth-first search is over."""


class SlowToT(PlainTree):
    """The reference: algorithms 1 and 2 of the paper, the sums and the recursion to the letter."""

    def __init__(self, params: TreeOfThoughts, world: Any, problem: Problem, seed: int):
        super().__init__(world, problem, seed)
        self.params, self.how = params, params.aggregate or "product"
        self.values: dict[Address, float] = {}
        self.marks: list[tuple[str, Address]] = []
        self.entered: list[Address] = [()]
        self.outputs: list[Address] = []

    async def thoughts(self, state: Address) -> list[Address]:
        """G(s, k), in the order in which they were sampled, without duplicates and dead ends."""
        grown = [self.grow(state, temperature=self.params.temperature) for _ in range(self.params.width)]
        sampled = [await one for one in grown]
        alive = [at for at in sampled if at in self.said and self.first(at) == at and not self.is_dead(at)]
        for at in alive:
            self.values[at] = await self.value(at, self.how)
        return alive

    def best_first(self, states: Sequence[Address]) -> list[Address]:
        return sorted(sorted(states), key=lambda at: self.values[at], reverse=True)

    async def completed(self, state: Address, temperature: float | None) -> Address:
        if self.ended(state):
            return state
        return await self.grow(state, until=Until.END, temperature=temperature)

    async def finish(self, state: Address) -> Address:
        leaf = await self.completed(state, 0.0)
        return leaf if leaf in self.said else await self.completed((), 0.0)

    async def bfs(self) -> Address:
        states: list[Address] = [()]
        for _ in range(self.params.depth):
            new = [[state] if self.ended(state) else await self.thoughts(state) for state in states]
            candidates = sorted(at for some in new for at in some)
            if not candidates:
                break
            subsets = combinations(candidates, min(self.params.breadth, len(candidates)))
            states = list(max(subsets, key=lambda some: round(sum(self.values[at] for at in some), 9)))
            self.marks += [("reject", at) for at in self.best_first(candidates) if at not in states]
        best = states[0] if states == [()] else self.best_first(states)[0]
        return await self.finish(best)

    async def dfs(self, state: Address, t: int) -> None:
        if t > self.params.depth or self.ended(state):
            leaf = await self.completed(state, self.params.temperature)
            if leaf in self.said and self.answer(leaf) is not None:
                self.outputs.append(leaf)
            if len(self.outputs) == self.params.outputs:
                raise Enough
            return
        self.check()
        thoughts = self.best_first(await self.thoughts(state))
        promising = [at for at in thoughts if self.values[at] > self.params.threshold]
        self.marks += [("reject", at) for at in thoughts if at not in promising]
        for at in promising:
            self.entered.append(at)
            await self.dfs(at, t + 1)
            self.marks.append(("backtrack", at))
            self.check()

    def check(self) -> None:
        if len(self.entered) > self.params.max_states:
            raise Enough

    async def run(self) -> Address:
        if self.params.search == "bfs":
            return await self.bfs()
        try:
            await self.dfs((), 1)
            self.marks.append(("backtrack", ()))
        except Enough:
            pass
        if not self.outputs:
            longest = max(len(at) for at in self.entered)
            return await self.finish(next(at for at in self.entered if len(at) == longest))
        for at in self.outputs:
            self.values[at] = await self.value(at, self.how)
        return self.best_first(self.outputs)[0]


def grown(
    problem: int, seed: int, world: RandomWorld, params: TreeOfThoughts, **options: Any
) -> tuple[Tree, Node | None, list[tuple[str, Address]]]:
    """The tree, the chosen leaf or None where limits end the search, and what was rejected and given up."""
    marks: list[tuple[str, Address]] = []

    def watch(event: TreeEvent, node: Node) -> None:
        if event in (TreeEvent.REJECT, TreeEvent.BACKTRACK):
            marks.append((event.value, node.address))

    tree = Tree(
        Problem(f"p{problem}", "?"), world, world, seed=seed, lengths=LENGTHS, answers=FractionAnswers(),
        watch=watch, **options,
    )  # fmt: skip
    try:
        return tree, asyncio.run(params(tree)), marks
    except LimitReached:
        return tree, None, marks


PROBLEM, SEED, EVERY = st.integers(0, 400), st.integers(0, 3), st.sampled_from([None, 3, 7])
PARAMS = st.builds(
    TreeOfThoughts, search=st.sampled_from(["bfs", "dfs"]), width=st.integers(1, 3),
    breadth=st.integers(1, 3), threshold=st.sampled_from([0.0, 0.1, 0.4]), depth=st.sampled_from([1, 3, 9]),
    outputs=st.sampled_from([1, 2, None]), max_states=st.sampled_from([1, 4, 30]),
    aggregate=st.sampled_from([None, "last", "min"]), temperature=st.sampled_from([None, 0.7]),
)  # fmt: skip


@given(problem=PROBLEM, seed=SEED, every=EVERY, params=PARAMS)
@settings(max_examples=150, deadline=None)
def test_the_search_is_that_of_the_algorithms_to_the_letter(
    problem: int, seed: int, every: int | None, params: TreeOfThoughts
) -> None:
    tree, chosen, marks = grown(problem, seed, Lossy(every), params)
    slow = SlowToT(params, Lossy(every), tree.problem, seed)
    theirs = asyncio.run(slow.run())
    assert chosen is not None and chosen.address == theirs
    assert marks == slow.marks
    assert tree.cost.samples <= sum(slow.given.values())
    for node in all_nodes(tree.root):
        assert len(node.children) == slow.given[node.address]


@given(problem=PROBLEM, seed=SEED, every=EVERY, params=PARAMS)
@settings(max_examples=20, deadline=None)
def test_what_ends_first_changes_nothing(
    problem: int, seed: int, every: int | None, params: TreeOfThoughts
) -> None:
    seen = []
    for jitter in (None, 1, 2):
        tree, chosen, marks = grown(problem, seed, Lossy(every, jitter), params)
        seen.append((chosen and chosen.address, marks, tree.cost, tree.events))
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("search", ["bfs", "dfs"])
def test_concurrency_and_drawing_ahead_change_nothing(search: Literal["bfs", "dfs"]) -> None:
    problems, seen = [Problem(f"p{i}", "?") for i in range(12)], []
    for concurrency, speculate in ((1, 0), (3, 16), (64, "auto"), (64, 0)):
        world = RandomWorld(jitter=concurrency)
        outcomes = solve_all(
            problems, TreeOfThoughts(search, width=3, breadth=2), world, world, seed=5, lengths=LENGTHS,
            answers=FractionAnswers(), concurrency=concurrency, speculate=speculate,
        )  # fmt: skip
        seen.append([(o.steps, o.answer, o.value, o.cost, o.events) for o in outcomes])
    assert seen[0] == seen[1] == seen[2] == seen[3]


@given(problem=PROBLEM, samples=st.integers(1, 30), params=PARAMS)
@settings(max_examples=30, deadline=None)
def test_where_limits_allow_no_more_the_search_ends(
    problem: int, samples: int, params: TreeOfThoughts
) -> None:
    tree, chosen, _ = grown(problem, 0, RandomWorld(), params, limits=CostLimits(samples=samples))
    assert tree.cost.samples == samples if chosen is None else tree.cost.samples <= samples
