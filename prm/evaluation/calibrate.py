"""python -m prm.calibrate: fit a checkpoint's probabilities and HGS's thresholds; write them to prm.json.

temperature, bias: logits are divided by the one, and the other is added, one a label, for the least log
loss of the labels: bias-corrected temperature scaling (Alexandari et al., arXiv:1901.06852), Platt's for
a model with one output. --class-weights balanced weighs labels so that each class counts the same: the
most probable class is then the best guess for balanced accuracy, but probabilities are no frequencies.
reject (for models with a neutral class): the least P(wrong) at which a step is taken to be wrong; accept
(for the others): the least P(not wrong) at which it is taken to be right; either is where the balanced
accuracy of wrong against not wrong is best. All on validation data; a test split is refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from prm.data import HELP, load_all
from prm.data.labels import LabelledSolution
from prm.evaluation import metrics
from prm.evaluation.evaluate import score
from prm.evaluation.metrics import Steps, tabulate
from prm.reading.layout import LABELS, Layout, save_layout
from prm.reading.zoo import find, is_specified
from prm.scoring.batch import Kept
from prm.scoring.scorers import load_scorer
from search import command
from search.errors import UsageError
from search.types import StepScore

Floats = NDArray[np.float64]


def log_loss(truth: NDArray[np.int64], logits: Floats, weights: Floats) -> float:
    """In nats a step. truth: [n], columns of logits, [n, classes]. weights: [n]."""
    highest = logits.max(1)
    total = highest + np.log(np.exp(logits - highest[:, None]).sum(1))
    return float(np.average(total - logits[np.arange(len(truth)), truth], weights=weights))


def fit_scaling(truth: NDArray[np.int64], logits: Floats, weights: Floats) -> tuple[float, Floats]:
    """Temperature T, and biases b, [classes], with the least log loss of logits / T + b.

    Biases are relative to the last class, whose is 0. All of them together weigh as much as one label
    would, so that a class without labels has a finite one.
    """
    from scipy.optimize import minimize

    def scaled(x: Floats) -> Floats:
        return np.asarray(logits * np.exp(-x[0]) + np.append(x[1:], 0.0))

    def loss(x: Floats) -> float:
        return log_loss(truth, scaled(x), weights) + float(x[1:] @ x[1:]) / (2 * len(truth))

    found = minimize(loss, np.zeros(logits.shape[1]), method="BFGS").x
    return float(np.exp(found[0])), np.append(found[1:], 0.0)


def class_weights(truth: NDArray[np.int64], balanced: bool) -> Floats:
    """[n]: 1 for each label, or under which each class counts the same."""
    if not balanced:
        return np.ones(len(truth))
    counts = np.bincount(truth)
    return np.asarray(len(truth) / (np.count_nonzero(counts) * counts[truth]))


def fit_reject(wrong: NDArray[np.bool_], negative: Floats) -> float:
    """The P(wrong) from which on steps are best called wrong. Raises UsageError if there is one kind only."""
    if wrong.all() or not wrong.any():
        raise UsageError("thresholds need wrong steps and others: these data hold one kind only")
    bounds = np.unique(negative)
    middles = (bounds[1:] + bounds[:-1]) / 2
    bounds = np.r_[bounds[0], middles]
    if len(bounds) > 1000:
        bounds = np.asarray(np.quantile(negative, np.linspace(0, 1, 1000)), dtype=float)
    recall = np.array([(negative[wrong] >= b).mean() + (negative[~wrong] < b).mean() for b in bounds])
    return float(bounds[int(recall.argmax())])


def calibrate(
    layout: Layout, records: Sequence[LabelledSolution], scores: Sequence[Sequence[StepScore]],
    *, balanced: bool = False,
) -> tuple[Layout, list[str]]:  # fmt: skip
    """The layout with what was fitted, and what to say of it.

    judgements: by `layout` as it is; what it has already is taken out first.
    balanced: whether each class counts the same, or each label.
    """
    neutral = "neutral" in layout.labels
    steps, _ = tabulate(records, scores, neutral)
    names = [LABELS[c] for c in steps.classes]
    had = dict(zip(layout.labels, layout.bias, strict=False))
    now = np.log(np.maximum(steps.probabilities[:, steps.classes], 1e-12))
    raw = (now - [had.get(name, 0.0) for name in names]) * layout.temperature
    weights = class_weights(steps.truth, balanced)
    temperature, bias = fit_scaling(steps.truth, raw, weights)
    logits = raw / temperature + bias
    fitted = replace(steps, probabilities=_spread(logits, steps.classes))
    reject = fit_reject(fitted.truth == 0, fitted.probabilities[:, 0])
    to_add = dict(zip(names, bias if len(layout.labels) > 1 else bias - bias[0], strict=True))
    calibrated = replace(
        layout, temperature=temperature, bias=tuple(float(to_add[name]) for name in layout.labels),
        reject=reject if neutral else None, accept=None if neutral else 1 - reject,
    )  # fmt: skip
    losses = [log_loss(steps.truth, some, weights) for some in (now, logits)]
    said = [
        f"{len(steps.truth):,} steps of {steps.n_problems:,} problems",
        f"temperature {layout.temperature:.3f} -> {temperature:.3f}, bias "
        + ", ".join(f"{name} {b:+.3f}" for name, b in zip(layout.labels, calibrated.bias, strict=True)),
        f"log loss {losses[0]:.4f} -> {losses[1]:.4f}, ECE {_ece(steps):.4f} -> {_ece(fitted):.4f}, "
        f"balanced accuracy {_balanced(steps):.4f} -> {_balanced(fitted):.4f}",
        f"{'reject' if neutral else 'accept'} {reject if neutral else 1 - reject:.4f}",
    ]
    return calibrated, said


def _spread(logits: Floats, classes: Sequence[int]) -> Floats:
    """Probabilities, [n, 3], of logits of some of the classes."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = np.zeros((len(logits), 3))
    probabilities[:, classes] = powers / powers.sum(1, keepdims=True)
    return probabilities


