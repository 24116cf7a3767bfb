"""Particle filtering and particle Gibbs over steps (Puri et al. 2025, arXiv:2502.01618)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, count
from math import exp, inf
from typing import Literal

from search.node import Node
from search.tree import StepGuided, Tree
from search.values import at_least


@dataclass(frozen=True, slots=True)
class ParticleFilter(StepGuided):
    """Sample a step for each particle, weigh the particles, resample them; until all are finished.

    n: particles. Several may be the same node, which then gets as many children. Equal siblings are one node.
    iterations: 1 is particle filtering (algorithm 1). Each further one is an iteration of particle Gibbs
        (algorithm 2): it keeps one particle of the iteration before, drawn by weight, and filters n - 1 new
        ones beside it, which may be resampled from the kept one's first steps.
    resampling: independent draws from the weights, or evenly spaced ones with one random offset.
    choose: the finished particle of the highest weight, or the best of the answer whose particles weigh most.

    The weights are the softmax of the logits of P(the last step is not wrong). A finished particle keeps its
    logit. Dead ends (`Tree.is_dead`) weigh nothing unless all particles are dead ends.
    """

    n: int = 8
    iterations: int = 1
    resampling: Literal["multinomial", "systematic"] = "multinomial"
    choose: Literal["argmax", "weighted_vote"] = "argmax"
    temperature: float | None = None

    def __post_init__(self) -> None:
        at_least(1, iterations=self.iterations)
        at_least(1 if self.iterations == 1 else 2, n=self.n)
        at_least(0, temperature=self.temperature)

    async def __call__(self, tree: Tree) -> Node:
        particles, weights, _ = await self.run(tree)
        held = dict.fromkeys(sorted(particles, key=lambda node: node.address), 0.0)
        for node, weight in zip(particles, weights, strict=True):
            held[node] += weight
        candidates = tree.eligible(list(held))
        if self.choose == "weighted_vote" and (groups := await tree.vote(candidates)):
            candidates = max(groups, key=lambda group: sum(held[node] for node in group))
        return max(candidates, key=lambda node: _logit(tree, node))

    async def run(self, tree: Tree) -> tuple[list[Node], list[float], list[float]]:
        """The particles of the last iteration, their weights, and the effective sample sizes.

        Returns [n] nodes and [n] weights that sum to 1, with the kept particle last, and 1 / sum(w^2), in
        [1, n], for each time that particles were weighed, in order. Raises LimitReached.
        """
        particles, weights, sizes = list[Node](), list[float](), list[float]()
        for _ in range(self.iterations):
            kept = tree.rng.choices(particles, weights)[0].path if particles else []
            particles, weights = await self._filter(tree, kept, sizes)
        return particles, weights, sizes

    async def _filter(
        self, tree: Tree, kept: list[Node], sizes: list[float]
    ) -> tuple[list[Node], list[float]]:
        free = [tree.root] * (self.n - bool(kept))
        for step in count(1):
            unfinished = [node for node in free if not node.is_terminal]
            sampled = iter(await tree.expand(unfinished, temperature=self.temperature))
            moved = [node if node.is_terminal else next(sampled, node) for node in free]
            particles = [*(node.duplicate_of or node for node in moved), *kept[:step][-1:]]
            weights = _softmax([_logit(tree, node) for node in particles])
            sizes.append(1 / sum(weight * weight for weight in weights))
            if all(node.is_terminal for node in particles):
                break  # the last weights are not resampled: they are the result
            free = self._resample(tree, particles, weights, len(free))
            if self.iterations == 1:
                tree.settle(free)
        return particles, weights

    def _resample(self, tree: Tree, particles: list[Node], weights: list[float], n: int) -> list[Node]:
        if self.resampling == "multinomial":
            return tree.rng.choices(particles, weights, k=n)
        upto, offset = list(accumulate(weights)), tree.rng.random()
        draws = [(i + offset) / n for i in range(n)]
        chosen = [sum(end <= draw * upto[-1] for end in upto) for draw in draws]
        return [particles[min(i, len(particles) - 1)] for i in chosen]


def _logit(tree: Tree, node: Node) -> float:
    return -inf if tree.is_dead(node) or node.score is None else node.score.logit


def _softmax(logits: list[float]) -> list[float]:
    most = max(logits)
    weights = [1.0 if most == -inf else exp(logit - most) for logit in logits]
    return [weight / sum(weights) for weight in weights]
