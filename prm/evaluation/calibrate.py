"""Fitting a reward model's probabilities and HGS's thresholds on labelled steps: the work of `prm.calibrate`.

Temperature and biases minimise the log loss of the labels: bias-corrected temperature scaling (Alexandari
et al., arXiv:1901.06852), or Platt scaling for a model with one output. The threshold (`reject` for models
with a neutral class, `accept` for others) maximises the balanced accuracy of wrong against not wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from prm.data import load_all
from prm.data.labels import LabelledSolution
from prm.data.left_out import LeftOut
from prm.evaluation import metrics
from prm.evaluation.metrics import Steps, tabulate
from prm.evaluation.scores import KeptScores, score_records, scored_with
from prm.reading.bundled import bundled_adapter, bundled_prm
from prm.reading.calibration import Calibration
from prm.reading.head import LABELS
from prm.reading.layout import Layout, save_layout
from prm.reading.zoo import find, is_specified
from prm.scoring.scorers import Engine, load_scorer
from search.errors import UsageError
from search.types import StepScore

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateRequest:
    """Calibrate a checkpoint or an ensemble on validation data.

    prm: its folder, or a bundled model; the prm.json there is written.
    data: data sets as `prm.data.load` takes them.
    balanced: weigh the labels so that each class counts the same. The most probable class is then the best
        guess for balanced accuracy, but probabilities no longer match frequencies.
    scores: a file that keeps the uncalibrated scores; those already in it are reused if they are of the
        same weights and data. None keeps none.
    dtype: as `search.precision.served` takes it.
    strict: refuse data with rows that cannot be read; otherwise they are left out and counted.
    """

    prm: str
    data: tuple[str, ...]
    balanced: bool = False
    scores: Path | None = None
    engine: Engine = "hf"
    dtype: str = "auto"
    strict: bool = False


def calibrate_prm(request: CalibrateRequest) -> list[str]:
    """Fit and write the calibration. Returns a report, line by line.

    The uncalibrated probabilities are scored, so that calibrating again gives the same result.

    Raises UsageError if there is no prm.json to write to, for data of a test split, if the labels are of
    one kind only, and if `request.scores` holds scores of other weights or data.
    """
    folder = Path(bundled_prm(request.prm) or bundled_adapter(request.prm))
    if is_specified(request.prm) or not folder.is_dir():
        raise UsageError(f"--prm {request.prm}: there is no prm.json to write to; name a checkpoint's folder")
    layout = find(request.prm).layout
    left_out = LeftOut()
    records = list(load_all(request.data, strict=request.strict, left_out=left_out))
    if any(record.split == "test" for record in records):
        raise UsageError("--data: calibration must not use a test split; name validation data")
    scores = asyncio.run(_score(request, records))
    fitted, report = calibrate(
        layout.uncalibrated, [records[i] for i in scores], list(scores.values()), balanced=request.balanced
    )
    save_layout(fitted, folder)
    skipped = [left_out.describe()] if left_out else []
    return [*report, f"{len(records) - len(scores)} solutions could not be scored", *skipped]


async def _score(
    request: CalibrateRequest, records: Sequence[LabelledSolution]
) -> Mapping[int, list[StepScore]]:
    """The uncalibrated scores."""
    identity = scored_with(request.prm, request.engine, request.dtype, calibrated=False)
    with TemporaryDirectory() as folder:
        path = request.scores or Path(folder) / "scores.jsonl"
        with closing(KeptScores(path, records, identity)) as kept:
            async with load_scorer(
                request.prm, request.engine, dtype=request.dtype, calibrated=False
            ) as scorer:
                return await score_records(scorer, kept)


def calibrate(
    layout: Layout, records: Sequence[LabelledSolution], scores: Sequence[Sequence[StepScore]],
    *, balanced: bool = False,
) -> tuple[Layout, list[str]]:  # fmt: skip
    """The layout with its calibration fitted, and a report.

    scores: of each record's steps, made with `layout`; its old calibration is undone first.
    balanced: weigh the labels so that each class counts the same.
    """
    old, labels = layout.calibration, layout.head.labels
    neutral = "neutral" in labels
    steps, _ = tabulate(records, scores, neutral)
    classes = [LABELS[c] for c in steps.classes]
    old_bias = dict(zip(labels, old.bias, strict=False))
    before = np.log(np.maximum(steps.probabilities[:, steps.classes], 1e-12))
    raw = (before - [old_bias.get(name, 0.0) for name in classes]) * old.temperature
    weights = class_weights(steps.truth, balanced)
    temperature, bias = fit_scaling(steps.truth, raw, weights)
    after = raw / temperature + bias
    fitted = replace(steps, probabilities=_spread(after, steps.classes))
    reject = fit_reject(fitted.truth == 0, fitted.probabilities[:, 0])
    new_bias = dict(zip(classes, bias if len(labels) > 1 else bias - bias[0], strict=True))
    new = Calibration(
        temperature=temperature, bias=tuple(float(new_bias[name]) for name in labels),
        reject=reject if neutral else None, accept=None if neutral else 1 - reject,
    )  # fmt: skip
    losses = [log_loss(steps.truth, logits, weights) for logits in (before, after)]
    report = [
        f"{len(steps.truth):,} steps of {steps.n_problems:,} problems",
        f"temperature {old.temperature:.3f} -> {temperature:.3f}, bias "
        + ", ".join(f"{name} {b:+.3f}" for name, b in zip(labels, new.bias, strict=True)),
        f"log loss {losses[0]:.4f} -> {losses[1]:.4f}, ECE {_ece(steps):.4f} -> {_ece(fitted):.4f}, "
        f"balanced accuracy {_balanced(steps):.4f} -> {_balanced(fitted):.4f}",
        f"{'reject' if neutral else 'accept'} {reject if neutral else 1 - reject:.4f}",
    ]
    return replace(layout, calibration=new), report


def log_loss(truth: NDArray[np.int64], logits: Floats, weights: Floats) -> float:
    """In nats per step. truth: columns of logits, [n]. logits: [n, classes]. weights: [n]."""
    highest = logits.max(1)
    total = highest + np.log(np.exp(logits - highest[:, None]).sum(1))
    return float(np.average(total - logits[np.arange(len(truth)), truth], weights=weights))


def fit_scaling(truth: NDArray[np.int64], logits: Floats, weights: Floats) -> tuple[float, Floats]:
    """Temperature T and biases b, [classes], that minimise the log loss of logits / T + b.

    Biases are relative to the last class, whose bias is 0. A penalty on them that weighs as much as one
    label keeps the bias of a class without labels finite.
    """
    from scipy.optimize import minimize

    def scaled(x: Floats) -> Floats:
        return np.asarray(logits * np.exp(-x[0]) + np.append(x[1:], 0.0))

    def loss(x: Floats) -> float:
        return log_loss(truth, scaled(x), weights) + float(x[1:] @ x[1:]) / (2 * len(truth))

    best = minimize(loss, np.zeros(logits.shape[1]), method="BFGS").x
    return float(np.exp(best[0])), np.append(best[1:], 0.0)


def class_weights(truth: NDArray[np.int64], balanced: bool) -> Floats:
    """[n]: 1 for each label, or weights under which each class counts the same."""
    if not balanced:
        return np.ones(len(truth))
    counts = np.bincount(truth)
    return np.asarray(len(truth) / (np.count_nonzero(counts) * counts[truth]))


def fit_reject(wrong: NDArray[np.bool_], negative: Floats) -> float:
    """The least P(wrong) at which a step is best called wrong, by balanced accuracy.

    wrong, negative: of each step, [n]. Raises UsageError if all steps are wrong, or none is.
    """
    if wrong.all() or not wrong.any():
        raise UsageError("thresholds need wrong steps and others: these data hold one kind only")
    bounds = np.unique(negative)
    middles = (bounds[1:] + bounds[:-1]) / 2
    bounds = np.r_[bounds[0], middles]
    if len(bounds) > 1000:
        bounds = np.asarray(np.quantile(negative, np.linspace(0, 1, 1000)), dtype=float)
    recall = np.array([(negative[wrong] >= b).mean() + (negative[~wrong] < b).mean() for b in bounds])
    return float(bounds[int(recall.argmax())])


def _spread(logits: Floats, classes: Sequence[int]) -> Floats:
    """The probabilities of all three classes, [n, 3], from the logits of some, [n, classes]."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = np.zeros((len(logits), 3))
    probabilities[:, classes] = powers / powers.sum(1, keepdims=True)
    return probabilities


def _balanced(steps: Steps) -> float:
    return float(metrics.classification(steps, np.ones(len(steps.truth)))["balanced_accuracy"])


def _ece(steps: Steps) -> float:
    return float(metrics.calibration(steps, np.ones(len(steps.truth)))["ece"])
