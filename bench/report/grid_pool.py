"""pass@k of the solutions that a grid sampled: what a perfect choice among k of them would reach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.report.grid import Cell, Grid
from bench.report.recorded import read_trace
from bench.report.resampling import bootstrap
from bench.report.sides import Graders
from bench.report.stats import pass_at_k

POOLS = ("self_consistency", "best_of_n", "weighted_vote")
"""Strategies whose solutions are independent samples; the first that a grid has is taken."""


@dataclass(frozen=True, slots=True)
class PassAtK:
    """k: 1, 2, 4, ... up to what every answer has. shares: pass@k with its 95 % interval, for each k.

    The interval is a bootstrap over problems. finished: solutions of an answer, on average.
    """

    strategy: str
    budget: str
    ks: Sequence[int]
    shares: Sequence[tuple[float, tuple[float, float]]]
    finished: float


def pool_of(grid: Grid, budget: str, graders: Graders) -> PassAtK | None:
    """pass@k of the finished solutions at a budget; None if no strategy sampled a pool, or it has gaps.

    It is unbiased (Chen et al. 2021). Solutions that the model did not end are left out.
    """
    name = next((name for name in POOLS if grid.of(name, budget)), None)
    if name is None:
        return None
    counts: dict[str, list[tuple[int, int]]] = defaultdict(list)  # by problem: finished, and right ones
    for cell in grid.of(name, budget):
        for problem, found in _counted(cell, graders):
            counts[problem].append(found)
    least = min((n for seeds in counts.values() for n, _ in seeds), default=0)
    ks = [2**power for power in range(least.bit_length())]
    if not ks:
        return None
    shares = []
    for k in ks:
        values = [fmean(pass_at_k(n, right, k) for n, right in seeds) for seeds in counts.values()]
        shares.append((fmean(values), bootstrap(values)))
    finished = fmean(n for seeds in counts.values() for n, _ in seeds)
    return PassAtK(name, budget, ks, shares, finished)


def _counted(cell: Cell, graders: Graders) -> list[tuple[str, tuple[int, int]]]:
    found = []
    for problem, tree in read_trace(cell.trace).trees.items():
        solutions = graders.solutions(tree)
        right = sum(graders.grade(problem, solutions.answer(node)) for node in tree.solutions)
        found.append((problem, (len(tree.solutions), right)))
    return found
