"""Diverse verifier tree search: pictures, limits of the subtrees, and a plain slow reference."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.engine import solve_all
from search.limits import CostLimits, LimitReached
from search.strategies.beam import BeamSearch
from search.strategies.dvts import DVTS
from search.tree import Tree
from search.types import Address, Problem
from tests.fakes import FractionAnswers, RandomWorld, ScriptedPolicy, ScriptedScorer
from tests.pictures import Picture, Q, of_value
from tests.plain import LENGTHS, Lossy, PlainTree

FOUR = {"a,": of_value(0.9), "b,": of_value(0.8), "c,": of_value(0.2), "d,": of_value(0.1)}


def test_each_subtree_keeps_its_own_best() -> None:
    """Beam search keeps the two best of all four."""
    script = {"": ["a,", "b,", "c,", "d,"], "a,": ["x."] * 2, "b,": ["x."] * 2, "c,": ["x."] * 2}
    seen = Picture(DVTS(n=4), script, FOUR)
    assert seen.path == ["", "", "", "", "a,", "a,", "c,", "c,"]
    assert [line for line in seen.told if "reject" in line][:2] == ["reject b,", "reject d,"]
    assert Picture(BeamSearch(n=4), script, FOUR).path[4:] == ["a,", "a,", "b,", "b,"]


def test_an_unfinished_path_never_wins_over_a_solution() -> None:
    """As in reference code, which returns the last steps of all its subtrees, finished or not."""
    script = {"": ["a,", "b,", "= 2.", "c,"]}
    scores = {"a,": of_value(0.99), "= 2.": of_value(0.3), "c,": of_value(0.1)}
    assert Picture(DVTS(n=4, depth=1), script, scores, fractions=True).text == "= 2."


def test_without_a_solution_the_best_path_is_completed() -> None:
    script = {"": ["a,", "b,", "c,", "d,"], "c,": ["= 1."]}
    seen = Picture(DVTS(n=4, depth=1), script, {**FOUR, "c,": of_value(0.95)}, fractions=True)
    assert (seen.text, seen.temperatures[-1]) == ("c,= 1.", 0.0)


def test_a_dead_end_is_not_taken_for_a_path_to_complete() -> None:
    script = {"": ["a~", "b!", "c,", "d,"], "c,": ["= 1."]}
    scores = {"a~": of_value(0.99), "c,": of_value(0.3), "d,": of_value(0.1)}
    assert Picture(DVTS(n=4, depth=1), script, scores, fractions=True).text == "c,= 1."


def test_of_equal_solutions_the_one_at_the_lower_address_is_chosen() -> None:
    """Not the one that was found first."""
    script = {"": ["a,", "= 1."], "a,": ["= 2."] * 2}
    scores = {"= 1.": of_value(0.5), "a,": of_value(0.9), "a,= 2.": of_value(0.5)}
    seen = Picture(DVTS(n=2, aggregate="last"), script, scores, fractions=True)
    assert seen.text == "a,= 2."


@pytest.mark.parametrize(("choose", "text"), [("best", "= 1."), ("weighted_vote", "b = 2.")])
def test_how_the_solutions_make_an_answer(choose: Any, text: str) -> None:
    scores = {"= 1.": of_value(0.8), "a = 2.": of_value(0.5), "b = 2.": of_value(0.6)}
    params = DVTS(n=3, width=1, choose=choose)
    assert Picture(params, {"": ["= 1.", "a = 2.", "b = 2."]}, scores, fractions=True).text == text


def test_every_sampled_token_is_counted() -> None:
    """Reference code (search-and-learn) reports -1."""
    script = {"": ["a,", "b,"], "a,": ["c = 1.", "d = 2."]}
    assert Picture(DVTS(n=2), script, {"b,": of_value(0.1)}, fractions=True).cost.policy_tokens == 16


def test_a_solution_that_is_not_the_best_step_is_a_candidate() -> None:
    script = {"": ["= 1.", "a,"], "a,": ["= 2."] * 2}
    scores = {"= 1.": of_value(0.5), "a,": of_value(0.9), "a,= 2.": of_value(0.1)}
    seen = Picture(DVTS(n=2, aggregate="last"), script, scores, fractions=True)
    assert seen.path == ["", "", "a,", "a,"] and seen.text == "= 1."


def test_subtrees_that_begin_with_the_same_step_go_on_apart() -> None:
    script = {"": ["a,", "b,", "a,", "d,"], "a,": ["= 1.", "= 2.", "= 3.", "= 4."]}
    seen = Picture(DVTS(n=4), script, FOUR, fractions=True)
    assert [len(node.children) for node in seen.tree.root.children] == [2, 0, 2, 0]


def test_a_subtree_ends_with_its_dead_ends() -> None:
    script = {"": ["a~", "who knows.", "c,", "d,"], "c,": ["= 1."] * 2}
    seen = Picture(DVTS(n=4), script, FOUR, fractions=True)
    assert seen.path[4:] == ["c,", "c,"] and seen.text == "c,= 1."


def test_a_subtree_that_spends_its_share_ends_no_other() -> None:
    """Ten samples: four first steps, and three for each subtree. The first one never ends."""
    endless = {"a," + "x," * depth: ["x,", "y,"] for depth in range(9)}
    policy = ScriptedPolicy({"": ["a,", "b,", "c,", "d,"], **endless, "c,": ["z,", "z,"], "c,z,": ["= 1."]})
    tree = Tree(Q, policy, ScriptedScorer(FOUR), answers=FractionAnswers(), limits=CostLimits(samples=10))
    assert asyncio.run(DVTS(n=4)(tree)).text == "c,z,= 1."
    asked = [call.after for call in policy.calls]
    assert sorted(asked[4:]) == ["a,", "a,", "a,x,", "c,", "c,", "c,z,"]


def test_limits_that_allow_no_first_step_are_the_engines() -> None:
    policy = ScriptedPolicy({"": ["a,"]})
    tree = Tree(Q, policy, ScriptedScorer({}), limits=CostLimits(samples=0))
    with pytest.raises(LimitReached):
        asyncio.run(DVTS()(tree))


# -- the reference ---------------------------------------------------------------------------------


class SlowDVTS(PlainTree):
    async def run(self, params: DVTS) -> list[list[Address]]:
        first = [await self.grow(()) for _ in range(params.n)]
        parts = [first[i : i + params.width] for i in range(0, params.n, params.width)]
        return [await self.subtree(params, part) for part in parts]

    async def subtree(self, params: DVTS, new: list[Address]) -> list[Address]:
        solutions, best = list[Address](), new[0]
        for depth in range(1, params.depth + 1):
            alive = [at for at in new if at in self.said and not self.is_dead(at)]
            solutions += [at for at in alive if self.ended(at)]
            if not alive:
                break
            values = [await self.value(at, params.aggregate or "product") for at in alive]
            best = alive[values.index(max(values))]
            if self.ended(best) or depth == params.depth:
                break
            new = [await self.grow(best) for _ in range(params.width)]
        return [*solutions, best]


@given(
    problem=st.integers(0, 400), seed=st.integers(0, 3), every=st.sampled_from([None, 3, 7]),
    parts=st.integers(1, 4), width=st.integers(1, 3), depth=st.sampled_from([1, 3, 40]),
    aggregate=st.sampled_from([None, "last", "min"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_tree_is_that_of_a_plain_slow_reference(
    problem: int, seed: int, every: int | None, parts: int, width: int, depth: int, aggregate: Any
) -> None:
    params = DVTS(n=parts * width, width=width, depth=depth, aggregate=aggregate)
    question, world = Problem(f"p{problem}", "?"), Lossy(every, jitter=problem)
    tree = Tree(question, world, world, seed=seed, lengths=LENGTHS, answers=FractionAnswers())
    paths = asyncio.run(params.search(tree))
    slow = SlowDVTS(Lossy(every), question, seed)
    assert [[node.address for node in path] for path in paths] == asyncio.run(slow.run(params))
    assert tree.cost.samples == sum(slow.given.values())


def test_concurrency_and_drawing_ahead_change_nothing() -> None:
    problems, seen = [Problem(f"p{i}", "?") for i in range(6)], []
    for concurrency, speculate in ((1, 0), (3, 16), (64, "auto"), (64, 0)):
        world = RandomWorld(jitter=concurrency)
        outcomes = solve_all(
            problems, DVTS(n=6), world, world, seed=5, lengths=LENGTHS, answers=FractionAnswers(),
            concurrency=concurrency, speculate=speculate,
        )  # fmt: skip
        seen.append([(o.steps, o.answer, o.value, o.cost, o.events) for o in outcomes])
    assert seen[0] == seen[1] == seen[2] == seen[3]


@given(problem=st.integers(0, 400), seed=st.integers(0, 3), width=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_the_subtrees_of_fewer_samples_are_among_those_of_more(problem: int, seed: int, width: int) -> None:
    paths = []
    for parts in (2, 4):
        world = RandomWorld(jitter=parts)
        tree = Tree(Problem(f"p{problem}", "?"), world, world, seed=seed, lengths=LENGTHS)
        found = asyncio.run(DVTS(n=parts * width, width=width).search(tree))
        paths.append([[(node.address, node.text) for node in path] for path in found])
    assert paths[1][:2] == paths[0]


def test_the_width_divides_the_candidates() -> None:
    with pytest.raises(ValueError, match="width=3: it must divide n=8"):
        DVTS(width=3)
