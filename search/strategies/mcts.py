"""Monte Carlo tree search by UCT, as in RAP and LLM Reasoners.

Hao et al. 2023, arXiv:2305.14992; Hao et al. 2024, arXiv:2404.05221.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log, sqrt
from typing import Literal

from search.node import Node
from search.tree import Tree
from search.values import Aggregate, at_least, path_value


@dataclass(slots=True)
class Stats:
    """Statistics of a node. They belong to this search; the tree does not hold them."""

    visits: int = 0
    total: float = 0.0  # sum of the backed-up values, each in [0, 1]
    children: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MCTS:
    """Select by UCT, expand, evaluate, back up. The answer is the best solution that was found.

    simulations: rounds; each expands at most one node.
    width: children sampled at an expanded node; duplicates are dropped.
    exploration: w in UCT = Q + w * sqrt(ln N(parent) / max(1, N(child))); an unvisited child's Q
        is its reward-model value (RAP's fast reward).
    depth: number of steps from which on a path is no longer expanded, only completed.
    value: evaluate a new node by its score, or by the score of a rollout from it.
    aggregate: how step values are combined into the value of a path.
    """

    simulations: int = 16
    width: int = 3
    exploration: float = 1.0
    depth: int = 32
    value: Literal["prm", "rollout"] = "prm"
    aggregate: Aggregate = "product"
    temperature: float | None = None

    def __post_init__(self) -> None:
        at_least(1, simulations=self.simulations, width=self.width, depth=self.depth)
        at_least(0, exploration=self.exploration, temperature=self.temperature)

    async def __call__(self, tree: Tree) -> Node:
        stats, solutions = await self.search(tree)
        if solutions:
            return max(solutions, key=self._path_value)
        node = tree.root  # no solution was found: complete the most visited path
        while stats[node].children:
            node = max(stats[node].children, key=lambda child: stats[child].visits)
        [solution] = await tree.complete([node], temperature=0.0)
        return solution

    async def search(self, tree: Tree) -> tuple[dict[Node, Stats], list[Node]]:
        """Run the simulations. Returns the statistics of every node and the solutions found."""
        stats = {tree.root: Stats()}
        solutions: set[Node] = set()
        for _ in range(self.simulations):
            leaf = self._select(stats, tree.root)
            if not leaf.is_terminal and len(leaf.path) < self.depth:
                children = await tree.expand([leaf], self.width, temperature=self.temperature)
                distinct = {child.duplicate_of or child for child in children}  # rollouts add children too
                stats[leaf].children = sorted(distinct, key=lambda child: child.address)
                stats.update((child, Stats()) for child in stats[leaf].children)
                leaf = max(stats[leaf].children, key=self._path_value)
            end = leaf
            if self.value == "rollout" or len(leaf.path) >= self.depth:
                [end] = await tree.complete([leaf], temperature=self.temperature)
                await tree.score([end])
            if tree.answer(end) is not None:
                solutions.add(end)
            for node in [tree.root, *leaf.path]:
                stats[node].visits += 1
                stats[node].total += self._path_value(end)
        return stats, sorted(solutions, key=lambda node: node.address)

    def _select(self, stats: dict[Node, Stats], node: Node) -> Node:
        """Follow the highest UCT from `node` down to a node that is not expanded yet."""
        while children := stats[node].children:
            parent = stats[node]
            node = max(children, key=lambda child: self._uct(child, stats[child], parent))
        return node

    def _uct(self, node: Node, own: Stats, parent: Stats) -> float:
        q = own.total / own.visits if own.visits else self._path_value(node)
        return q + self.exploration * sqrt(log(parent.visits) / max(1, own.visits))

    def _path_value(self, node: Node) -> float:
        return path_value(node, self.aggregate)
