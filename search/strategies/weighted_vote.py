"""Reward-weighted vote: each solution votes for its answer, weighted by its value.

Uesato et al. 2022, arXiv:2211.14275; Li et al. 2022, arXiv:2206.02336.
"""

from __future__ import annotations

from dataclasses import dataclass

from search.node import Node
from search.tree import Tree
from search.values import Aggregate, at_least


@dataclass(frozen=True, slots=True)
class WeightedVote:
    """Returns the winning answer's solution with the highest value. Ties go to the first.

    aggregate: how step values make a solution's value; None is the reward model's own way.
    """

    n: int = 8
    temperature: float | None = None
    aggregate: Aggregate | None = None

    def __post_init__(self) -> None:
        at_least(1, n=self.n)
        at_least(0, temperature=self.temperature)

    async def __call__(self, tree: Tree) -> Node:
        solutions = await tree.complete([tree.root], self.n, temperature=self.temperature)
        return await tree.choose(solutions, "weighted_vote", self.aggregate)
