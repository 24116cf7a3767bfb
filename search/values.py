"""Values of paths, aggregated from those of their steps; statistics of searches; checks of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod, sqrt
from random import Random
from statistics import fmean
from typing import Literal

from search.node import Node

Aggregate = Literal["last", "min", "product", "mean"]

Choice = Literal["best", "vote", "weighted_vote"]
"""How one of several solutions is chosen: see `Tree.choose`."""

AGGREGATES: dict[Aggregate, Callable[[Sequence[float]], float]] = {
    "last": lambda values: values[-1],
    "min": min,
    "product": prod,  # Lightman et al. 2023, arXiv:2305.20050, appendix E
    "mean": fmean,
}


def path_value(node: Node, how: Aggregate = "last") -> float:
    """Aggregate the step values along the node's path, in [0, 1].

    A blank step shares its parent's score and is not counted again. The root has value 1: no step is
    wrong yet. Raises ValueError if a step on the path has no score.
    """
    values = [n.value for n in node.path if n.step and not (n.step.is_blank and n.address[1:])]
    return AGGREGATES[how](values) if values else 1.0


@dataclass(slots=True)
class Stats:
    """What a Monte Carlo tree search knows of a node. It belongs to the search; the tree does not hold it.

    total: sum of the backed-up values, each in [0, 1]. children: those to choose from, none before the node
    is expanded.
    """

    visits: int = 0
    total: float = 0.0
    children: list[Node] = field(default_factory=list)


def descend(stats: Mapping[Node, Stats], node: Node, score: Callable[[Node], float]) -> Node:
    """Follow the highest scores from a node down to one without children. Ties go to the first child."""
    while children := stats[node].children:
        node = max(children, key=score)
    return node


def back_up(stats: Mapping[Node, Stats], end: Node, value: float, *, visits: int = 1) -> None:
    """Add visits and a value to every node from the root to `end`."""
    node: Node | None = end
    while node is not None:
        stats[node].visits += visits
        stats[node].total += value
        node = node.parent


Prior = Literal["gaussian", "beta"]


@dataclass(slots=True)
class Rewards:
    """Observed rewards, and the posterior of their mean. spread: sum of (reward - mean)^2.

    The priors are those of TreeQuest 0.3 (Inoue et al. 2025, arXiv:2503.04412).
    """

    n: int = 0
    mean: float = 0.0
    spread: float = 0.0

    def observe(self, reward: float) -> None:
        self.n += 1
        off = reward - self.mean
        self.mean += off / self.n
        self.spread += off * (reward - self.mean)

    @property
    def gaussian(self) -> tuple[float, float, float]:
        """m, kappa and tau^2 of the normal-inverse-chi-squared posterior, nu = kappa. Prior: 0, 1 and 0.1.

        Murphy 2023, Probabilistic Machine Learning: Advanced Topics, section 3.4.3.3.
        """
        kappa = self.n + 1.0
        return self.n * self.mean / kappa, kappa, (0.1 + self.spread + self.n * self.mean**2 / kappa) / kappa

    @property
    def beta(self) -> tuple[float, float]:
        """a and b of the beta posterior, for rewards in [0, 1]. Prior: 1/2 each, which is Jeffreys'.

        Rounded: Python draws otherwise for a = 1 than for the next float, so the last bit would matter.
        """
        return round(0.5 + self.n * self.mean, 9), round(0.5 + self.n * (1 - self.mean), 9)

    def draw(self, rng: Random, prior: Prior) -> float:
        """A mean reward, from the posterior."""
        if prior == "beta":
            return rng.betavariate(*self.beta)
        m, kappa, tau2 = self.gaussian
        chi2 = rng.gammavariate(kappa / 2, 2) or 1e-300  # it may underflow
        return rng.gauss(m, sqrt(tau2 / chi2))


def at_least(minimum: float, **params: float | None) -> None:
    """Raise ValueError if a parameter is less than `minimum`. None passes."""
    for name, value in params.items():
        if value is not None and value < minimum:
            raise ValueError(f"{name}={value}: it must be at least {minimum}")


def share(**params: float | None) -> None:
    """Raise ValueError if a parameter is outside [0, 1]. None passes."""
    for name, value in params.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name}={value}: it must lie between 0 and 1")
