"""Intervals, tests and power, compared with published figures, scipy, brute force and simulation."""

from __future__ import annotations

from itertools import combinations, product
from math import isclose, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench.report.resampling import bootstrap, bootstrap_columns, sign_flip
from bench.report.stats import holm, mcnemar, problems_needed, wilson


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


samples = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(max_examples=50)
@given(samples)
def test_wilson_agrees_with_scipy(sample: tuple[int, int]) -> None:
    successes, n = sample
    reference = scipy_stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert np.allclose(wilson(successes, n), (reference.low, reference.high))


@settings(max_examples=50)
@given(samples)
def test_mcnemar_agrees_with_scipy(sample: tuple[int, int]) -> None:
    won, n = sample
    ours = [True] * won + [False] * (n - won)
    reference = scipy_stats.binomtest(won, n, 0.5).pvalue
    assert isclose(mcnemar(ours, [not right for right in ours]).p, reference, rel_tol=1e-6)


# -- several tests ---------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(ps: list[float]) -> None:
    """A hypothesis is rejected if every intersection that it is part of is (Marcus et al. 1976)."""
    everyone = range(len(ps))
    for i, adjusted in enumerate(holm(ps)):
        intersections = [c for k in range(1, len(ps) + 1) for c in combinations(everyone, k) if i in c]
        closed = max(min(1.0, len(c) * min(ps[j] for j in c)) for c in intersections)
        assert isclose(adjusted, closed)


def test_holm_of_known_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


# -- several seeds ---------------------------------------------------------------------------------


@given(st.lists(st.integers(-3, 3), max_size=9))
def test_sign_flip_is_the_share_of_all_signs(differences: list[int]) -> None:
    ways = list(product([1, -1], repeat=len(differences)))
    sums = [abs(sum(sign * d for sign, d in zip(way, differences, strict=True))) for way in ways]
    assert isclose(sign_flip(differences), sum(s >= abs(sum(differences)) for s in sums) / len(ways))


@settings(max_examples=30)
@given(st.integers(0, 700), st.integers(0, 700))
def test_with_one_seed_sign_flip_is_mcnemar(won: int, lost: int) -> None:
    ours, theirs = [True] * won + [False] * lost + [True], [False] * won + [True] * lost + [True]
    p = sign_flip([a - b for a, b in zip(ours, theirs, strict=True)])
    assert isclose(p, mcnemar(ours, theirs).p, rel_tol=1e-6, abs_tol=1e-12)


@pytest.mark.parametrize("values", [[1, 0, 0, -1, 1, 1, 0, 0, 1, 0] * 8, [0.5, -0.25, 0.75] * 30, [1.0] * 5])
def test_the_bootstrap_agrees_with_scipy(values: list[float]) -> None:
    reference = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval  # fmt: skip
    expected = [reference.low, reference.high] if len(set(values)) > 1 else [1.0, 1.0]
    assert np.allclose(bootstrap(values), expected, atol=0.02)
    [column] = bootstrap_columns(np.array(values)[:, None])
    assert np.allclose(column, expected, atol=0.03)


def test_a_column_without_values_has_no_interval_and_gaps_are_left_out() -> None:
    values = np.array([[nan, 1.0], [nan, nan], [nan, 1.0]])
    intervals = bootstrap_columns(values, resamples=200)
    assert np.isnan(intervals[0]).all() and (intervals[1] == 1.0).all()


# -- power -----------------------------------------------------------------------------------------


def exact_power(won: float, lost: float, n: int) -> float:
    """The probability that the exact test gives p < 0.05 on n problems, over all that can happen."""
    differ = won + lost
    total = 0.0
    for m in range(n + 1):
        chance = scipy_stats.binom.pmf(m, n, differ)
        if chance > 1e-9:
            wins = np.arange(m + 1)
            rejected = np.minimum(1, 2 * scipy_stats.binom.cdf(np.minimum(wins, m - wins), m, 0.5)) < 0.05
            total += chance * float(scipy_stats.binom.pmf(wins, m, won / differ)[rejected].sum())
    return total


@pytest.mark.parametrize(("won", "lost"), [(20, 10), (12, 8), (30, 10), (5, 1), (40, 30), (3, 17)])
def test_so_many_problems_give_the_power_that_was_asked_for(won: int, lost: int) -> None:
    needed = problems_needed([1] * won + [-1] * lost + [0] * (100 - won - lost))
    assert needed is not None
    assert 0.78 < exact_power(won / 100, lost / 100, needed) < 0.83
    assert exact_power(won / 100, lost / 100, needed // 2) < 0.6


def test_no_difference_is_never_seen_and_a_surer_one_needs_fewer_problems() -> None:
    assert problems_needed([1, -1, 0]) is None and problems_needed([]) is None
    noisy, sure = [1.0] * 30 + [-1.0] * 10 + [0.0] * 60, [0.2] * 100  # 20 points each
    few, many = problems_needed(sure), problems_needed(noisy)
    assert few is not None and many is not None and few < many


# -- calibration -----------------------------------------------------------------------------------


COMPARISONS = 600


def test_identical_strategies_differ_significantly_in_five_per_cent_of_comparisons() -> None:
    """200 problems of all difficulties, 3 seeds, many comparisons of a strategy with itself."""
    rng = np.random.default_rng(0)
    found, excluded, found_with_one = 0, 0, 0
    for _ in range(COMPARISONS):
        solves = rng.beta(0.5, 0.5, size=200)
        ours, theirs = (rng.binomial(3, solves) for _ in range(2))
        found += sign_flip((ours - theirs).tolist()) < 0.05
        low, high = bootstrap(((ours - theirs) / 3).tolist(), resamples=1000)
        excluded += not low <= 0 <= high
        first, second = (rng.random(200) < solves for _ in range(2))
        found_with_one += mcnemar(first.tolist(), second.tolist()).p < 0.05
    assert 0.025 < found / COMPARISONS < 0.065  # the standard error is 0.009
    assert 0.03 < excluded / COMPARISONS < 0.075
    assert 0.015 < found_with_one / COMPARISONS < 0.06
