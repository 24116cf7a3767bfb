"""Best-of-N: sample N solutions and return the one with the highest value.

Cobbe et al. 2021, arXiv:2110.14168; with values of steps, Lightman et al. 2023, arXiv:2305.20050.
"""

from __future__ import annotations

from dataclasses import dataclass

from search.node import Node
from search.tree import Tree
from search.values import Aggregate, at_least


@dataclass(frozen=True, slots=True)
class BestOfN:
    """aggregate: how step values make a solution's value; None is the reward model's own way.

    A solution without an answer is chosen only if none has an answer. Ties go to the first.
    """

    n: int = 8
    temperature: float | None = None
    aggregate: Aggregate | None = None

    def __post_init__(self) -> None:
        at_least(1, n=self.n)
        at_least(0, temperature=self.temperature)

    async def __call__(self, tree: Tree) -> Node:
        solutions = await tree.complete([tree.root], self.n, temperature=self.temperature)
        return await tree.choose(solutions, "best", self.aggregate)
