"""AlphaZero's tree search over steps: PUCT, the policy's log-probabilities as priors, the PRM as value.

Silver et al. 2017, arXiv:1712.01815; for language models, Feng et al. 2023 (TS-LLM), arXiv:2309.17179.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import exp, log, sqrt

from search.node import Node
from search.tree import StepGuided, Tree
from search.values import Aggregate, Stats, at_least, back_up, descend


@dataclass(frozen=True, slots=True)
class PUCT(StepGuided):
    """Select by PUCT, expand the leaf, back up the leaf's own value. The answer is the best solution found.

    It differs from `MCTS` in the rule, and in that no simulation looks past the leaf that it selects.

    simulations: each expands at most one node. The root is expanded before the first.
    width: children sampled at an expanded node. Duplicates are merged and dead ends (`Tree.is_dead`) dropped;
        a leaf without other children is worth 0.
    c_init, c_base: score = Q + P * (ln((N + c_base + 1) / c_base) + c_init) * sqrt(N) / (1 + n), with the
        parent's visits N and the child's n. An unvisited child's Q is its reward-model value.
    mean_logprob: P is the softmax over siblings of the mean log-probability of a step's tokens, as in TS-LLM;
        False: of their sum, the probability that the policy itself gives to the step.
    aggregate: how step values make the value of a path; None is the reward model's own way.
    """

    simulations: int = 16
    width: int = 4
    c_init: float = 1.25
    c_base: float = 19652.0
    mean_logprob: bool = True
    aggregate: Aggregate | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        at_least(1, simulations=self.simulations, width=self.width, c_base=self.c_base)
        at_least(0, c_init=self.c_init, temperature=self.temperature)

    async def __call__(self, tree: Tree) -> Node:
        stats = await self.search(tree)
        if solutions := sorted((n for n in stats if n.is_terminal), key=lambda node: node.address):
            return tree.best(solutions, self.aggregate)
        return await tree.finish(descend(stats, tree.root, lambda child: stats[child].visits))

    async def search(self, tree: Tree) -> dict[Node, Stats]:
        """Run the simulations. Returns the statistics of every node that is not a dead end."""
        stats, priors = {tree.root: Stats()}, dict[Node, float]()
        await self._expand(tree, stats, priors, tree.root)
        for _ in range(self.simulations):
            leaf = descend(stats, tree.root, partial(self._score, tree, stats, priors))
            sampled = [] if leaf.is_terminal else await self._expand(tree, stats, priors, leaf)
            if sampled and all(child.failed is not None for child in sampled):
                continue  # errors are no score
            alive = leaf.is_terminal or stats[leaf].children
            back_up(stats, leaf, tree.value(leaf, self.aggregate) if alive else 0.0)
        return stats

    async def _expand(
        self, tree: Tree, stats: dict[Node, Stats], priors: dict[Node, float], leaf: Node
    ) -> list[Node]:
        """Sample a leaf's children. Returns all of them; those that are not dead ends get statistics."""
        sampled = await tree.expand([leaf], self.width, temperature=self.temperature)
        distinct = {child.duplicate_of or child for child in sampled if not tree.is_dead(child)}
        children = stats[leaf].children = sorted(distinct, key=lambda child: child.address)
        stats.update((child, Stats()) for child in children)
        priors.update(zip(children, self.priors(children), strict=True))
        return sampled

    def priors(self, siblings: list[Node]) -> list[float]:
        """P of each sibling. A policy that reports no log-probabilities gives all the same."""
        steps = [node.step for node in siblings if node.step is not None]
        logs = [s.logprob / max(1, s.n_tokens) if self.mean_logprob else s.logprob for s in steps]
        weights = [exp(one - max(logs)) for one in logs]
        return [weight / sum(weights) for weight in weights]

    def _score(self, tree: Tree, stats: dict[Node, Stats], priors: dict[Node, float], node: Node) -> float:
        own, n = stats[node], stats[node.parent or tree.root].visits
        q = own.total / own.visits if own.visits else tree.value(node, self.aggregate)
        c = log((n + self.c_base + 1) / self.c_base) + self.c_init
        return q + priors[node] * c * sqrt(n) / (1 + own.visits)
