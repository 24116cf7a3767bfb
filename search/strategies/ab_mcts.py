"""Adaptive branching tree search: AB-MCTS-A, with node aggregation (Inoue et al. 2025, arXiv:2503.04412)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from search.node import Node
from search.tree import StepGuided, Tree
from search.values import Aggregate, Prior, Rewards, at_least


@dataclass(slots=True)
class Arms:
    """Rewards of what can be done at a node.

    gen: sample a child. cont: go deeper, whichever child is chosen. below: go on below this child, whose own
    reward is the first; only children that are not finished have any.
    """

    gen: Rewards = field(default_factory=Rewards)
    cont: Rewards = field(default_factory=Rewards)
    below: dict[Node, Rewards] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ABMCTS(StepGuided):
    """From the root on, sample a child here or go deeper, and where: all by Thompson sampling.

    The answer is the best solution that was found. A duplicate of a child counts as a reward of sampling; it
    is no further child.

    samples: children sampled. A child's reward counts for `gen` at its parent, and for `cont` and `below` at
        the nodes above.
    prior: the family of the posteriors of mean rewards.
    value: a child's reward is its score, or the score of a rollout from it. Dead ends (`Tree.is_dead`)
        are worth 0.
    aggregate: how step values make the value of a path; None is the reward model's own way.
    """

    samples: int = 32
    prior: Prior = "gaussian"
    value: Literal["prm", "rollout"] = "prm"
    aggregate: Aggregate | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        at_least(1, samples=self.samples)
        at_least(0, temperature=self.temperature)

    async def __call__(self, tree: Tree) -> Node:
        arms, solutions = await self.search(tree)
        if solutions:
            return tree.best(solutions, self.aggregate)
        node = tree.root  # no solution was found: complete the path with the most rewards
        while below := arms[node].below:
            node = max(below, key=lambda child: below[child].n)
        return await tree.finish(node)

    async def search(self, tree: Tree) -> tuple[dict[Node, Arms], list[Node]]:
        """Sample the children. Returns what was observed at every node, and the solutions found."""
        arms, solutions = {tree.root: Arms()}, set[Node]()
        for _ in range(self.samples):
            node = tree.root
            while (child := self._choose(tree, arms[node])) is not None:
                node = child
            [end] = [new] = await tree.expand([node], temperature=self.temperature)
            if self.value == "rollout" and not new.is_terminal:
                [end] = await tree.complete([new], temperature=self.temperature)
                await tree.score([end])
            if end.failed is not None:
                continue  # an error is no reward
            reward = 0.0 if tree.is_dead(end) else tree.value(end, self.aggregate)
            solutions.update([end] if tree.answer(end) is not None else [])
            arms[node].gen.observe(reward)
            for above, child in pairwise([tree.root, *node.path]):
                arms[above].cont.observe(reward)
                arms[above].below[child].observe(reward)
            place = new.duplicate_of or new
            if not place.is_terminal and place not in arms:
                arms[place] = Arms()
                arms[node].below[place] = Rewards()
                arms[node].below[place].observe(reward)
        return arms, sorted(solutions, key=lambda node: node.address)

    def _choose(self, tree: Tree, arms: Arms) -> Node | None:
        """The child to go on from; None is to sample a new one."""
        if not arms.below or arms.gen.draw(tree.rng, self.prior) >= arms.cont.draw(tree.rng, self.prior):
            return None
        return max(arms.below, key=lambda child: arms.below[child].draw(tree.rng, self.prior))
