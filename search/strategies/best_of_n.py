"""Best-of-N: sample N solutions and return the one with the highest value.

Cobbe et al. 2021, arXiv:2110.14168; with values of steps, Lightman et al. 2023, arXiv:2305.20050.
"""

from __future__ import annotations

from dataclasses import dataclass

from search.node import Node
from search.tree import Tree
from search.values import Aggregate, at_least, path_value


@dataclass(frozen=True, slots=True)
class BestOfN:
    """aggregate: how step values are combined into a solution's value; Lightman et al. use the product.

    A solution without an answer is chosen only if none has an answer. Ties go to the first.
    """

    n: int = 8
    temperature: float | None = None
    aggregate: Aggregate = "product"

    def __post_init__(self) -> None:
        at_least(1, n=self.n)
        at_least(0, temperature=self.temperature)

    async def __call__(self, tree: Tree) -> Node:
        solutions = await tree.complete([tree.root], self.n, temperature=self.temperature)
        answered = [node for node in solutions if tree.answer(node) is not None] or solutions
        await tree.score(answered)
        return max(answered, key=lambda node: path_value(node, self.aggregate))
