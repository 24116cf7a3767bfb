"""Intervals, paired tests and power for accuracies; for the bootstrap and several seeds, see `resampling`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist

Z95 = 1.959963984540054


def wilson(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927). z: its normal quantile. (0, 1) if n is 0."""
    if n == 0:
        return 0.0, 1.0
    centre = successes + z * z / 2
    half = z * sqrt(successes * (n - successes) / n + z * z / 4)
    return max(0.0, (centre - half) / (n + z * z)), min(1.0, (centre + half) / (n + z * z))


@dataclass(frozen=True, slots=True)
class Paired:
    """Two methods on the same problems.

    won, lost: problems that only the first, or only the second, solves.
    points: the difference of their accuracies, in percentage points. p: of the exact two-sided McNemar test.
    """

    won: int
    lost: int
    points: float
    p: float


def mcnemar(ours: Sequence[bool], theirs: Sequence[bool]) -> Paired:
    """Compare correctness problem by problem (McNemar 1947, in the exact binomial form)."""
    won = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    lost = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    n = won + lost
    tail = sum(comb(n, k) for k in range(min(won, lost) + 1))
    p = min(1.0, 2 * tail / 2**n)
    return Paired(won, lost, 100 * (won - lost) / max(1, len(ours)), p)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The probability that at least one of `k` samples is correct (Chen et al. 2021, arXiv:2107.03374).

    The k samples are drawn without replacement from `n` samples, of which `correct` are correct.
    Raises ValueError if k is not in 1 to n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} cannot be estimated from {n} samples")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted for a table of so many tests, in the same order (Holm 1979).

    Calling those below 0.05 significant keeps the chance of any false one in the table at 5 % or less.
    """
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = least
    return adjusted


def problems_needed(differences: Sequence[float], *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """How many problems it takes to see a difference as large as this one, as noisy as this one.

    The two-sided paired test then gives p < alpha with probability `power`. Connor 1987, Sample size for
    testing differences in proportions for the paired-sample design, Biometrics 43, which is McNemar's case;
    with several seeds the differences are shares, and their second moment takes the place of the share of
    discordant pairs. The exact test is discrete: corrected as by Fleiss, Tytun and Ury 1980.
    differences: of the problems that were compared, each in [-1, 1]. None if they are zero on average.
    """
    n = len(differences)
    mean = sum(differences) / max(1, n)
    if mean == 0:
        return None
    second = sum(d * d for d in differences) / n
    z = NormalDist().inv_cdf
    root = z(1 - alpha / 2) * sqrt(second) + z(power) * sqrt(max(0.0, second - mean * mean))
    approximate = (root / mean) ** 2
    return math.ceil(approximate / 4 * (1 + sqrt(1 + 2 / (approximate * abs(mean)))) ** 2)
