"""Monte Carlo tree search by UCT, as in RAP and LLM Reasoners.

Hao et al. 2023, arXiv:2305.14992; Hao et al. 2024, arXiv:2404.05221.
"""

from __future__ import annotations

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

    simulations: rounds; each expands at most one node.
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

    def __post_init__(self) -> None:
        at_least(1, simulations=self.simulations, width=self.width, depth=self.depth)
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
        for _ in range(self.simulations):
            end = leaf = self._select(tree, stats)
            if not leaf.is_terminal and len(leaf.path) < self.depth:
                children = await tree.expand([leaf], self.width, temperature=self.temperature)
                distinct = {c.duplicate_of or c for c in children if not tree.is_dead(c)}
                alive = sorted(distinct, key=lambda child: child.address)
                stats.update((child, Stats()) for child in alive)
                stats[leaf].children = alive
                solutions.update(child for child in alive if child.is_terminal)
                end = tree.best(alive or children, self.aggregate)
                leaf = end if alive else leaf
            if not end.is_terminal and (self.value == "rollout" or len(leaf.path) >= self.depth):
                [end] = await tree.complete([leaf], temperature=self.temperature)
                await tree.score([end])
                solutions.update({end} if tree.answer(end) is not None else ())
            if end.failed is not None:
                continue  # an error is no score
            for node in [tree.root, *leaf.path]:
                stats[node].visits += 1
                stats[node].total += 0.0 if tree.is_dead(end) else tree.value(end, self.aggregate)
        return stats, sorted(solutions, key=lambda node: node.address)

    def _select(self, tree: Tree, stats: dict[Node, Stats]) -> Node:
        """Follow the highest UCT from the root down to a node that is not expanded yet."""
        node = tree.root
        while children := stats[node].children:
            parent = stats[node]
            node = max(children, key=lambda child: self._uct(tree, child, stats[child], parent))
        return node

    def _uct(self, tree: Tree, node: Node, own: Stats, parent: Stats) -> float:
        q = own.total / own.visits if own.visits else tree.value(node, self.aggregate)
        return q + self.exploration * sqrt(log(max(1, parent.visits)) / max(1, own.visits))
