"""The tree: order, judging, limits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import pairwise

import pytest

from search.limits import CostLimits, LimitReached
from search.node import Node
from search.strategies.mcts import MCTS
from search.tree import Tree
from search.types import StepScore
from search.values import path_value
from tests.fakes import GOOD, MEH, RandomWorld, ScriptedPolicy, ScriptedScorer
from tests.pictures import Picture, Q, Script


def grow(
    script: Script, scored: Mapping[str, StepScore] | None = None, limits: CostLimits = CostLimits()
) -> Tree:
    return Tree(Q, ScriptedPolicy(script), ScriptedScorer(scored or {}), limits=limits)


async def test_results_keep_the_order_of_the_arguments() -> None:
    tree = grow({"": ["a,", "b,"], "a,": ["1,", "2,"], "b,": ["3,", "4,"]})
    a, b = await tree.expand([tree.root], 2)
    assert [n.text for n in await tree.expand([b, a], 2)] == ["b,3,", "b,4,", "a,1,", "a,2,"]


async def test_a_terminal_node_is_its_own_completion() -> None:
    tree = grow({"": ["a,", "b."], "a,": ["c.", "d."]})
    a, b = await tree.expand([tree.root], 2)
    assert [n.text for n in await tree.complete([b, a], 2)] == ["b.", "b.", "a,c.", "a,d."]


async def test_judging_a_node_and_one_before_it_is_one_call() -> None:
    tree = grow({"": ["a,"], "a,": ["b,"], "a,b,": ["c."]})
    [leaf] = await tree.complete([tree.root])
    await tree.score([leaf, leaf.path[0], leaf.path[1]])
    assert isinstance(tree._scorer, ScriptedScorer)
    assert tree._scorer.calls == ["|a,b,c."]
    assert tree.cost.scores == 3
    assert all(node.score == GOOD for node in leaf.path)


async def test_known_judgements_are_not_asked_for_again() -> None:
    tree = grow({"": ["a,"], "a,": ["b,"], "a,b,": ["c."]})
    [a] = await tree.expand([tree.root])
    [leaf] = await tree.complete([a])
    await tree.score([leaf])
    await tree.score([leaf])
    assert isinstance(tree._scorer, ScriptedScorer)
    assert tree._scorer.calls == ["|a,", "a,|b,c."]


async def test_the_twin_of_a_blank_end_has_its_judgement() -> None:
    tree = grow({"": ["a,"], "a,": ["", ""]}, {"a,": MEH})
    [a] = await tree.expand([tree.root])
    first, second = await tree.complete([a], 2)
    await tree.score([second])
    assert second.duplicate_of is first
    assert first.score == second.score == MEH


async def test_nothing_follows_a_terminal_node() -> None:
    tree = grow({"": ["a."]})
    [a] = await tree.expand([tree.root])
    with pytest.raises(ValueError, match="terminal"):
        await tree.expand([a])


async def test_a_limit_ends_its_own_block_and_no_other() -> None:
    tree, reached = grow({"": ["a,", "b,", "c,", "d,"]}, limits=CostLimits(samples=4)), []
    with tree.limit(samples=3):
        with tree.limit(samples=1):
            await tree.expand([tree.root])
            await tree.expand([tree.root])
            reached.append("the second in a block of one")
        with tree.limit(samples=9):
            await tree.expand([tree.root], 2)
            await tree.expand([tree.root])
            reached.append("the fourth in a block of three")
        reached.append("what comes after, in the block of three")
    assert reached == []
    assert (tree.cost.samples, tree.events.exhausted) == (3, 2)
    await tree.expand([tree.root])
    with pytest.raises(LimitReached, match="samples limit reached: the call needs 5, the limit is 4"):
        await tree.expand([tree.root])


async def test_branches_at_once_cannot_overshoot_a_limit_together() -> None:
    script = {"": ["a.", "b.", "c.", "d."]}
    world = RandomWorld(1)
    tree = Tree(Q, ScriptedPolicy(script), world, limits=CostLimits(scores=2))
    nodes: list[Node] = await tree.complete([tree.root], 3)
    scored = await asyncio.gather(*(tree.score([node]) for node in nodes), return_exceptions=True)
    assert [type(error).__name__ for error in scored] == ["NoneType", "NoneType", "LimitReached"]
    assert tree.cost.scores == 2


def test_path_values() -> None:
    seen = Picture(MCTS(simulations=1, width=1), {"": ["a,"], "a,": ["b."]})
    assert path_value(seen.tree.root) == 1.0
    chain = seen.chosen.path
    assert all(one is other.parent for one, other in pairwise(chain))
