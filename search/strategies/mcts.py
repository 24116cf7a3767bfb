"""Monte Carlo tree search by UCT, as in RAP and LLM Reasoners.

Hao et al. 2023, arXiv:2305.14992; Hao et al. 2024, arXiv:2404.05221. Virtual loss: Chaslot et al. 2008.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import log, sqrt
from typing import Literal

from search.node import Node
from search.tree import StepGuided, Tree
from search.values import Aggregate, Stats, at_least, back_up, descend


@dataclass(frozen=True, slots=True)
class MCTS(StepGuided):
    """Select by UCT, expand, evaluate, back up. The answer is the best solution that was found.

    simulations: each expands at most one node.
    width: children sampled at an expanded node. Duplicates and dead ends (`Tree.is_dead`) are dropped; an
        expansion or a rollout that finds nothing else is worth 0.
    exploration: w in UCT = Q + w * sqrt(ln N(parent) / max(1, N(child))); an unvisited child's Q
        is its reward-model value (RAP's fast reward).
    depth: number of steps from which on a path is no longer expanded, only completed.
    value: evaluate a new node by its score, or by the score of a rollout from it.
    aggregate: how step values make the value of a path; None is the reward model's own way.
    at_once: most simulations in flight. A path that is selected counts as visited with value 0 (virtual loss)
        until it is backed up. A simulation that would select a leaf in flight waits for those before it.
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
        return await tree.finish(descend(stats, tree.root, lambda child: stats[child].visits))

    async def search(self, tree: Tree) -> tuple[dict[Node, Stats], list[Node]]:
        """Run the simulations. Returns the statistics of every node and the solutions found."""
        stats, solutions = {tree.root: Stats()}, set[Node]()
        left, uct = self.simulations, partial(self._uct, tree, stats)
        while left:
            leaves: list[Node] = []
            while (leaf := descend(stats, tree.root, uct)) not in leaves:
                back_up(stats, leaf, 0.0)  # virtual loss
                leaves.append(leaf)
                if len(leaves) == min(left, self.at_once):
                    break
            left -= len(leaves)
            best = await self._expand(tree, stats, leaves)
            solutions.update(n for leaf in best for n in stats[leaf].children if n.is_terminal)
            ends = [best.get(leaf, leaf) for leaf in leaves]
            tops = [leaf if tree.is_dead(end) else end for leaf, end in zip(leaves, ends, strict=True)]
            deep = [self.value == "rollout" or len(top.path) >= self.depth for top in tops]
            todo = [i for i, end in enumerate(ends) if deep[i] and not end.is_terminal]
            rollouts = await tree.complete([tops[i] for i in todo], temperature=self.temperature)
            await tree.score(rollouts)
            solutions.update(end for end in rollouts if tree.answer(end) is not None)
            for i, end in zip(todo, rollouts, strict=False):  # limits may allow fewer
                ends[i] = end
            for leaf, top, end in zip(leaves, tops, ends, strict=True):
                back_up(stats, leaf, 0.0, visits=-1)  # the loss was virtual
                if end.failed is None:  # an error is no score
                    back_up(stats, top, 0.0 if tree.is_dead(end) else tree.value(end, self.aggregate))
        return stats, sorted(solutions, key=lambda node: node.address)

    async def _expand(self, tree: Tree, stats: dict[Node, Stats], leaves: list[Node]) -> dict[Node, Node]:
        """Sample children of the leaves. Returns the best child of each."""
        best: dict[Node, Node] = {}
        todo = [leaf for leaf in leaves if not leaf.is_terminal and len(leaf.path) < self.depth]
        sampled = await tree.expand(todo, self.width, temperature=self.temperature)
        for leaf in todo:
            if not (own := [child for child in sampled if child.parent is leaf]):
                break  # limits allow no more
            distinct = {child.duplicate_of or child for child in own if not tree.is_dead(child)}
            alive = stats[leaf].children = sorted(distinct, key=lambda child: child.address)
            stats.update((child, Stats()) for child in alive)
            best[leaf] = tree.best(alive or own, self.aggregate)
        return best

    def _uct(self, tree: Tree, stats: dict[Node, Stats], node: Node) -> float:
        own, parent = stats[node], stats[node.parent or tree.root]
        q = own.total / own.visits if own.visits else tree.value(node, self.aggregate)
        return q + self.exploration * sqrt(log(max(1, parent.visits)) / max(1, own.visits))
