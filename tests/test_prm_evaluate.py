"""Measures against scikit-learn and hand-made cases; baselines; calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from prm.data.labels import LabelledSolution
from prm.evaluation import calibrate, evaluate, metrics
from prm.evaluation.baselines import baselines
from prm.evaluation.processbench import subsets, threshold_for
from prm.reading.head import LABELS, Head
from prm.reading.layout import Layout, layout_from
from search.errors import ScorerError, UsageError
from search.types import StepScore

RNG = np.random.default_rng(3)


def record(question: str, labels: Sequence[int], **more: object) -> LabelledSolution:
    steps = tuple(f"step {i} of {question}" for i in range(len(labels)))
    return LabelledSolution(question, steps, tuple(labels), "toy", "train", "human", **more)  # type: ignore[arg-type]


def random_case(n: int = 120) -> tuple[list[LabelledSolution], list[list[StepScore]]]:
    records = [record(f"q{k // 2}", RNG.integers(-1, 2, size=1 + k % 6).tolist()) for k in range(n)]
    return records, [[StepScore(*RNG.dirichlet([1, 1, 1]).tolist()) for _ in r.steps] for r in records]


def test_steps_are_measured_as_scikit_learn_does() -> None:
    records, scored = random_case()
    steps, _ = metrics.tabulate(records, scored, neutral=True)
    ones = np.ones(len(steps.truth))
    measured = metrics.classification(steps, ones)
    truth, predicted = steps.truth, steps.probabilities.argmax(1)
    confusion = metrics.confusion(steps, ones).astype(int)
    assert confusion.tolist() == sk.confusion_matrix(truth, predicted).tolist()
    assert measured["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, predicted)
    for c, name in enumerate(metrics.NAMES):
        got = [measured[f"{name}_{kind}"] for kind in ("precision", "recall", "f1")]
        assert got == pytest.approx([precision[c], recall[c], f1[c]])
    want = sk.roc_auc_score(truth > 0, steps.value)
    assert metrics.discrimination(steps, ones)["auc"] == pytest.approx(want)
    brier = sk.brier_score_loss(truth > 0, np.clip(steps.value, 0, 1))
    assert metrics.calibration(steps, ones)["brier"] == pytest.approx(brier)


def test_a_weight_of_two_is_the_same_step_twice() -> None:
    records, scored = random_case(40)
    once, _ = metrics.tabulate(records, scored, neutral=True)
    twice, _ = metrics.tabulate(records * 2, scored * 2, neutral=True)
    for measure in (metrics.classification, metrics.discrimination, metrics.calibration, metrics.length_bias):
        a, b = measure(once, np.full(len(once.truth), 2.0)), measure(twice, np.ones(len(twice.truth)))
        assert a == pytest.approx(b)


def test_many_weights_at_once_give_what_each_gives_alone() -> None:
    records, scored = random_case(40)
    steps, whole = metrics.tabulate(records, scored, neutral=True)
    half = RNG.random(len(steps.truth)) < 0.5
    weights = np.stack([np.ones(len(half)), half, steps.truth > 0, steps.position == 1]).astype(float)
    measures = (
        metrics.classification, metrics.discrimination, metrics.calibration, metrics.length_bias,
        metrics.prm_score,
    )  # fmt: skip
    for measure in measures:
        for name, values in measure(steps, weights).items():
            alone = [measure(steps, weight)[name] for weight in weights]
            assert values.tolist() == pytest.approx(alone, nan_ok=True), name
    of = weights[:, : len(whole.error)]
    for name, values in metrics.found_errors(whole, of).items():
        alone = [metrics.found_errors(whole, weight)[name] for weight in of]
        assert values.tolist() == pytest.approx(alone, nan_ok=True), name


def test_what_two_models_share_does_not_widen_the_interval_of_their_difference() -> None:
    """Both know the problems that are easy; one of them is right a tenth of the time more, everywhere."""
    records = [record(f"q{i}", [1, -1] * 10) for i in range(40)]
    sure = {1: StepScore(0.0, 0.0, 1.0), -1: StepScore(1.0, 0.0, 0.0)}

    def score(more: int) -> list[list[StepScore]]:
        right = [18 if i % 2 else 4 for i in range(40)]
        return [
            [sure[label if at < right[i] + more else -label] for at, label in enumerate(r.labels)]
            for i, r in enumerate(records)
        ]

    better, base = score(2), score(0)
    gains = evaluate.gains(records, dict(enumerate(better)), {"base": base, "self": better}, neutral=False)
    assert gains["base"] == pytest.approx((0.1, 0.1, 0.1)) and gains["self"] == (0, 0, 0)
    measured = evaluate.evaluate_one("better", records, dict(enumerate(better)), False, 0.5)["measures"]
    _, low, high = measured["steps"]["balanced_accuracy"]
    assert high - low > 0.15
    some = {i: better[i] for i in range(0, 40, 2)}
    assert evaluate.gains(records, some, {"base": base}, neutral=False)["base"][0] == pytest.approx(0.1)


def test_ties_count_half_in_auc() -> None:
    value, right = np.array([0.5, 0.5, 0.9]), np.array([True, False, True])
    assert metrics.auc(value, right, np.ones(3)) == pytest.approx(0.75)
    assert np.isnan(metrics.auc(value, np.ones(3, dtype=bool), np.ones(3)))


def test_expected_calibration_error_of_a_known_case() -> None:
    scored = [[StepScore(0.1, 0.0, 0.9)]] * 4 + [[StepScore(0.8, 0.0, 0.2)]] * 4
    records = [record(f"q{i}", [1 if i in (0, 1, 4) else -1]) for i in range(8)]
    steps, _ = metrics.tabulate(records, scored, neutral=False)
    want = (abs(0.9 - 0.5) + abs(0.2 - 0.25)) / 2
    assert metrics.calibration(steps, np.ones(8))["ece"] == pytest.approx(want)


def test_steps_that_are_context_do_not_count() -> None:
    records = [record("q", [1, 1, -1], context=(0, 1)), record("q", [1, 0])]
    scored = [[StepScore(0.2, 0.3, 0.5)] * 3, [StepScore(0.2, 0.3, 0.5)] * 2]
    steps, solutions = metrics.tabulate(records, scored, neutral=True)
    assert steps.truth.tolist() == [0, 2, 1] and steps.position.tolist() == [3, 1, 2]
    assert solutions.error.tolist() == [-1]  # a sibling is no solution from its beginning
    two, _ = metrics.tabulate(records, scored, neutral=False)
    assert two.truth.tolist() == [0, 1, 1] and two.classes == (0, 2)


def solutions(errors: Sequence[int], values: Sequence[Sequence[float]]) -> metrics.Solutions:
    arrays = [np.array(v) for v in values]
    return metrics.Solutions(np.array(errors), arrays, np.arange(len(errors)), len(errors))


def test_processbench_f1_is_the_harmonic_mean_of_its_authors() -> None:
    case = solutions([1, 0, -1, -1], [[0.9, 0.2, 0.1], [0.8, 0.3], [0.9, 0.9], [0.4, 0.9]])
    measures = metrics.found_errors(case, np.ones(4))
    assert (measures["error"], measures["correct"], measures["accuracy"]) == (0.5, 0.5, 0.5)
    assert measures["f1"] == pytest.approx(0.5)
    assert metrics.first_error(case).tolist() == [1, 1, -1, 0]
    none = metrics.found_errors(solutions([-1], [[0.9]]), np.ones(1))
    assert np.isnan(none["error"]) and none["correct"] == 1


def toy() -> tuple[list[LabelledSolution], list[list[StepScore]]]:
    rng = np.random.default_rng(5)
    records, scored = [], []
    for k in range(12):
        labels = [1] * (1 + k % 3)
        if k % 2:
            labels[-1] = -1
        records.append(record(f"q{k // 2}", labels))
        scored.append([StepScore(1 - v, 0.0, v) for v in rng.random(len(labels)).round(3).tolist()])
    return records, scored


def test_first_errors_are_located_once_and_the_intervals_stay_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0
    first_error = metrics.first_error

    def counted(*args: Any) -> metrics.Ints:
        nonlocal calls
        calls += 1
        return first_error(*args)

    monkeypatch.setattr(metrics, "first_error", counted)
    steps, whole = metrics.tabulate(*toy(), neutral=False)
    measured = evaluate.measure(steps, whole, 0.5)
    assert calls == 1
    want = {  # as it was when each bootstrap draw located them again
        "error": (1 / 3, 0, 2 / 3), "correct": (1 / 6, 0, 1 / 2), "f1": (2 / 9, 0, 0.4),
        "accuracy": (1 / 4, 1 / 12, 5 / 12),
    }  # fmt: skip
    assert measured["first_error"] == {name: pytest.approx(value) for name, value in want.items()}
    assert measured["steps"]["auc"] == pytest.approx((0.5, 0.3020833333333333, 0.6579246411483253))


def processbench(subset: str, errors: Sequence[int]) -> list[LabelledSolution]:
    return [
        LabelledSolution(
            f"{subset} {i}", ("a", "b", "c")[: error + 1 if error >= 0 else 3],
            (1,) * error + (-1,) if error >= 0 else (1, 1, 1), f"processbench/{subset}", "test", "human",
        )
        for i, error in enumerate(errors)
    ]  # fmt: skip


def test_processbenchs_figure_is_the_mean_of_the_f1_of_its_subsets() -> None:
    gsm8k, math = processbench("gsm8k", [0, 1, -1, -1]), processbench("math", [2, 0, -1])
    both, other = [*gsm8k[:1], *math, *gsm8k[1:]], [record("q", [1, -1])]
    value = {"gsm8k 0": [0.9], "gsm8k 1": [0.95, 0.6], "gsm8k 2": [0.8, 0.9, 0.9], "gsm8k 3": [0.5, 0.9, 0.9]}
    value |= {"math 0": [0.9, 0.9, 0.1], "math 1": [0.8], "math 2": [0.9, 0.9, 0.9]}

    def of(records: Sequence[LabelledSolution]) -> dict[int, list[StepScore]]:
        values = [value.get(r.question, [0.5] * len(r.steps)) for r in records]
        return {i: [StepScore(1 - v, 0.0, v) for v in steps] for i, steps in enumerate(values)}

    for parts in ({"a": gsm8k, "b": math, "c": other}, {"c": other, "all": both}):
        scored: Any = {name: (records, of(records)) for name, records in parts.items()}
        threshold = threshold_for(True, scored)
        assert 0.6 < threshold <= 0.8, "the best one on the GSM8K part"
        f1 = subsets(False, threshold, scored)
        assert f1["gsm8k"][0] == pytest.approx(2 * 0.5 * 0.5 / (0.5 + 0.5))
        assert f1["math"][0] == pytest.approx(2 * 0.5 * 1 / (0.5 + 1))
        assert f1["mean"][0] == pytest.approx((f1["gsm8k"][0] + f1["math"][0]) / 2)
        assert f1["mean"][1] <= f1["mean"][0] <= f1["mean"][2]
    assert threshold_for(False, scored) == 0.5, "two classes or three"
    assert threshold_for(True, {"b": (math, of(math))}) == 0.5, "no GSM8K part"
    assert subsets(False, 0.5, {"c": (other, of(other))}) == {}


def test_a_reward_model_that_could_score_nothing_is_named() -> None:
    some, other = [StepScore(0.0, 0.0, 1.0)], [StepScore(1.0, 0.0, 0.0)]
    assert evaluate.scored_by_all("data", {"a": {0: some, 2: some}, "b": {1: other, 2: other}}) == {2}
    with pytest.raises(ScorerError, match="b could score none of the solutions of data"):
        evaluate.scored_by_all("data", {"a": {0: some}, "b": {}})
    with pytest.raises(ScorerError, match="no solution of data was scored by each of a, b"):
        evaluate.scored_by_all("data", {"a": {0: some}, "b": {1: other}})


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.985, 0.01), (0.0, 1e-3)])
def test_no_other_threshold_is_better(shift: float, scale: float) -> None:
    """Also for a model whose values are all close to 1, or to 0."""
    for _ in range(20):
        n = int(RNG.integers(2, 40))
        lengths = RNG.integers(1, 6, size=n)
        errors = [int(RNG.integers(-1, length)) for length in lengths]
        values = [(shift + scale * RNG.random(length).round(2)).tolist() for length in lengths]
        case, ones = solutions(errors, values), np.ones(n)
        best = metrics.best_threshold(case)
        assert 0 <= best <= 1
        if len({error >= 0 for error in errors}) == 2:
            f1 = metrics.found_errors(case, ones, best)["f1"]
            edges = np.unique(np.concatenate([*map(np.array, values), [0.0, 1.0]]))
            tried = [metrics.found_errors(case, ones, float(t))["f1"] for t in edges]
            assert f1 == pytest.approx(max(tried))
    assert metrics.best_threshold(solutions([-1, -1], [[0.2], [0.9]])) == 0.5


def test_the_threshold_is_the_best_one() -> None:
    case = solutions([1, 0, -1, -1], [[0.45, 0.2], [0.3, 0.9], [0.42, 0.9], [0.41, 0.8]])
    best = metrics.best_threshold(case)
    assert 0.3 < best <= 0.41
    assert metrics.found_errors(case, np.ones(4), best)["f1"] == 1


def test_prmbenchs_score() -> None:
    records = [record("a", [1, -1, 1, -1])]
    scored = [[StepScore(1 - v, 0, v) for v in (0.9, 0.8, 0.7, 0.1)]]
    steps, _ = metrics.tabulate(records, scored, neutral=False)
    assert metrics.prm_score(steps, np.ones(4))["prm_score"] == pytest.approx((0.8 + 2 / 3) / 2)


def test_intervals_hold_the_value_and_draw_problems_whole() -> None:
    truth = RNG.random(400) < 0.7
    own = np.arange(400)
    interval = metrics.with_intervals(lambda w: {"mean": w @ truth / w.sum(-1)}, own, 400)["mean"]
    half = 1.96 * np.sqrt(truth.mean() * (1 - truth.mean()) / 400)
    assert interval[0] == pytest.approx(truth.mean())
    assert interval[2] - interval[1] == pytest.approx(2 * half, rel=0.2)
    repeated, of = np.repeat(truth, 10), np.repeat(own, 10)  # ten steps a problem that say the same
    wide = metrics.with_intervals(lambda w: {"mean": w @ repeated / w.sum(-1)}, of, 400)["mean"]
    assert wide[2] - wide[1] == pytest.approx(interval[2] - interval[1], rel=0.15)


# -- baselines -------------------------------------------------------------------------------------


def test_baselines_know_what_they_may_and_no_more() -> None:
    def made(n: int) -> list[LabelledSolution]:
        records = []
        for k in range(n):
            labels = (1, -1) if k % 2 else (1, 0)
            steps = ("fine", "oops wrong" if k % 2 else "hm fine")
            records.append(LabelledSolution(f"q{k}", steps, labels, "toy", "train", "human"))
        return records

    by_name = baselines(made(60), made(20), neutral=True)
    assert set(by_name) == {"majority", "position", "n-grams"}
    majority = by_name["majority"][0]
    assert majority[0] == majority[1] and majority[0].positive == pytest.approx(0.5)
    position = by_name["position"][0]
    assert position[0].label == 1 and position[1].label != 1
    words = by_name["n-grams"]
    assert [j.label for j in words[1]] == [1, -1] and words[0][1].label == 0
    two = baselines(made(60), made(4), neutral=False)
    assert all(j.neutral == 0 for scored in two.values() for steps in scored for j in steps)


# -- calibration -----------------------------------------------------------------------------------


def drawn(logits: np.ndarray) -> np.ndarray:
    """A class for each row, by its probabilities."""
    powers = np.exp(logits)
    return np.array([RNG.choice(len(p), p=p / p.sum()) for p in powers])


def test_temperature_and_biases_are_found_again() -> None:
    """A model that is too sure of itself, and thinks too little of the first class."""
    true = RNG.normal(size=(4000, 3)) * 1.5
    truth, logits = drawn(true), (true - [1.0, -0.5, 0.0]) / 0.4
    temperature, bias = calibrate.fit_scaling(truth, logits, np.ones(4000))
    assert temperature == pytest.approx(1 / 0.4, rel=0.1)
    assert bias == pytest.approx([1.0, -0.5, 0.0], abs=0.15)


def test_balanced_weights_undo_the_shares_of_the_classes() -> None:
    """The same model, with and without nine tenths of the labels of two classes."""
    logits = RNG.normal(size=(20_000, 3))
    truth = drawn(logits)
    kept = (truth == 0) | (RNG.random(20_000) < 0.1)
    logits, truth = logits[kept], truth[kept]
    _, natural = calibrate.fit_scaling(truth, logits, calibrate.class_weights(truth, balanced=False))
    _, balanced = calibrate.fit_scaling(truth, logits, calibrate.class_weights(truth, balanced=True))
    assert natural == pytest.approx([np.log(10), 0, 0], abs=0.2)
    assert balanced == pytest.approx([0, 0, 0], abs=0.2)


def test_a_class_without_labels_has_a_finite_bias() -> None:
    _, bias = calibrate.fit_scaling(np.array([0, 2] * 50), np.zeros((100, 3)), np.ones(100))
    assert -10 < bias[1] < -2


def test_thresholds_are_where_wrong_and_right_are_told_apart_best() -> None:
    wrong, negative = np.array([True] * 3 + [False] * 5), np.array([0.9, 0.6, 0.5, 0.4, 0.3, 0.1, 0.2, 0.1])
    assert 0.4 < calibrate.fit_reject(wrong, negative) <= 0.5
    with pytest.raises(UsageError, match="one kind only"):
        calibrate.fit_reject(np.zeros(3, dtype=bool), np.ones(3))


@pytest.mark.parametrize("labels", [LABELS, ("positive", "negative"), ("positive",)])
def test_calibrating_again_changes_nothing(labels: tuple[str, ...]) -> None:
    """The scores of the fitted layout are calibrated, for one output, two and three."""
    records, _ = random_case(200)
    raw = [
        [StepScore(*RNG.dirichlet(1 + np.eye(3)[label + 1]).tolist()) for label in r.labels] for r in records
    ]

    def scored(layout: Layout) -> list[list[StepScore]]:
        def row(score: StepScore) -> list[float]:
            outputs = {"negative": score.negative + (0 if "neutral" in labels else score.neutral),
                       "neutral": score.neutral, "positive": score.positive}  # fmt: skip
            return [outputs[name] for name in labels]

        return [[layout.step_score(row(score)) for score in steps] for steps in raw]

    begin = Layout(head=Head(labels=labels, type="mean_logit" if len(labels) == 1 else "linear"))
    layout, report = calibrate.calibrate(begin, records, scored(begin))
    again, report_again = calibrate.calibrate(layout, records, scored(layout))
    once, twice = layout.calibration, again.calibration
    assert twice.temperature == pytest.approx(once.temperature, rel=0.02)
    assert twice.bias == pytest.approx(once.bias, abs=0.02) and any(once.bias)
    before, after = (float(line.split(" -> ")[1].split(",")[0]) for line in (report[2], report_again[2]))
    assert after == pytest.approx(before, abs=1e-4)
    assert len(once.thresholds) == 1 and once.thresholds == pytest.approx(twice.thresholds, abs=1e-2)


@pytest.mark.parametrize("bias", [[0.1, 0.2], [0.1, 0.2, float("nan")], ["a", "b", "c"]])
def test_a_bias_that_does_not_fit_the_labels_is_refused(bias: list[object]) -> None:
    with pytest.raises(UsageError, match=r"mine/prm\.json"):
        layout_from({"bias": bias}, "mine/prm.json")