def _balanced(steps: Steps) -> float:
    return metrics.classification(steps, np.ones(len(steps.truth)))["balanced_accuracy"]


def _ece(steps: Steps) -> float:
    return metrics.calibration(steps, np.ones(len(steps.truth)))["ece"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prm.calibrate", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--prm", required=True, metavar="DIR", help="a checkpoint or ensemble; its prm.json is written")
    add("--data", nargs="+", required=True, metavar="SPEC", help=f"validation data. {HELP}")
    add("--class-weights", choices=("none", "balanced"), default="none",
        help="balanced: each class counts the same, see above (%(default)s)")  # fmt: skip
    add("--keep", type=Path, metavar="FILE", help="keep the judgements, and go on with those that are there")
    add("--engine", choices=("hf", "vllm"), default="hf", help="what computes (%(default)s)")
    add("--dtype", default="auto", help="precision (as stored; float32 on a CPU without bfloat16)")
    asked = parser.parse_args()
    if is_specified(asked.prm) or not Path(asked.prm).is_dir():
        raise UsageError(f"--prm {asked.prm}: there is no prm.json to write to; name a checkpoint's folder")
    layout = find(asked.prm).layout
    records = list(load_all(asked.data))
    if any(record.split == "test" for record in records):
        raise UsageError("--data: nothing is fitted on a test split")
    with TemporaryDirectory() as folder:
        kept = Kept(asked.keep or Path(folder) / "judgements.jsonl", resume=True)
        scorer = load_scorer(asked.prm, asked.engine, dtype=asked.dtype)
        try:
            scored = score(scorer, records, kept)
        finally:
            if (shutdown := getattr(scorer, "shutdown", None)) is not None:
                shutdown()
    fitted, said = calibrate(
        layout, [records[i] for i in scored], list(scored.values()),
        balanced=asked.class_weights == "balanced",
    )  # fmt: skip
    save_layout(fitted, Path(asked.prm))
    print("\n".join([*said, f"{len(records) - len(scored)} solutions could not be judged"]))


if __name__ == "__main__":
    command.run(main)
