"""Intervals compared with published figures, and the paired test with brute force."""

from __future__ import annotations

from itertools import product
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.stats import mcnemar, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (50, 500, 7.7, 12.9),  # MATH-500 at 10.0 %
        (834, 1319, 60.6, 65.8),  # GSM8K at 63.2 %
        (0, 10, 0.0, 27.8),
        (10, 10, 72.2, 100.0),
        (81, 263, 25.5, 36.6),  # Newcombe 1998, table I
        (15, 148, 6.2, 16.0),
    ],
)
def test_wilson(successes: int, n: int, low: float, high: float) -> None:
    got = wilson(successes, n)
    assert [round(100 * bound, 1) for bound in got] == [low, high]


def test_without_problems_the_interval_is_everything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_contains_the_share_and_is_symmetric(sample: tuple[int, int]) -> None:
    successes, n = sample
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n + 1e-12 and successes / n - 1e-12 <= high <= 1
    mirrored = wilson(n - successes, n)
    assert isclose(low, 1 - mirrored[1], abs_tol=1e-12)


def brute_force(won: int, lost: int) -> float:
    """The share of all outcomes of the discordant problems that are at least as uneven as this one."""
    ways = list(product([1, -1], repeat=won + lost))
    return sum(abs(sum(way)) >= abs(won - lost) for way in ways) / len(ways)


@pytest.mark.parametrize(("won", "lost"), [(w, n - w) for n in range(9) for w in range(n + 1)])
def test_mcnemar_is_the_exact_two_sided_test(won: int, lost: int) -> None:
    ours = [True] * won + [False] * lost + [True, False]
    theirs = [False] * won + [True] * lost + [True, False]
    got = mcnemar(ours, theirs)
    assert (got.won, got.lost) == (won, lost)
    assert isclose(got.p, brute_force(won, lost))
    assert isclose(got.points, 100 * (won - lost) / len(ours))


def test_mcnemar_against_known_values() -> None:
    got = mcnemar([True] * 10 + [False] * 2, [False] * 10 + [True] * 2)
    assert round(got.p, 4) == 0.0386  # 2 * P(X <= 2), X ~ B(12, 1/2)
    assert mcnemar([True] * 3, [True] * 3).p == 1.0
    assert mcnemar([], []).points == 0.0
    assert mcnemar([True] * 400, [False] * 400).p < 1e-100


def test_different_problems_cannot_be_paired() -> None:
    with pytest.raises(ValueError):
        mcnemar([True], [True, False])
