"""Self-consistency: the most frequent answer wins (Wang et al. 2022, arXiv:2203.11171)."""

from __future__ import annotations

from dataclasses import dataclass

from search.node import Node
from search.tree import Tree, Unguided
from search.values import at_least


@dataclass(frozen=True, slots=True)
class SelfConsistency(Unguided):
    """Solutions with equal answers vote together; one without an answer has no vote. Ties go to the first."""

    n: int = 8
    temperature: float | None = None

    def __post_init__(self) -> None:
        at_least(1, n=self.n)
        at_least(0, temperature=self.temperature)

    async def __call__(self, tree: Tree) -> Node:
        solutions = await tree.complete([tree.root], self.n, temperature=self.temperature)
        return await tree.choose(solutions, "vote")
