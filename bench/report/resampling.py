"""Bootstrap and exact tests over problems, for one seed or several: a problem is drawn with all its seeds.

Runs with several seeds are clustered: answers to one problem resemble each other, so problems, not answers,
are what is independent (Miller 2024, Adding Error Bars to Evals, arXiv:2411.00640, section 2.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 10_000


def bootstrap(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float]:
    """The 95 % percentile interval of the mean (Efron 1979). (0, 0) without values.

    values: one per problem, the mean over its seeds; for a paired difference, the difference of the two
        methods' means.
    """
    if not values:
        return 0.0, 0.0
    # How often each distinct value is drawn is multinomial: the same bootstrap, without drawing problems.
    distinct, counts = np.unique(np.asarray(values, float), return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=resamples)
    low, high = np.percentile(draws @ distinct / len(values), [2.5, 97.5])
    return float(low), float(high)


def bootstrap_columns(values: Floats, *, seed: int = 0, resamples: int = 2000) -> Floats:
    """The 95 % percentile intervals of the means of several columns, [columns, 2]; nan without any value.

    values: [problems, columns]. A problem without a value (nan) in a column is left out of its means.
    """
    n, columns = values.shape
    rng = np.random.default_rng(seed)
    there = np.isfinite(values)
    filled = np.where(there, values, 0.0)
    means = np.empty((resamples, columns))
    for start in range(0, resamples, 100):  # in parts, to bound the memory
        times = rng.multinomial(n, np.full(n, 1 / n), size=min(100, resamples - start)).astype(float)
        with np.errstate(invalid="ignore"):
            means[start : start + len(times)] = (times @ filled) / (times @ there)
    intervals = np.full((columns, 2), np.nan)
    for column in range(columns):
        drawn = means[:, column]
        if np.isfinite(drawn).any():
            intervals[column] = np.percentile(drawn[np.isfinite(drawn)], [2.5, 97.5])
    return intervals


def sign_flip(differences: Sequence[int]) -> float:
    """p of the exact two-sided test that the differences are as likely to be the other way round.

    Under the null hypothesis each problem's difference has either sign with probability 1/2; p is the share
    of all 2^n assignments of signs whose sum is at least as far from 0 (Fisher 1935). With one seed this is
    McNemar's exact test.
    differences: by problem, how many more of its seeds the first method solves.
    """
    sizes = [abs(d) for d in differences if d]
    total = sum(sizes)
    chances = np.zeros(total + 1)  # of the sum of the sizes with a positive sign
    chances[0] = 1.0
    reach = 0
    for size in sizes:
        reach += size
        shifted = np.zeros(reach + 1)
        shifted[size:] = chances[: reach - size + 1]
        chances[: reach + 1] = (chances[: reach + 1] + shifted) / 2
    sums = np.abs(2 * np.arange(total + 1) - total)
    return min(1.0, float(chances[sums >= abs(sum(differences))].sum()))
