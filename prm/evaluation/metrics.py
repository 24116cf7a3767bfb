"""Measures of step scores. All are weighted, so that a bootstrap sample is a change of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prm.data.labels import LabelledSolution
from search.types import StepScore

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NAMES = ("negative", "neutral", "positive")
POSITIONS = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 10**6))
"""Ranges of step positions, from 1, that are measured together."""
BINS = 15
"""Of the reliability diagram, and of the expected calibration error."""
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps whose labels count.

    truth: indices into `classes`, [n].
    probabilities: of negative, neutral and positive, [n, 3].
    position: in the solution, from 1, [n].
    length: in characters, [n].
    problem: index of the step's problem, for the bootstrap, [n].
    n_problems: number of problems.
    classes: columns of `probabilities` that are told apart. Without a neutral class they are (0, 2), and
        neutral steps count as positive.
    """

    truth: Ints
    probabilities: Floats
    position: Ints
    length: Ints
    problem: Ints
    n_problems: int
    classes: tuple[int, ...]

    @property
    def value(self) -> Floats:
        """P(not wrong), [n]."""
        return np.asarray(1.0 - self.probabilities[:, 0])

    @property
    def predicted(self) -> Ints:
        """The most probable class as an index into `classes`, [n]; a tie goes to the lower one."""
        return np.asarray(self.probabilities[:, self.classes].argmax(1))


@dataclass(frozen=True, slots=True)
class Solutions:
    """Solutions labelled from their first step up to their first error or their end.

    error: index of the first wrong step, -1 if there is none, [n].
    values: P(not wrong) of each step, [n][steps].
    problem: index of the solution's problem, [n].
    """

    error: Ints
    values: Sequence[Floats]
    problem: Ints
    n_problems: int


def tabulate(
    records: Sequence[LabelledSolution], scores: Sequence[Sequence[StepScore]], neutral: bool
) -> tuple[Steps, Solutions]:
    """Records and their scores as arrays.

    scores: of every step of each record. neutral: whether the model has a neutral class; without one,
        neutral steps count as positive.
    """
    problems = {q: i for i, q in enumerate(dict.fromkeys(record.question for record in records))}
    rows: list[tuple[int, int, int, int]] = []
    probabilities: list[tuple[float, float, float]] = []
    whole: list[tuple[int, Floats, int]] = []
    for record, scored in zip(records, scores, strict=True):
        problem = problems[record.question]
        for i in record.counted:
            label = record.labels[i] if neutral or record.labels[i] else 1
            rows.append((label + 1, i + 1, len(record.steps[i]), problem))
            probabilities.append((scored[i].negative, scored[i].neutral, scored[i].positive))
        if not record.context:
            error = record.labels.index(-1) if -1 in record.labels else -1
            whole.append((error, np.array([j.value for j in scored]), problem))
    truth, position, length, problem_of = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    classes = (0, 1, 2) if neutral else (0, 2)
    if not neutral:
        truth = truth // 2
    steps = Steps(
        truth, np.array(probabilities).reshape(-1, 3), position, length, problem_of, len(problems), classes
    )
    errors = np.array([error for error, _, _ in whole], dtype=np.int64)
    of = np.array([problem for _, _, problem in whole], dtype=np.int64)
    return steps, Solutions(errors, [values for _, values, _ in whole], of, len(problems))


def confusion(steps: Steps, weight: Floats) -> Floats:
    """Weight by true and predicted class, [classes, classes]."""
    k = len(steps.classes)
    table = np.bincount(steps.truth * k + steps.predicted, weight, k * k)
    return np.asarray(table, dtype=float).reshape(k, k)


def classification(steps: Steps, weight: Floats) -> dict[str, float]:
    """Accuracy and balanced accuracy (the mean recall of the classes present); measures by class."""
    table = confusion(steps, weight)
    right, truths, predictions = table.diagonal(), table.sum(1), table.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = right / truths, right / predictions
        f1 = 2 * right / (truths + predictions)
    measures = {
        "accuracy": float(right.sum() / table.sum()),
        "balanced_accuracy": float(recall[truths > 0].mean()),
    }
    for at, c in enumerate(steps.classes):
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            measures[f"{NAMES[c]}_{name}"] = float(values[at])
    return measures


