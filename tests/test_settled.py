"""What a strategy settles, it never takes back: not at its end, not at a limit."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.engine import solve_all
from search.limits import CostLimits
from search.node import Node, TreeEvent
from search.strategies import STRATEGIES
from search.strategies.rebase import REBASE
from search.strategies.tot import TreeOfThoughts
from search.tree import Strategy, Tree
from search.types import Problem
from tests.fakes import BAD, GOOD, RandomWorld, ScriptedPolicy, ScriptedScorer

Q = Problem("q", "1 + 1?")
BOUND = st.integers(0, 30)


def watched(strategy: Strategy, policy: object, scorer: object, **options: object) -> tuple[list[str], str]:
    """What was settled, from the first step on each time, and the chosen solution."""
    settled: list[Node] = []
    chosen: list[Node] = []

    def watch(problem: Problem, event: TreeEvent, node: Node) -> None:
        if event is TreeEvent.SETTLED:
            settled.append(node)
        elif event is TreeEvent.CHOSEN:
            chosen.append(node)

    solve_all([Q], strategy, policy, scorer, watch=watch, **options)  # type: ignore[arg-type]
    for above, below in pairwise(settled):
        assert below.parent is above
    for leaf in chosen:
        assert all(node in leaf.path for node in settled)
    return [node.text for node in settled], chosen[0].text if chosen else ""


@pytest.mark.parametrize("name", STRATEGIES)
@given(seed=st.integers(0, 10_000), samples=st.none() | BOUND, scores=st.none() | BOUND)
@settings(max_examples=25)
def test_the_solution_goes_through_what_is_settled(
    name: str, seed: int, samples: int | None, scores: int | None
) -> None:
    world = RandomWorld(jitter=seed)
    watched(STRATEGIES[name](), world, world, seed=seed, limits=CostLimits(samples=samples, scores=scores))


SCRIPT = {
    "": ["a,", "b,"], "a,": ["c,", "d,"], "a,c,": ["e.", "f."], "a,d,": ["g.", "h."], "b,": ["i,", "j,"],
}  # fmt: skip


STEPWISE = {"rebase": REBASE(n=2, balance_temperature=0.01), "tot": TreeOfThoughts(width=2, breadth=1)}


@pytest.mark.parametrize("strategy", STEPWISE.values(), ids=STEPWISE)
def test_a_step_is_settled_as_soon_as_the_others_are_dropped(strategy: Strategy) -> None:
    scorer = ScriptedScorer({"b,": BAD, "a,d,": BAD, "f.": BAD})
    settled, chosen = watched(strategy, ScriptedPolicy(SCRIPT), scorer)
    assert (settled[:2], chosen) == (["a,", "a,c,"], "a,c,e.")


async def test_a_limit_does_not_go_back_behind_what_is_settled() -> None:
    class Settles:
        async def __call__(self, tree: Tree) -> Node:
            first, second = await tree.expand([tree.root], 2)
            tree.settle([second])
            deeper = await tree.expand([first], 2)
            await tree.expand(deeper, 2)  # no room for it
            return first

    script = {"": ["a,", "b,"], "a,": ["c,", "d,"]}
    settled, chosen = watched(
        Settles(), ScriptedPolicy(script), ScriptedScorer({"b,": GOOD}), limits=CostLimits(samples=4)
    )
    assert (settled, chosen) == (["b,"], "b,")


def test_a_finished_solution_keeps_its_chance() -> None:
    """It may be the best where a limit ends the search, so what it does not go through is not settled."""

    class Settles:
        async def __call__(self, tree: Tree) -> Node:
            first, second = await tree.expand([tree.root], 2)
            tree.settle([second])
            return first

    settled, chosen = watched(Settles(), ScriptedPolicy({"": ["a.", "b,"]}), ScriptedScorer())
    assert (settled, chosen) == ([], "a.")
