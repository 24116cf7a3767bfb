"""Beam search: pictures, and a plain slow reference."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.engine import solve_all
from search.errors import PolicyError
from search.seeds import derive
from search.strategies.beam import BeamSearch
from search.strategies.dvts import DVTS
from search.strategies.hgs import HGS
from search.tree import Tree
from search.types import Address, Problem, Stop, Until
from tests.fakes import FractionAnswers, RandomWorld
from tests.pictures import Picture, of_value
from tests.plain import LENGTHS, Lossy, PlainTree

FOUR = {"a,": of_value(0.9), "b,": of_value(0.8), "c,": of_value(0.7), "d,": of_value(0.1)}
FIRST = ["a,", "b,", "c,", "d,"]


def test_the_best_of_all_beams_are_sampled_from() -> None:
    """DVTS takes the best of each half, HGS the first that is good enough."""
    script = {"": FIRST, "a,": ["x."] * 4, "b,": ["x."] * 2, "c,": ["x."] * 2}
    seen = Picture(BeamSearch(n=4), script, FOUR)
    assert seen.path == ["", "", "", "", "a,", "a,", "b,", "b,"]
    assert [line for line in seen.told if "reject" in line] == ["reject c,", "reject d,"]
    assert Picture(DVTS(n=4), script, FOUR).path[4:] == ["a,", "a,", "c,", "c,"]
    assert set(Picture(HGS(), script, FOUR).path) == {"", "a,"}


def test_what_all_beams_begin_with_is_settled_at_once() -> None:
    script = {"": ["a,", "b,"], "a,": ["c,", "d,"], "a,c,": ["= 1.", "= 2."]}
    seen = Picture(BeamSearch(n=2), script, {"b,": of_value(0.1), "d,": of_value(0.1)}, fractions=True)
    settled = [i for i, line in enumerate(seen.told) if line in ("settled a,", "settled a,c,")]
    assert [seen.told[i + 1] for i in settled] == ["sample a,c,", "sample a,c,= 1."]


def test_a_finished_beam_takes_a_place_and_is_not_sampled_from() -> None:
    script = {"": ["= 1.", "a,", "b,", "c,"], "a,": ["= 2.", "= 2."]}
    seen = Picture(BeamSearch(n=4), script, {"b,": of_value(0.1), "c,": of_value(0.1)}, fractions=True)
    assert seen.path == ["", "", "", "", "a,", "a,"]


def test_a_finished_beam_gives_its_place_to_better_ones_but_stays_a_candidate() -> None:
    script = {"": ["= 1.", "a,", "b,", "c,"], "a,": ["= 2."] * 2, "b,": ["= 3."] * 2}
    poor = {f"{first},= {n}.": of_value(0.1) for first, n in (("a", 2), ("b", 3))}
    scores = {"= 1.": of_value(0.5), "c,": of_value(0.1), **poor}
    seen = Picture(BeamSearch(n=4, aggregate="last"), script, scores, fractions=True)
    assert seen.path[4:] == ["a,", "a,", "b,", "b,"] and seen.text == "= 1."


def test_no_copy_of_a_beam_fills_a_place() -> None:
    """As reference code does it, where fewer beams are left than it was asked for."""
    script = {"": ["a,"] * 4, "a,": ["x,", "x,"], "a,x,": ["= 1.", "= 1."]}
    seen = Picture(BeamSearch(n=4), script, fractions=True)
    assert seen.path == [""] * 4 + ["a,"] * 2 + ["a,x,"] * 2


def test_the_best_solution_wins_though_n_others_were_found_before() -> None:
    """Reference code (search-and-learn) answers with the best of the first n that finished."""
    script = {
        "": ["= 1.", "= 2.", "a,", "b,"], "a,": ["= 3.", "c,"], "b,": ["= 4.", "d,"],
        "a,c,": ["= 5.", "= 5."], "b,d,": ["= 6.", "= 6."],
    }  # fmt: skip
    poor = {f"{prefix}= {n}.": of_value(0.1) for n, prefix in enumerate(["", "", "a,", "b,"], 1)}
    scores = {**poor, "b,d,= 6.": of_value(0.95)}
    params = BeamSearch(n=4, aggregate="last", choose="best")
    assert Picture(params, script, scores, fractions=True).text == "b,d,= 6."


def test_a_place_is_empty_rather_than_a_dead_ends() -> None:
    script = {"": ["a~", "who knows.", "b!", "c,"], "c,": ["= 1.", "= 2."]}
    seen = Picture(BeamSearch(n=4), script, {"c,": of_value(0.01)}, fractions=True)
    assert seen.path[4:] == ["c,", "c,"] and seen.text == "c,= 1."


LOOK = {"": ["a,", "b,"], "a,": ["x,"] * 3, "a,x,": ["= 2."], "b,": ["y,"] * 3, "b,y,": ["= 1."]}
LOOKED = {"a,": 0.9, "b,": 0.6, "a,x,": 0.1, "a,x,= 2.": 0.1, "b,y,": 0.8, "b,y,= 1.": 0.8}


@pytest.mark.parametrize(("lookahead", "kept"), [(0, "a,"), (1, "b,"), (2, "b,")])
def test_lookahead_scores_a_beam_where_its_rollout_ends(lookahead: int, kept: str) -> None:
    """Beam search in reference code (search-and-learn) makes the rollouts, and scores without them."""
    scores = {text: of_value(value) for text, value in LOOKED.items()}
    params = BeamSearch(n=2, lookahead=lookahead, depth=1, aggregate="last")
    seen = Picture(params, LOOK, scores, fractions=True)
    assert seen.tree.root.children[kept == "b,"].text == kept and f"reject {kept}" not in seen.told
    rolled = [at for at, t in zip(seen.path, seen.temperatures, strict=True) if t == 0.0]
    assert rolled[: 2 * lookahead] == ["a,", "b,", "a,x,", "b,y,"][: 2 * lookahead]


def test_what_was_rolled_out_is_rolled_back() -> None:
    """No step of a rollout is in the tree; the next round samples its own."""
    scores = {text: of_value(value) for text, value in LOOKED.items()}
    seen = Picture(BeamSearch(n=2, lookahead=1, depth=2, aggregate="last"), LOOK, scores, fractions=True)
    first = seen.tree.root.children
    assert [len(node.children) for node in first] == [0, 2]
    assert seen.cost.samples == 2 + 2 + 2 + 1 + 1  # steps, rollouts, twice; the end
    assert seen.cost.policy_tokens == (2 + 2 + 2) * 2 + 4 + 4


def test_a_rollout_ends_with_the_solution() -> None:
    script = {"": ["a,", "= 2."], "a,": ["= 1."] * 3}
    seen = Picture(BeamSearch(n=2, width=2, lookahead=5), script, {"= 2.": of_value(0.1)}, fractions=True)
    assert seen.path == ["", "", "a,", "a,", "a,"]


@pytest.mark.parametrize(
    ("choose", "text"), [("weighted_vote", "b = 2."), ("best", "= 1."), ("vote", "a = 2.")]
)
def test_how_the_solutions_make_an_answer(choose: Any, text: str) -> None:
    scores = {"= 1.": of_value(0.8), "a = 2.": of_value(0.5), "b = 2.": of_value(0.6)}
    params = BeamSearch(n=3, width=1, choose=choose)
    assert Picture(params, {"": ["= 1.", "a = 2.", "b = 2."]}, scores, fractions=True).text == text


def test_where_no_round_is_left_the_best_beam_is_completed() -> None:
    script = {"": ["a,", "b,"], "b,": ["= 2."]}
    seen = Picture(BeamSearch(n=2, depth=1), script, {"a,": of_value(0.1)}, fractions=True)
    assert (seen.text, seen.temperatures[-1]) == ("b,= 2.", 0.0)


# -- the reference ---------------------------------------------------------------------------------


class SlowBeam(PlainTree):
    rolled = 0

    async def rollout(self, at: Address, steps: int) -> Address:
        """Where it ends; where it began if a step is lost."""
        end = at
        for _ in range(steps):
            if self.ended(end):
                break
            left = LENGTHS.solution_tokens - sum(step.n_tokens for step in self.steps(end))
            self.rolled += 1
            try:
                [new] = await self.world.propose(
                    self.problem, self.steps(end), until=Until.STEP, temperature=0.0,
                    max_tokens=min(left, LENGTHS.step_tokens),
                    seed=derive(self.seed, self.problem.id, *end, -1),
                )  # fmt: skip
            except PolicyError:
                return at
            cut = new.stop is Stop.STEP and new.n_tokens >= left
            end = (*end, -1)
            self.said[end] = replace(new, stop=Stop.LENGTH) if cut else new
        return end

    async def run(self, params: BeamSearch) -> tuple[list[Address], list[Address]]:
        beams: list[Address] = [()]
        solutions = list[Address]()
        for round_ in range(params.depth):
            times = params.width if round_ else params.n
            new = [await self.grow(at) for at in beams if not self.ended(at) for _ in range(times)]
            new = [at for at in new if at in self.said and not self.is_dead(at)]
            solutions += [at for at in new if self.ended(at)]
            pool = {at for at in beams if self.ended(at)} | {self.first(at) for at in new}
            if not pool:
                break
            ends = {at: await self.rollout(at, params.lookahead) for at in pool}
            values = {at: await self.value(end, params.aggregate or "product") for at, end in ends.items()}
            beams = sorted(pool, key=lambda at: (-values[at], at))[: params.n // params.width]
            if all(map(self.ended, beams)):
                break
        return sorted(solutions), beams


def grown(problem: int, seed: int, world: Any) -> Tree:
    question = Problem(f"p{problem}", "?")
    return Tree(question, world, world, seed=seed, lengths=LENGTHS, answers=FractionAnswers())


PARAMS = st.builds(
    lambda beams, width, **how: BeamSearch(n=beams * width, width=width, **how),
    beams=st.integers(1, 4), width=st.integers(1, 3), depth=st.sampled_from([1, 3, 40]),
    lookahead=st.sampled_from([0, 1, 3]), aggregate=st.sampled_from([None, "last", "min"]),
)  # fmt: skip


@given(
    problem=st.integers(0, 400), seed=st.integers(0, 3), every=st.sampled_from([None, 3, 7]), params=PARAMS
)
@settings(max_examples=50, deadline=None)
def test_the_tree_is_that_of_a_plain_slow_reference(
    problem: int, seed: int, every: int | None, params: BeamSearch
) -> None:
    tree = grown(problem, seed, Lossy(every, jitter=problem))
    solutions, beams = asyncio.run(params.search(tree))
    slow = SlowBeam(Lossy(every), tree.problem, seed)
    theirs = asyncio.run(slow.run(params))
    assert ([node.address for node in solutions], [node.address for node in beams]) == theirs
    assert tree.cost.samples == sum(slow.given.values()) + slow.rolled


@pytest.mark.parametrize("lookahead", [0, 2])
def test_concurrency_and_drawing_ahead_change_nothing(lookahead: int) -> None:
    params, seen = BeamSearch(n=4, lookahead=lookahead), []
    problems = [Problem(f"p{i}", "?") for i in range(6)]
    for concurrency, speculate in ((1, 0), (3, 16), (64, "auto"), (64, 0)):
        world = RandomWorld(jitter=concurrency)
        outcomes = solve_all(
            problems, params, world, world, seed=5, lengths=LENGTHS, answers=FractionAnswers(),
            concurrency=concurrency, speculate=speculate,
        )  # fmt: skip
        seen.append([(o.steps, o.answer, o.value, o.cost, o.events) for o in outcomes])
    assert seen[0] == seen[1] == seen[2] == seen[3]


def test_the_width_divides_the_candidates() -> None:
    with pytest.raises(ValueError, match="width=3: it must divide n=8"):
        BeamSearch(width=3)
