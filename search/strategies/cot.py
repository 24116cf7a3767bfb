"""Plain chain of thought: one solution, no reward model (Wei et al. 2022, arXiv:2201.11903)."""

from __future__ import annotations

from dataclasses import dataclass

from search.node import Node
from search.tree import Tree, Unguided
from search.values import at_least


@dataclass(frozen=True, slots=True)
class ChainOfThought(Unguided):
    """temperature: 0 is greedy, the baseline; None is the policy's own."""

    temperature: float | None = 0.0

    def __post_init__(self) -> None:
        at_least(0, temperature=self.temperature)

    async def __call__(self, tree: Tree) -> Node:
        [solution] = await tree.complete([tree.root], temperature=self.temperature)
        return solution
