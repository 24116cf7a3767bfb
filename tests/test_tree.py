"""The tree: order, scoring, limits, what is lost and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from search.errors import UsageError
from search.limits import CostLimits, LengthLimits, LimitReached, charge
from search.node import Node
from search.seeds import derive
from search.strategies.best_of_n import BestOfN
from search.strategies.mcts import MCTS
from search.tree import Tree
from search.types import Problem, Step, StepScore, Stop, Until
from search.values import Aggregate, path_value
from tests.fakes import GOOD, MEH, RandomWorld, ScriptedPolicy, ScriptedScorer, cut, step
from tests.pictures import Picture, Q, Script


def grow(
    script: Script, scored: Mapping[str, StepScore] | None = None, limits: CostLimits = CostLimits()
) -> Tree:
    return Tree(Q, ScriptedPolicy(script), ScriptedScorer(scored or {}), limits=limits)


async def test_results_keep_the_order_of_the_arguments() -> None:
    tree = grow({"": ["a,", "b,"], "a,": ["1,", "2,"], "b,": ["3,", "4,"]})
    a, b = await tree.expand([tree.root], 2)
    assert [n.text for n in await tree.expand([b, a], 2)] == ["b,3,", "b,4,", "a,1,", "a,2,"]


async def test_a_node_is_shown_without_the_tree_around_it() -> None:
    """Asyncio describes what a task returns where it is debugged; of a whole tree that takes seconds."""
    tree = grow({"": ["a,", "b,"], "a,": ["1,", "2,"]})
    [a] = await tree.expand([tree.root])
    await tree.expand([a], 2)
    assert "a," in repr(a) and repr(a).count("Node(") == 1


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


class Slow:
    """Samples text by seed; how long a call takes depends on the child. Scores at once, and notes when."""

    def __init__(self, texts: Sequence[str], delays: Sequence[float]):
        self.texts, self.delays, self.log = texts, delays, list[str]()

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, max_tokens: int, seed: int,
        temperature: float | None = None,
    ) -> list[Step]:
        child = next(i for i in range(99) if derive(0, problem.id, i) == seed)
        await asyncio.sleep(self.delays[child])
        new = step(self.texts[child])
        charge(policy_tokens=min(new.n_tokens, max_tokens))
        self.log.append(f"sampled {child}")
        return [new if new.n_tokens <= max_tokens else cut(new.text, max_tokens)]

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        self.log.append(f"scored {steps[-1].text}")
        return [GOOD] * (len(steps) - num_scored)


async def test_a_child_is_scored_as_soon_as_it_is_sampled() -> None:
    model = Slow(["a,", "b,", "b,", "c,"], [0.05, 0.0, 0.01, 0.02])
    tree = Tree(Q, model, model)
    children = await tree.expand([tree.root], 4)
    assert model.log == [
        "sampled 1", "scored b,", "sampled 2", "sampled 3", "scored c,", "sampled 0", "scored a,",
    ]
    assert [child.text for child in children] == ["a,", "b,", "b,", "c,"]
    assert children[2].duplicate_of is children[1] and all(child.score is GOOD for child in children)
    assert (tree.cost.scores, tree.events.duplicates) == (3, 1)


async def test_tokens_that_a_sample_leaves_are_the_next_ones() -> None:
    """Four samples that need 204 of 240 tokens, of which one needs 84: none is cut."""
    lengths = LengthLimits(solution_tokens=200)
    model = Slow(["x" * n + "." for n in (83, 39, 39, 39)], [0.0] * 4)
    tree = Tree(Q, model, model, limits=CostLimits(policy_tokens=240), lengths=lengths)
    leaves = await tree.complete([tree.root], 4)
    assert [leaf.is_finished for leaf in leaves] == [True] * 4
    assert (tree.cost.policy_tokens, tree.events.exhausted) == (204, 0)
    assert tree.remaining == CostLimits(policy_tokens=36)


async def test_nothing_remains_where_a_policy_took_more_than_its_share() -> None:
    class Wasteful(Slow):
        async def propose(self, *args: Any, **how: Any) -> list[Step]:
            charge(policy_tokens=90)
            return await super().propose(*args, **how)

    model = Wasteful(["a,"], [0.0])
    tree = Tree(Q, model, model, limits=CostLimits(policy_tokens=60))
    await tree.expand([tree.root])
    assert tree.remaining == CostLimits(policy_tokens=0)


async def test_where_tokens_end_the_samples_before_are_returned() -> None:
    model = Slow(["x" * 39 + "."] * 4, [0.0] * 4)
    tree = Tree(Q, model, model, limits=CostLimits(policy_tokens=100))
    leaves = await tree.complete([tree.root], 4)
    assert [leaf.step.stop for leaf in leaves if leaf.step] == [Stop.END, Stop.END, Stop.LENGTH]
    assert (tree.cost.policy_tokens, tree.cost.samples, tree.events.exhausted) == (100, 3, 1)
    with pytest.raises(LimitReached, match="policy_tokens"):
        await tree.complete([tree.root])


async def test_branches_share_a_limit_and_wait_for_each_other() -> None:
    model = Slow(["x" * 39 + "."] * 2, [0.01, 0.0])
    tree = Tree(Q, model, model, limits=CostLimits(policy_tokens=100))
    leaves = await tree.gather(tree.complete([tree.root]), tree.complete([tree.root]))
    assert [leaf.is_finished for [leaf] in leaves] == [True, True]


async def test_a_branchs_limit_is_its_own() -> None:
    model = Slow(["a,", "b,", "c,", "d,"], [0.0] * 4)
    tree = Tree(Q, model, model)

    async def branch(samples: int) -> int:
        made = 0
        with tree.limit(samples=samples):
            for _ in range(9):
                made += len(await tree.expand([tree.root]))
        return made

    assert await tree.gather(branch(1), branch(3)) == [1, 3]
    assert tree.events.exhausted == 2


async def test_a_limit_on_reward_model_tokens_is_never_exceeded() -> None:
    class Bounded(Slow):
        def max_tokens(self, problem: Problem, steps: Sequence[Step]) -> int:
            return sum(s.n_tokens for s in steps)

        async def score(
            self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0
        ) -> list[StepScore]:
            charge(prm_tokens=sum(s.n_tokens for s in steps[num_scored:]))
            return await super().score(problem, steps, num_scored=num_scored)

    model = Bounded(["aaa,", "bbb,", "ccc,"], [0.0] * 3)
    tree = Tree(Q, model, model, limits=CostLimits(prm_tokens=10))
    for _ in range(2):
        await tree.expand([tree.root])
    with pytest.raises(LimitReached, match="prm_tokens limit reached: the call needs 12, the limit is 10"):
        await tree.expand([tree.root])
    assert tree.cost.prm_tokens == 8
    with pytest.raises(UsageError, match="Slow has no method max_tokens"):
        Tree(Q, model, Slow([], []), limits=CostLimits(prm_tokens=10))


async def test_an_outcome_model_is_read_at_the_end_of_a_solution_only() -> None:
    script = {"": ["a,", "b,"], "a,": ["right."], "b,": ["wrong."]}
    # Read at every step, "right" would be worth 0.3 * 0.95, less than "wrong" with 0.7 * 0.6.
    scores = {"a,": value(0.3), "right.": value(0.95), "b,": value(0.7), "wrong.": value(0.6)}
    scorer = ScriptedScorer(scores)
    tree = Tree(Q, ScriptedPolicy(script), scorer, outcome=True)
    chosen = await BestOfN(n=2)(tree)
    assert (chosen.text, tree.value(chosen), tree.cost.scores) == ("a,right.", 0.95, 2)
    assert sorted(scorer.calls) == ["a,|right.", "b,|wrong."]


async def test_the_reward_models_own_aggregate_is_the_default() -> None:
    script = {"": ["a,", "b,"], "a,": ["x."], "b,": ["y."]}
    scores = {"a,": value(0.5), "x.": value(0.9), "b,": value(0.6), "y.": value(0.6)}

    async def best(aggregate: Aggregate, own: Aggregate | None = None) -> str:
        tree = Tree(Q, ScriptedPolicy(script), ScriptedScorer(scores), aggregate=aggregate)
        return (await BestOfN(n=2, aggregate=own)(tree)).text

    assert [await best("min"), await best("last"), await best("product")] == ["b,y.", "a,x.", "a,x."]
    assert await best("last", own="min") == "b,y."


def value(at: float) -> StepScore:
    return StepScore(1 - at, 0.0, at)


def test_path_values() -> None:
    seen = Picture(MCTS(simulations=1, width=1), {"": ["a,"], "a,": ["b."]})
    assert path_value(seen.tree.root) == 1.0
    chain = seen.chosen.path
    assert all(one is other.parent for one, other in pairwise(chain))