def auc(value: Floats, right: NDArray[np.bool_], weight: Floats) -> float:
    """P(the value of a right step exceeds that of a wrong one), ties count half; nan without either."""
    order = np.argsort(value, kind="stable")
    value, right, weight = value[order], right[order], weight[order]
    starts = np.flatnonzero(np.r_[True, value[1:] != value[:-1]])
    good, bad = (np.add.reduceat(weight * side, starts) for side in (right, ~right))
    total = good.sum() * bad.sum()
    below = np.cumsum(bad) - bad
    return float((good * (below + bad / 2)).sum() / total) if total else float("nan")


def discrimination(steps: Steps, weight: Floats) -> dict[str, float]:
    """AUC of wrong steps against all others, overall and by step position."""
    right, value = steps.truth > 0, steps.value
    measures = {"auc": auc(value, right, weight)}
    for low, high in POSITIONS:
        at = (steps.position >= low) & (steps.position <= high)
        if at.any():
            measures[f"auc_{position_name(low, high)}"] = auc(value[at], right[at], weight[at])
    return measures


def position_name(low: int, high: int) -> str:
    return f"step_{low}" if low == high else f"steps_{low}_to_{high}" if high < 10**6 else f"steps_from_{low}"


def reliability(steps: Steps, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """By bin of P(not wrong): its mean, the share of steps that are not wrong, the weight; all [BINS]."""
    at = np.minimum((steps.value * BINS).astype(int), BINS - 1)
    mass = np.asarray(np.bincount(at, weight, BINS), dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted = np.bincount(at, weight * steps.value, BINS) / mass
        true = np.bincount(at, weight * (steps.truth > 0), BINS) / mass
    return predicted, true, mass


def calibration(steps: Steps, weight: Floats) -> dict[str, float]:
    """Expected calibration error (BINS bins of equal width) and Brier score of P(not wrong)."""
    predicted, true, mass = reliability(steps, weight)
    error = np.nansum(mass * np.abs(predicted - true)) / mass.sum()
    brier = np.average((steps.value - (steps.truth > 0)) ** 2, weights=weight)
    return {"ece": float(error), "brier": float(brier)}


def length_bias(steps: Steps, weight: Floats) -> dict[str, float]:
    """Correlation of log length with the value and with the truth; the two are equal without a bias."""
    log = np.log1p(steps.length.astype(float))

    def correlation(other: Floats) -> float:
        a, b = log - np.average(log, weights=weight), other - np.average(other, weights=weight)
        scale = np.sqrt(np.average(a * a, weights=weight) * np.average(b * b, weights=weight))
        return float(np.average(a * b, weights=weight) / scale) if scale else 0.0

    return {
        "length_with_value": correlation(steps.value),
        "length_with_truth": correlation((steps.truth > 0).astype(float)),
    }


def first_error(solutions: Solutions, threshold: float = 0.5) -> Ints:
    """Index of the first step with a value below the threshold, -1 if there is none, [n]."""
    return np.array(
        [next((i for i, v in enumerate(values) if v < threshold), -1) for values in solutions.values],
        dtype=np.int64,
    )


def located(solutions: Solutions, threshold: float = 0.5) -> NDArray[np.bool_]:
    """Whether the first step below the threshold is the first error, or there is neither, [n]."""
    return np.asarray(first_error(solutions, threshold) == solutions.error)


def found_errors(solutions: Solutions, weight: Floats, threshold: float = 0.5) -> dict[str, float]:
    """`error_measures` at a threshold."""
    return error_measures(located(solutions, threshold), solutions.error >= 0, weight)


def error_measures(hit: NDArray[np.bool_], wrong: NDArray[np.bool_], weight: Floats) -> dict[str, float]:
    """ProcessBench's measures (Zheng et al. 2024, section 2) of locating the first error.

    error: the share of wrong solutions whose first error is located. correct: the share of right solutions
    in which no error is reported. f1: their harmonic mean. accuracy: over all solutions.
    hit: as `located` returns it. wrong: whether the solution has an error. All [n].
    """

    def share(of: NDArray[np.bool_]) -> float:
        mass = weight[of].sum()
        return float((weight[of] * hit[of]).sum() / mass) if mass else float("nan")

    error, correct = share(wrong), share(~wrong)
    f1 = 2 * error * correct / (error + correct) if error + correct else 0.0
    return {"error": error, "correct": correct, "f1": f1, "accuracy": share(np.ones_like(wrong))}


def subset_f1(
    subset: NDArray[np.str_], hit: NDArray[np.bool_], wrong: NDArray[np.bool_], weight: Floats
) -> dict[str, float]:
    """The F1 of `error_measures` in each subset, and their mean, which is ProcessBench's figure.

    subset: the name of each solution's, [n].
    """
    f1 = {}
    for name in dict.fromkeys(subset.tolist()):
        of = subset == name
        f1[name] = error_measures(hit[of], wrong[of], weight[of])["f1"]
    return {**f1, "mean": float(np.mean(list(f1.values())))}


def best_threshold(solutions: Solutions) -> float:
    """The threshold with the highest F1 of `found_errors`; the middle one if there are several.

    It is 0.5 if the solutions are all right or all wrong, for then there is no F1.
    """
    wrong = solutions.error >= 0
    if wrong.all() or not wrong.any():
        return 0.5
    # A solution counts as a hit for thresholds in (low, high].
    pairs = list(zip(solutions.values, solutions.error.tolist(), strict=True))
    low = np.array([values[error] if error >= 0 else -np.inf for values, error in pairs])
    high = np.array([
        np.min(values[:error] if error >= 0 else values, initial=np.inf) for values, error in pairs
    ])  # fmt: skip
    ends = np.unique(np.concatenate([[0.0], low[np.isfinite(low)], high[np.isfinite(high)], [1.0]]))
    middle = (ends[:-1] + ends[1:]) / 2
    candidates = np.where(middle > ends[:-1], middle, ends[1:])

    def hits(of: NDArray[np.bool_]) -> Floats:
        begins, stops = np.sort(low[of & (low < high)]), np.sort(high[of & (low < high)])
        return np.asarray(np.searchsorted(begins, candidates) - np.searchsorted(stops, candidates), float)

    error, correct = hits(wrong) / wrong.sum(), hits(~wrong) / (~wrong).sum()
    f1 = 2 * error * correct / np.maximum(error + correct, 1e-300)
    best = candidates[f1 >= f1.max() - 1e-12]
    return float(best[len(best) // 2])


def prm_score(steps: Steps, weight: Floats) -> dict[str, float]:
    """PRMBench's score: the mean of the F1 of right steps and the F1 of wrong steps, at threshold 0.5."""
    predicted, right = steps.value >= 0.5, steps.truth > 0

    def f1(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
        total = (weight * a).sum() + (weight * b).sum()
        return float(2 * (weight * (a & b)).sum() / total) if total else 0.0

    return {"prm_score": (f1(predicted, right) + f1(~predicted, ~right)) / 2}


Measure = Callable[[Floats], Mapping[str, float]]


def with_intervals(
    measure: Measure, problem: Ints, n_problems: int, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, tuple[float, float, float]]:
    """The measures with all weights at one, each with its 95 % interval from a bootstrap over problems.

    measure: takes weights, [n]. problem: index of the problem of each weight, [n]; a problem is drawn as a
        whole.
    """
    rng = np.random.default_rng(seed)
    point = measure(np.ones(len(problem)))
    drawn: dict[str, list[float]] = {name: [] for name in point}
    for _ in range(resamples):
        times = np.bincount(rng.integers(n_problems, size=n_problems), minlength=n_problems)
        weight = times[problem].astype(float)
        if weight.any():
            for name, value in measure(weight).items():
                drawn[name].append(value)
    intervals = {}
    for name, value in point.items():
        values = np.array(drawn[name])
        values = values[np.isfinite(values)]
        low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (float("nan"),) * 2
        intervals[name] = (float(value), float(low), float(high))
    return intervals
