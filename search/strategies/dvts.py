"""DVTS, diverse verifier tree search.

Beeching, Tunstall and Rush 2024, "Scaling test-time compute with open models" (Hugging Face), a variant of
the beam search of Snell et al. 2024, arXiv:2408.03314.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from search.limits import LimitReached
from search.node import Node
from search.tree import StepGuided, Tree
from search.values import Aggregate, Choice, at_least


@dataclass(frozen=True, slots=True)
class DVTS(StepGuided):
    """Split n samples into n / width subtrees, each of which keeps the best of `width` steps, greedily.

    The subtrees know nothing of each other: two may hold the same step, and each goes on from its own. Each
    has an equal share of what the limits leave after the first step, so that none ends another.

    A subtree ends with a best step that is finished, or with none but dead ends (`Tree.is_dead`). Every
    solution found is a candidate for the answer; an unfinished path never is. Without a solution, the best of
    the unfinished paths is completed greedily. Ties go to the lower address.

    n: candidates in a round (the source's N). width: steps sampled in each subtree (M); it divides n.
    depth: steps after which a subtree ends (40 rounds in the source).
    choose: how the solutions make an answer, as in `Tree.choose`.
    aggregate: how step values make the value of a path; None is the reward model's own way. The source takes
        the last step's.
    """

    n: int = 8
    width: int = 2
    depth: int = 40
    choose: Choice = "best"
    aggregate: Aggregate | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        at_least(1, n=self.n, width=self.width, depth=self.depth)
        at_least(0, temperature=self.temperature)
        if self.n % self.width:
            raise ValueError(f"width={self.width}: it must divide n={self.n}")

    async def __call__(self, tree: Tree) -> Node:
        paths = await self.search(tree)
        found = {node for path in paths for node in path if tree.answer(node) is not None}
        if solutions := sorted(found, key=lambda node: node.address):
            return await tree.choose(solutions, self.choose, self.aggregate)
        ends = [path[-1] for path in paths]
        unfinished = [end for end in ends if not end.is_terminal]
        return await tree.finish(tree.best(unfinished or ends, self.aggregate))

    async def search(self, tree: Tree) -> list[list[Node]]:
        """Of each subtree: its solutions, then the end of its path. Raises LimitReached in the first step."""
        first = await tree.expand([tree.root], self.n, temperature=self.temperature)
        parts = [first[i : i + self.width] for i in range(0, len(first), self.width)]
        left = asdict(tree.remaining)
        shares = {name: None if most is None else most // len(parts) for name, most in left.items()}
        return await tree.gather(*(self._subtree(tree, part, shares) for part in parts))

    async def _subtree(self, tree: Tree, sampled: Sequence[Node], share: dict[str, int | None]) -> list[Node]:
        solutions, best = list[Node](), sampled[0]
        with tree.limit(**share):
            for depth in range(1, self.depth + 1):
                alive = [node for node in sampled if not tree.is_dead(node)]
                solutions += [node for node in alive if node.is_terminal]
                if not alive:
                    break
                best = tree.best(alive, self.aggregate)
                for other in alive:
                    if other is not best:
                        tree.reject(other)
                if best.is_terminal or depth == self.depth:
                    break
                try:
                    sampled = await tree.expand([best], self.width, temperature=self.temperature)
                except LimitReached:  # of the share or, spent to the last, of the problem: the others go on
                    break
        return [*solutions, best]
