"""Values of paths, aggregated from the values of their steps; checks of strategy parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
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
