"""Beam search against a reward model, with lookahead (Snell et al. 2024, arXiv:2408.03314, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.node import Node
from search.tree import StepGuided, Tree
from search.values import Aggregate, Choice, at_least


@dataclass(frozen=True, slots=True)
class BeamSearch(StepGuided):
    """Sample n steps, keep the n / width best, sample `width` steps of each of these, and so on.

    Finished beams compete with unfinished ones: one that is kept takes a place, and is not sampled from. The
    search ends when all beams that are kept are finished. Every solution found is a candidate for the answer.

    Equal siblings are one beam: where few are distinct, few are kept, and no copy fills a place. Dead ends
    (`Tree.is_dead`) are dropped. Ties go to the lower address.

    n: candidates in a round, at most (the paper's N). width: steps sampled from each beam (M, 4 in the
        paper); it divides n.
    lookahead: steps (k) that each candidate is rolled out greedily before it is scored, and rolled back. One
        whose rollout fails is scored where it is.
    depth: rounds, at most (40 in the paper). Without a solution, the best beam is then completed greedily.
    choose: how the solutions make an answer, as in `Tree.choose`; a weighted vote in the paper.
    aggregate: how step values make the value of a beam; None is the reward model's own way. The paper takes
        the last step's.
    """

    n: int = 8
    width: int = 2
    lookahead: int = 0
    depth: int = 40
    choose: Choice = "weighted_vote"
    aggregate: Aggregate | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        at_least(1, n=self.n, width=self.width, depth=self.depth)
        at_least(0, lookahead=self.lookahead, temperature=self.temperature)
        if self.n % self.width:
            raise ValueError(f"width={self.width}: it must divide n={self.n}")

    async def __call__(self, tree: Tree) -> Node:
        solutions, beams = await self.search(tree)
        if solutions:
            return await tree.choose(solutions, self.choose, self.aggregate)
        return await tree.finish(beams[0])

    async def search(self, tree: Tree) -> tuple[list[Node], list[Node]]:
        """The solutions found, by address, and the beams that were kept last, best first."""
        beams, solutions = [tree.root], list[Node]()
        for round_ in range(self.depth):
            unfinished = [beam for beam in beams if not beam.is_terminal]
            width = self.width if round_ else self.n
            sampled = await tree.expand(unfinished, width, temperature=self.temperature)
            alive = [child for child in sampled if not tree.is_dead(child)]
            solutions += [child for child in alive if child.is_terminal]
            candidates = [beam for beam in beams if beam.is_terminal]
            candidates += [child for child in alive if child.duplicate_of is None]
            if not candidates:
                break
            values = await self._values(tree, candidates)
            ranked = sorted(candidates, key=lambda node: (-values[node], node.address))
            beams = ranked[: self.n // self.width]
            for pruned in ranked[len(beams) :]:
                tree.reject(pruned)
            tree.settle(beams)
            if all(beam.is_terminal for beam in beams):
                break
        return sorted(solutions, key=lambda node: node.address), beams

    async def _values(self, tree: Tree, beams: Sequence[Node]) -> dict[Node, float]:
        """Of each beam, at the end of its rollout."""
        ends = {beam: beam for beam in beams}
        for _ in range(self.lookahead):
            todo = [beam for beam in beams if not ends[beam].is_terminal]
            ahead = await tree.sample([ends[beam] for beam in todo], temperature=0.0, scratch=True)
            ends.update(zip(todo, ahead, strict=False))  # fewer where limits allow fewer
        await tree.score(list(ends.values()))
        return {beam: tree.value(beam if end.failed else end, self.aggregate) for beam, end in ends.items()}
