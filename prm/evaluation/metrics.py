"""Measures of step scores.

All are weighted, so that a bootstrap sample is a change of weights. Weights are [..., n], and a measure of
them is [...]: many samples are measured at once.
"""

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
AT_ONCE = 2**17
"""Weights that are drawn and measured together: 1 MB an array."""


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
    """Weight by true and predicted class, [..., classes, classes]."""
    k = len(steps.classes)
    table = weight @ np.eye(k * k)[steps.truth * k + steps.predicted]
    return np.asarray(table.reshape(*weight.shape[:-1], k, k))


def classification(steps: Steps, weight: Floats) -> dict[str, Floats]:
    """Accuracy and balanced accuracy (the mean recall of the classes present); measures by class."""
    table = confusion(steps, weight)
    right, truths, predictions = table.diagonal(axis1=-2, axis2=-1), table.sum(-1), table.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = right / truths, right / predictions
        f1 = 2 * right / (truths + predictions)
    present = truths > 0
    measures = {
        "accuracy": right.sum(-1) / table.sum((-2, -1)),
        "balanced_accuracy": np.where(present, recall, 0).sum(-1) / present.sum(-1),
    }
    for at, c in enumerate(steps.classes):
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            measures[f"{NAMES[c]}_{name}"] = values.take(at, axis=-1)
    return measures


def auc(value: Floats, right: NDArray[np.bool_], weight: Floats) -> float:
    """P(the value of a right step exceeds that of a wrong one), ties count half; nan without either.

    All are [n].
    """
    return float(aucs(value, right, weight))


def aucs(value: Floats, right: NDArray[np.bool_], weight: Floats) -> Floats:
    """`auc` for each of many weights, [..., n]."""
    order = np.argsort(value, kind="stable")
    value, right, weight = value[order], right[order], weight[..., order]
    starts = np.flatnonzero(np.r_[True, value[1:] != value[:-1]])
    good, bad = (np.add.reduceat(weight * side, starts, axis=-1) for side in (right, ~right))
    below = np.cumsum(bad, axis=-1) - bad
    return _ratio((good * (below + bad / 2)).sum(-1), good.sum(-1) * bad.sum(-1))


