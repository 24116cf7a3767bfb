"""How well a reward model chooses among candidates: selectors by N, and how well it tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, sqrt
from typing import Any

import numpy as np

from bench.report.resampling import Floats, bootstrap, bootstrap_columns, sign_flip
from bench.report.stats import holm
from bench.report.subsets import Pool, auc_within, best_of_n, oracle, orders, vote, weighted_vote
from prm.evaluation.metrics import aucs, with_intervals

AUC_RESAMPLES = 1_000
"""Of the AUC across problems, each of which takes all candidates."""

BASELINES = ("random", "vote")
"""What the other selectors are compared with."""
GRAIN = 840
"""Differences are tested in multiples of 1 / GRAIN: exact for the ties of up to 8 answers."""

Measure = tuple[float, float, float]
"""A value and the ends of its 95 % interval."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two selectors on the same problems, at one N.

    points: the accuracy of `selector` less that of `baseline`, in percentage points; the 95 % interval is of
        a bootstrap over problems. p: of the exact two-sided sign-flip test. adjusted: p after Holm, over all
        differences of the table.
    """

    selector: str
    baseline: str
    points: Measure
    p: float
    adjusted: float

    @property
    def within_noise(self) -> bool:
        return self.adjusted >= 0.05

    def as_json(self) -> dict[str, Any]:
        points, *ends = self.points
        return {
            "selector": self.selector, "baseline": self.baseline, "points": points, "points_ci95": ends,
            "p": self.p, "p_holm": self.adjusted, "within_noise": self.within_noise,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reranking:
    """problems: how many. sizes: the values of N. candidates: in all.

    accuracy: by selector, one `Measure` for each N. by_problem: by selector, [problems, sizes].
    differences: between selectors, at the largest N.
    error: by selector, the standard error of what was estimated from draws, for each N; empty if all of it
        is exact.
    auc_within: mean of the problems that have right and wrong candidates, `mixed` of them. auc_across: of all
        candidates together. nan without scores.
    unscored: candidates without a score, which rank last and do not vote by weight. disagreeing: problems
        with equal answers of which some are marked correct and some wrong.
    """

    problems: int
    candidates: int
    sizes: Sequence[int]
    accuracy: dict[str, list[Measure]]
    by_problem: dict[str, Floats]
    differences: Sequence[Difference]
    error: dict[str, list[float]]
    auc_within: Measure
    auc_across: Measure
    mixed: int
    unscored: int
    disagreeing: int
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All of it. Accuracies and intervals are shares."""
        return {
            "problems": self.problems, "candidates": self.candidates, "n": list(self.sizes),
            "accuracy": {name: [value for value, _, _ in row] for name, row in self.accuracy.items()},
            "ci95": {name: [[low, high] for _, low, high in row] for name, row in self.accuracy.items()},
            "differences": [difference.as_json() for difference in self.differences],
            "standard_error_of_draws": self.error,
            "auc_within_problems": _finite(self.auc_within), "auc_across_problems": _finite(self.auc_across),
            "mixed_problems": self.mixed, "unscored_candidates": self.unscored,
            "disagreeing_problems": self.disagreeing, "summary": self.sentence, "notes": self.notes,
        }  # fmt: skip

    @property
    def sentence(self) -> str:
        """What the scores are worth at the largest N, in plain words."""
        n = self.sizes[-1]
        if "best_of_n" not in self.by_problem:
            best, chance = self.accuracy["oracle"][-1][0], self.accuracy["random"][-1][0]
            return f"One candidate is correct with {chance:.1%}; of {n}, at least one is with {best:.1%}."
        [gain] = (d for d in self.differences if (d.selector, d.baseline) == ("best_of_n", "vote"))
        mean, low, high = gain.points
        side, size = "above" if mean >= 0 else "below", "within the" if gain.within_noise else "more than"
        p = "p < 0.001" if gain.adjusted < 0.001 else f"p = {gain.adjusted:.3f}"
        return (
            f"At N = {n}, choosing by the scores is {abs(mean):.1f} points {side} the vote "
            f"[{low:+.1f}, {high:+.1f}], {p} after Holm: the difference is {size} noise."
        )


def _finite(measure: Measure) -> list[float] | None:
    return list(measure) if np.isfinite(measure).all() else None


def powers_of_two(largest: int) -> list[int]:
    """1, 2, 4, ... up to `largest`, and that itself."""
    sizes = [2**i for i in range(largest.bit_length()) if 2**i <= largest]
    return sizes if sizes[-1] == largest else [*sizes, largest]


