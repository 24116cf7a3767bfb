"""REBASE: reward balanced search (Wu et al. 2024, arXiv:2408.00724, section 3.1.2 and equation 1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from search.node import Node
from search.tree import StepGuided, Tree
from search.values import Aggregate, Choice, at_least


@dataclass(frozen=True, slots=True)
class REBASE(StepGuided):
    """Sample n first steps; then, depth by depth, share out what is left of n among the unfinished nodes.

    A node with reward R gets B * exp(R / T) / sum(exp(R / T)) children, rounded, where B is n less the
    solutions that ended so far. Shares are rounded by largest remainder, so that they sum to B: each is
    rounded down, and what is left goes to the largest fractional parts. Ties go to the lower address.

    Equal siblings are one node: its weight is theirs together, and each of them is a solution if they end. A
    solution that was cut, or states no answer, uses up its share. A failed candidate does not: the other
    nodes of its depth get it.

    n: solutions to sample (the paper's N), unless all nodes of a depth fail.
    balance_temperature: T, above 0 (the paper's T_b). Towards 0 the best node gets all, towards infinity all
        get the same.
    choose: how the solutions make an answer, as in `Tree.choose`.
    aggregate: how step values make a node's reward R and a solution's value; in the paper, the last step's
        score. None is the reward model's own way.
    temperature: of the policy; 1 in the paper.
    """

    n: int = 8
    balance_temperature: float = 0.1
    choose: Choice = "weighted_vote"
    aggregate: Aggregate | None = "last"
    temperature: float | None = None

    def __post_init__(self) -> None:
        at_least(1, n=self.n)
        at_least(0, temperature=self.temperature)
        if self.balance_temperature <= 0:
            raise ValueError(f"balance_temperature={self.balance_temperature}: it must be above 0")

    async def __call__(self, tree: Tree) -> Node:
        solutions, last = await self.search(tree)
        if solutions:
            return await tree.choose(solutions, self.choose, self.aggregate)
        return await tree.finish(tree.best(last, self.aggregate))

    async def search(self, tree: Tree) -> tuple[list[Node], list[Node]]:
        """The [n] solutions, fewer if a whole depth fails, and the nodes that were expanded last."""
        solutions, nodes, widths = list[Node](), [tree.root], [self.n]
        while True:
            shares = [node for node, width in zip(nodes, widths, strict=True) for _ in range(width)]
            sampled = await tree.expand(shares, temperature=self.temperature)
            alive = [child for child in sampled if child.failed is None]
            solutions += [child for child in alive if child.is_terminal]
            held = Counter(child.duplicate_of or child for child in alive if not child.is_terminal)
            if not held:
                return sorted(solutions, key=lambda node: node.address), shares
            nodes, budget = list(held), self.n - len(solutions)  # in the order of addresses
            rewards = [tree.value(node, self.aggregate) for node in nodes]
            widths = self.widths(rewards, [held[node] for node in nodes], budget)
            for node, width in zip(nodes, widths, strict=True):
                if not width:
                    tree.reject(node)
            tree.settle([*solutions, *(n for n, width in zip(nodes, widths, strict=True) if width)])

    def widths(self, rewards: Sequence[float], held: Sequence[int], budget: int) -> list[int]:
        """Children of each node, which sum to `budget`.

        rewards: [nodes], in [0, 1]. held: [nodes], equal siblings that are one node, each at least 1.
        """
        best = max(rewards)
        pairs = zip(rewards, held, strict=True)
        weights = [times * exp((reward - best) / self.balance_temperature) for reward, times in pairs]
        quotas = [budget * weight / sum(weights) for weight in weights]
        widths = [int(quota) for quota in quotas]
        parts = [round(quota % 1, 9) for quota in quotas]  # rounded, so that equal parts tie
        for i in sorted(range(len(parts)), key=lambda i: -parts[i])[: budget - sum(widths)]:
            widths[i] += 1
        return widths