def _ratio(part: Floats, whole: Floats, otherwise: float = float("nan")) -> Floats:
    """part / whole; `otherwise` where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(whole == 0, otherwise, np.divide(part, whole)))[()]


def discrimination(steps: Steps, weight: Floats) -> dict[str, Floats]:
    """AUC of wrong steps against all others, overall and by step position."""
    right, value = steps.truth > 0, steps.value
    measures = {"auc": aucs(value, right, weight)}
    for low, high in POSITIONS:
        at = (steps.position >= low) & (steps.position <= high)
        if at.any():
            measures[f"auc_{position_name(low, high)}"] = aucs(value[at], right[at], weight[..., at])
    return measures


def position_name(low: int, high: int) -> str:
    return f"step_{low}" if low == high else f"steps_{low}_to_{high}" if high < 10**6 else f"steps_from_{low}"


def reliability(steps: Steps, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """By bin of P(not wrong): its mean, the share of steps that are not wrong, the weight; [..., BINS]."""
    bins = np.eye(BINS)[np.minimum((steps.value * BINS).astype(int), BINS - 1)]
    mass = weight @ bins
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted, true = (weight * of @ bins / mass for of in (steps.value, steps.truth > 0))
    return predicted, true, mass


def calibration(steps: Steps, weight: Floats) -> dict[str, Floats]:
    """Expected calibration error (BINS bins of equal width) and Brier score of P(not wrong)."""
    predicted, true, mass = reliability(steps, weight)
    error = np.nansum(mass * np.abs(predicted - true), axis=-1) / mass.sum(-1)
    return {"ece": error, "brier": _average((steps.value - (steps.truth > 0)) ** 2, weight)}


def _average(of: Floats, weight: Floats) -> Floats:
    """The weighted mean over the last axis."""
    return np.asarray((weight * of).sum(-1) / weight.sum(-1))[()]


def length_bias(steps: Steps, weight: Floats) -> dict[str, Floats]:
    """Correlation of log length with the value and with the truth; the two are equal without a bias."""
    log = np.log1p(steps.length.astype(float))

    def correlation(other: Floats) -> Floats:
        a, b = (of - _average(of, weight)[..., None] for of in (log, other))
        scale = np.sqrt(_average(a * a, weight) * _average(b * b, weight))
        return _ratio(_average(a * b, weight), scale, otherwise=0.0)

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


def found_errors(solutions: Solutions, weight: Floats, threshold: float = 0.5) -> dict[str, Floats]:
    """`error_measures` at a threshold."""
    return error_measures(located(solutions, threshold), solutions.error >= 0, weight)


def error_measures(hit: NDArray[np.bool_], wrong: NDArray[np.bool_], weight: Floats) -> dict[str, Floats]:
    """ProcessBench's measures (Zheng et al. 2024, section 2) of locating the first error.

    error: the share of wrong solutions whose first error is located. correct: the share of right solutions
    in which no error is reported. f1: their harmonic mean. accuracy: over all solutions.
    hit: as `located` returns it. wrong: whether the solution has an error. Both [n].
    """

    def share(of: NDArray[np.bool_]) -> Floats:
        return _ratio(weight[..., of & hit].sum(-1), weight[..., of].sum(-1))

    error, correct = share(wrong), share(~wrong)
    f1 = _ratio(2 * error * correct, error + correct, otherwise=0.0)
    return {"error": error, "correct": correct, "f1": f1, "accuracy": share(np.ones_like(wrong))}


def subset_f1(
    subset: NDArray[np.str_], hit: NDArray[np.bool_], wrong: NDArray[np.bool_], weight: Floats
) -> dict[str, Floats]:
    """The F1 of `error_measures` in each subset, and their mean, which is ProcessBench's figure.

    subset: the name of each solution's, [n].
    """
    f1 = {}
    for name in dict.fromkeys(subset.tolist()):
        of = subset == name
        f1[name] = error_measures(hit[of], wrong[of], weight[..., of])["f1"]
    return {**f1, "mean": np.mean(list(f1.values()), axis=0)}


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


def prm_score(steps: Steps, weight: Floats) -> dict[str, Floats]:
    """PRMBench's score: the mean of the F1 of right steps and the F1 of wrong steps, at threshold 0.5."""
    predicted, right = steps.value >= 0.5, steps.truth > 0

    def f1(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Floats:
        total = (weight * a).sum(-1) + (weight * b).sum(-1)
        return _ratio(2 * (weight * (a & b)).sum(-1), total, otherwise=0.0)

    return {"prm_score": (f1(predicted, right) + f1(~predicted, ~right)) / 2}


Measure = Callable[[Floats], Mapping[str, Floats]]


def with_intervals(
    measure: Measure, problem: Ints, n_problems: int, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, tuple[float, float, float]]:
    """The measures with all weights at one, each with its 95 % interval from a bootstrap over problems.

    measure: takes weights, [..., n], and returns values, [...]. problem: index of the problem of each
        weight, [n]; a problem is drawn as a whole.
    """
    rng = np.random.default_rng(seed)
    point = measure(np.ones(len(problem)))
    drawn: dict[str, list[Floats]] = {name: [] for name in point}
    at_once = max(1, AT_ONCE // max(n_problems, len(problem)))
    for begin in range(0, resamples, at_once):
        rows = min(at_once, resamples - begin)
        chosen = rng.integers(n_problems, size=(rows, n_problems)) + n_problems * np.arange(rows)[:, None]
        times = np.bincount(chosen.ravel(), minlength=rows * n_problems).reshape(rows, n_problems)
        weight = times[:, problem].astype(float)
        for name, values in measure(weight[weight.any(-1)]).items():
            drawn[name].append(values)
    intervals = {}
    for name, value in point.items():
        values = np.concatenate(drawn[name])
        values = values[np.isfinite(values)]
        low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (float("nan"),) * 2
        intervals[name] = (float(value), float(low), float(high))
    return intervals
