"""What a selector comes to with N of M candidates: the expectation over all subsets of N, not one draw.

Candidates come in no order, so all C(M, N) subsets are equally likely, and ties are shared equally. Oracle,
best-of-N and the vote have closed forms. The weighted vote is enumerated where there are at most ENUMERATED
subsets, and estimated from DRAWS random ones otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, inf

import numpy as np
from numpy.typing import NDArray

from bench.report.stats import pass_at_k

Floats = NDArray[np.float64]

ENUMERATED = 10_000
DRAWS = 2_000
MOST_CANDIDATES = 1_000
"""Of a problem: with more, the numbers of subsets exceed a float."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The candidates of one problem; all lists are [M].

    right: whether each is correct. answers: which answer each gives, as a number; None for one without an
    answer, which does not vote. values: the reward model's; -inf for one that could not be scored; None if
    nothing is scored.
    """

    right: Sequence[bool]
    answers: Sequence[int | None]
    values: Sequence[float] | None = None

    @property
    def size(self) -> int:
        return len(self.right)

    def correctness(self) -> dict[int, float]:
        """By answer, the share of its candidates that are correct: 0 or 1, unless graders disagree."""
        counts = Counter(self.answers)
        solved = Counter(answer for answer, right in zip(self.answers, self.right, strict=True) if right)
        return {answer: solved[answer] / n for answer, n in counts.items() if answer is not None}


def oracle(pool: Pool, n: int) -> float:
    """P(at least one of n is correct): pass@n."""
    return pass_at_k(pool.size, sum(pool.right), n)


def best_of_n(pool: Pool, n: int) -> float:
    """P(the candidate of the highest value among n is correct), by the order statistics of the values.

    As in a search, one without an answer is chosen only if none has an answer.
    """
    assert pool.values is not None
    ranks = [(answer is not None, v) for answer, v in zip(pool.answers, pool.values, strict=True)]
    total, above, expected = comb(pool.size, n), 0, 0.0
    for rank in sorted(set(ranks), reverse=True):
        level = [right for right, r in zip(pool.right, ranks, strict=True) if r == rank]
        below = pool.size - above
        wins = comb(below, n) - comb(below - len(level), n)  # subsets whose best candidate has this value
        expected += wins / total * sum(level) / len(level)
        above += len(level)
    return expected


def vote(pool: Pool, n: int) -> float:
    """P(the most frequent answer among n is correct).

    For each correct answer and each number of votes that it may win with, the subsets are counted by a
    polynomial: its powers of z are candidates, those of u are other answers with as many votes.
    """
    counts = Counter(pool.answers)
    silent = counts.pop(None, 0)
    total, expected = float(comb(pool.size, n)), 0.0
    for answer, share in pool.correctness().items():
        if not share:
            continue
        others = [count for other, count in counts.items() if other != answer]
        fewest = max(1, -(-(n - silent) // len(counts)))  # with fewer, others would have more
        for votes in range(fewest, min(counts[answer], n) + 1):
            ways = _ways(others, silent, votes, n - votes)
            shared = sum(way / (ties + 1) for ties, way in enumerate(ways))
            expected += share * comb(counts[answer], votes) * shared / total
    return expected


def _ways(others: Sequence[int], silent: int, votes: int, rest: int) -> list[float]:
    """In how many ways `rest` candidates give no other answer more than `votes` votes, by number of ties."""
    most = rest // votes
    table = np.zeros((most + 1, rest + 1))  # ties, candidates taken
    table[0, : silent + 1] = [comb(silent, x) for x in range(min(silent, rest) + 1)]
    for count in others:
        taken = np.zeros_like(table)
        for x in range(min(count, votes - 1, rest) + 1):
            taken[:, x:] += comb(count, x) * table[:, : rest + 1 - x]
        if count >= votes and most:
            taken[1:, votes:] += comb(count, votes) * table[:-1, : rest + 1 - votes]
        table = taken
    return [float(way) for way in table[:, rest]]


def orders(pool: Pool, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random orders of the candidates, [DRAWS, M]: the first n of each are a random subset."""
    return rng.permuted(np.tile(np.arange(pool.size), (DRAWS, 1)), axis=1)


def weighted_vote(pool: Pool, n: int, drawn: NDArray[np.int64]) -> tuple[float, float]:
    """P(the answer with the greatest sum of values among n is correct), and the estimate's variance.

    The variance is 0 if all subsets were enumerated. Values must not be negative; -inf counts as 0.
    drawn: as `orders` returns them.
    """
    assert pool.values is not None
    exact = comb(pool.size, n) <= ENUMERATED
    chosen = np.array(list(combinations(range(pool.size), n))) if exact else drawn[:, :n]
    correctness = pool.correctness()
    if not correctness:
        return 0.0, 0.0
    taken = np.zeros((len(chosen), pool.size))
    np.put_along_axis(taken, chosen, 1.0, axis=1)
    gives = np.array([[float(mine == answer) for answer in correctness] for mine in pool.answers])
    weights = np.array([0.0 if value == -inf else value for value in pool.values])
    sums = np.where(taken @ gives > 0, taken @ (gives * weights[:, None]), -1.0)
    top = sums.max(1, keepdims=True)
    close = 1e-12 * np.maximum(1, top)  # the last bits depend on the order of addition
    wins = (sums >= top - close) & (sums >= 0)
    results = (wins @ np.array(list(correctness.values()))) / np.maximum(1, wins.sum(1))
    return float(results.mean()), 0.0 if exact else float(results.var() / len(results))


def auc_within(pool: Pool) -> float:
    """P(a correct candidate has a higher value than a wrong one), ties half; nan without both."""
    assert pool.values is not None
    scored = [(v, r) for v, r in zip(pool.values, pool.right, strict=True) if v != -inf]
    good = np.array([value for value, right in scored if right])
    bad = np.array([value for value, right in scored if not right])
    if not len(good) or not len(bad):
        return float("nan")
    return float(((good[:, None] > bad).mean() + (good[:, None] >= bad).mean()) / 2)
