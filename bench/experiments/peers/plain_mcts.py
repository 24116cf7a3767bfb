"""The search of LLM Reasoners 1.0.2 (`reasoners.algorithm.MCTS`), written anew and plainly.

`python -m bench.peers reasoners` checks it against the package, the tests check our `mcts` against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import log, sqrt
from statistics import fmean

from search.types import Address


@dataclass
class PlainMCTS:
    """Nodes are addresses. Rewards back up as the reward of the last node on a path (`cum_reward`).

    children: of an address, none if it ends a solution. reward: of an address; it is the fast reward too.
    whole_paths: each simulation goes on to the best child until a solution ends, as in the package. If not,
        it takes one such step. limit: the package's `depth_limit`.
    backed_up: what was backed up through each node visited, in order. opened: the nodes that were expanded,
        in order.
    """

    children: Callable[[Address], list[Address]]
    reward: Callable[[Address], float]
    exploration: float
    whole_paths: bool = True
    limit: int = 10**9
    backed_up: dict[Address, list[float]] = field(default_factory=dict)
    opened: list[Address] = field(default_factory=list)
    known: dict[Address, list[Address]] = field(default_factory=dict)

    def run(self, simulations: int) -> None:
        for _ in range(simulations):
            path = self._select()
            if len(path[-1]) < self.limit:
                self._open(path[-1])
                while self.known.get(path[-1]):
                    path.append(max(self.known[path[-1]], key=self.reward))
                    if not self.whole_paths:
                        break
                    self._open(path[-1])
            for node in path:
                self.backed_up.setdefault(node, []).append(self.reward(path[-1]) if path[-1] else 0.0)

    def _select(self) -> list[Address]:
        path: list[Address] = [()]
        while self.known.get(path[-1]):
            path.append(max(self.known[path[-1]], key=self.uct))
        return path

    def _open(self, node: Address) -> None:
        if node not in self.known and len(node) < self.limit:
            self.known[node] = self.children(node)
            if self.known[node]:
                self.opened.append(node)

    def visits(self, node: Address) -> int:
        return len(self.backed_up.get(node, ()))

    def q(self, node: Address) -> float:
        """The mean of what was backed up; the fast reward before."""
        return fmean(self.backed_up[node]) if self.visits(node) else self.reward(node)

    def uct(self, node: Address) -> float:
        bonus = sqrt(log(self.visits(node[:-1])) / max(1, self.visits(node)))
        return self.q(node) + self.exploration * bonus