def rerank(
    pools: Sequence[Pool],
    *,
    disagreeing: int = 0,
    progress: Callable[[Sequence[Pool]], Iterator[Pool]] = iter,
    seed: int = 0,
) -> Reranking:
    """Measure all selectors on the pools, each of which is one problem.

    N goes up to the fewest candidates of a problem. Without values, only `random`, the vote and the oracle.
    progress: iterates over the pools and shows it.
    """
    sizes = powers_of_two(min(pool.size for pool in pools))
    scored = all(pool.values is not None for pool in pools)
    known = [v for pool in pools for v in pool.values or () if v != -inf]
    weights = scored and min(known, default=0.0) >= 0
    rng = np.random.default_rng(seed)
    rows: dict[str, list[list[float]]] = {}
    variance = np.zeros(len(sizes))
    for pool in progress(pools):
        rows.setdefault("random", []).append([sum(pool.right) / pool.size] * len(sizes))
        rows.setdefault("vote", []).append([vote(pool, n) for n in sizes])
        if scored:
            rows.setdefault("best_of_n", []).append([best_of_n(pool, n) for n in sizes])
        if weights:
            drawn = orders(pool, rng)
            estimates = [weighted_vote(pool, n, drawn) for n in sizes]
            rows.setdefault("weighted_vote", []).append([mean for mean, _ in estimates])
            variance += [of_mean for _, of_mean in estimates]
        rows.setdefault("oracle", []).append([oracle(pool, n) for n in sizes])
    by_problem = {name: np.array(values) for name, values in rows.items()}
    accuracy = {}
    for name, values in by_problem.items():
        ends = bootstrap_columns(values, seed=seed)
        accuracy[name] = [
            (float(mean), float(low), float(high))
            for mean, (low, high) in zip(values.mean(0), ends, strict=True)
        ]
    within, across, mixed = discrimination(pools, seed=seed) if scored else ((np.nan,) * 3, (np.nan,) * 3, 0)
    notes = [] if weights or not scored else ["no weighted vote: some scores are negative, so no weights"]
    unscored = sum(value == -inf for pool in pools for value in pool.values or ())
    return Reranking(
        len(pools), sum(pool.size for pool in pools), sizes, accuracy, by_problem,
        differences({name: values[:, -1] for name, values in by_problem.items()}, seed=seed),
        {"weighted_vote": [sqrt(v) / len(pools) for v in variance]} if variance.any() else {},
        within, across, mixed, unscored, disagreeing, notes,
    )  # fmt: skip


def differences(solved: Mapping[str, Floats], *, seed: int = 0) -> list[Difference]:
    """Each selector but the oracle against each of `BASELINES`.

    solved: by selector, the accuracy on each problem, [problems].
    """
    selectors = [name for name in solved if name not in ("random", "oracle")]
    pairs = [(name, baseline) for baseline in BASELINES for name in selectors if name != baseline]
    gains = [solved[selector] - solved[baseline] for selector, baseline in pairs]
    ps = [sign_flip(np.rint(GRAIN * gain).astype(int).tolist()) for gain in gains]
    found = []
    for (selector, baseline), gain, p, adjusted in zip(pairs, gains, ps, holm(ps), strict=True):
        low, high = bootstrap(gain.tolist(), seed=seed)
        points = 100 * float(gain.mean()), 100 * low, 100 * high
        found.append(Difference(selector, baseline, points, p, adjusted))
    return found


def discrimination(
    pools: Sequence[Pool], *, of: Sequence[str] | None = None, seed: int = 0
) -> tuple[Measure, Measure, int]:
    """AUC within problems, AUC across problems, and how many pools have right and wrong candidates.

    of: the problem that each pool is of, where several are of one (with several seeds); a problem is drawn
        with all its pools.
    """
    index = {name: number for number, name in enumerate(dict.fromkeys(of or ()))}
    problem_of = range(len(pools)) if of is None else [index[name] for name in of]
    own = np.array([auc_within(pool) for pool in pools])
    by_problem: dict[int, list[float]] = {}
    for problem, value in zip(problem_of, own.tolist(), strict=True):
        if np.isfinite(value):
            by_problem.setdefault(problem, []).append(value)
    means = [sum(values) / len(values) for values in by_problem.values()]
    mixed = int(np.isfinite(own).sum())
    within = (float(np.mean(means)), *bootstrap(means, seed=seed)) if means else (np.nan,) * 3
    items = sorted(
        (value, right, problem)
        for problem, pool in zip(problem_of, pools, strict=True)
        for value, right in zip(pool.values or (), pool.right, strict=True)
        if value != -inf
    )  # sorted here, so that each bootstrap sample needs no sorting
    if not items:
        return within, (np.nan,) * 3, 0
    columns = [np.array(column) for column in zip(*items, strict=True)]
    measures = with_intervals(
        lambda weight: {"auc": aucs(columns[0], columns[1], weight)}, columns[2], max(problem_of) + 1,
        seed=seed, resamples=AUC_RESAMPLES,
    )  # fmt: skip
    return within, measures["auc"], mixed
