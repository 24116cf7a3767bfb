"""Monte Carlo tree search by UCT, as in RAP and LLM Reasoners.

Hao et al. 2023, arXiv:2305.14992; Hao et al. 2024, arXiv:2404.05221. Virtual loss: Chaslot et al. 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log, sqrt
from typing import Literal

from search.node import Node
from search.tree import StepGuided, Tree
from search.values import Aggregate, at_least


@dataclass(slots=True)
class Stats:
    """Statistics of a node. They belong to this search; the tree does not hold them."""

    visits: int = 0
    total: float = 0.0  # sum of the backed-up values, each in [0, 1]
    children: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MCTS(StepGuided):
    """Select by UCT, expand, evaluate, back up. The answer is the best solution that was found.

    simulations: each expands at most one node.
    at_once: simulations in flight. They are selected one after the other, each path counting as visited with
        value 0 until it is backed up (virtual loss). Those that select the same leaf share its expansion.
    width: children sampled at an expanded node. Duplicates and dead ends (`Tree.is_dead`) are dropped; an
        expansion or a rollout that finds nothing else is worth 0.
    exploration: w in UCT = Q + w * sqrt(ln N(parent) / max(1, N(child))); an unvisited child's Q
        is its reward-model value (RAP's fast reward).
    depth: number of steps from which on a path is no longer expanded, only completed.
    value: evaluate a new node by its score, or by the score of a rollout from it.
    aggregate: how step values make the value of a path; None is the reward model's own way.
    """

    simulations: int = 16
    width: int = 3
    exploration: float = 1.0
    depth: int = 32
    value: Literal["prm", "rollout"] = "prm"
    aggregate: Aggregate | None = None
    temperature: float | None = None
    at_once: int = 1

    def __post_init__(self) -> None:
        at_least(1, simulations=self.simulations, width=self.width, depth=self.depth, at_once=self.at_once)
        at_least(0, exploration=self.exploration, temperature=self.temperature)

    async def __call__(self, tree: Tree) -> Node:
        stats, solutions = await self.search(tree)
        if solutions:
            return tree.best(solutions, self.aggregate)
        node = tree.root  # no solution was found: complete the most visited path
        while stats[node].children:
            node = max(stats[node].children, key=lambda child: stats[child].visits)
        return await tree.finish(node)

    async def search(self, tree: Tree) -> tuple[dict[Node, Stats], list[Node]]:
        """Run the simulations. Returns the statistics of every node and the solutions found."""
        stats, solutions = {tree.root: Stats()}, set[Node]()
        for begun in range(0, self.simulations, self.at_once):
            size = min(self.at_once, self.simulations - begun)
            leaves = [self._select(tree, stats) for _ in range(size)]
            expanded = await self._expand(tree, stats, leaves)
            ends = [expanded.get(leaf, leaf) for leaf in leaves]
            tops = [leaf if tree.is_dead(end) else end for leaf, end in zip(leaves, ends, strict=True)]
            ...
        return stats, sorted(solutions, key=lambda node: node.address)
