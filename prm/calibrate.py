"""python -m prm.calibrate: fit a checkpoint's temperature and HGS's thresholds; write them to prm.json.

temperature: what the logits are divided by, for the least log loss of the labels. reject (for models
with a neutral class): the least P(wrong) at which a step is taken to be wrong; accept (for the others):
the least P(not wrong) at which it is taken to be right; either is where the balanced accuracy of
wrong against not wrong is best. All on validation data; a test split is refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from prm import command, metrics
from prm.data import HELP, load_all
from prm.evaluate import judge
from prm.judging import Kept, load_scorer
from prm.labels import LabelledSolution
from prm.layout import Layout, save_layout
from prm.metrics import Steps, tabulate
from prm.zoo import find, is_specified
from search.errors import UsageError
from search.types import Judgement

Floats = NDArray[np.float64]


def at_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities, [n, 3], as if their logits were divided by the temperature."""
    powers = np.power(np.maximum(probabilities, 1e-12), 1 / temperature) * (probabilities > 0)
    return np.asarray(powers / powers.sum(1, keepdims=True))


def log_loss(truth: NDArray[np.int64], probabilities: Floats) -> float:
    """In nats a step. truth: [n], indices of classes."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-12)).mean())


def fit_temperature(truth: NDArray[np.int64], probabilities: Floats) -> float:
    """The temperature between 0.05 and 20 with the least log loss."""
    low, high = np.log(0.05), np.log(20.0)
    for _ in range(4):  # the loss has one minimum in the log temperature: zoom in on it
        grid = np.linspace(low, high, 33)
        losses = [log_loss(truth, at_temperature(probabilities, float(np.exp(t)))) for t in grid]
        best = int(np.argmin(losses))
        low, high = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
    return float(np.exp((low + high) / 2))


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
    layout: Layout, records: Sequence[LabelledSolution], judgements: Sequence[Sequence[Judgement]]
) -> tuple[Layout, list[str]]:
    """The layout with what was fitted, and what to say of it.

    judgements: by `layout` as it is; a temperature that it has already is taken into account.
    """
    neutral = "neutral" in layout.labels
    steps, _ = tabulate(records, judgements, neutral)
    raw = at_temperature(steps.probabilities, 1 / layout.temperature)
    temperature = fit_temperature(steps.truth, raw)
    fitted = replace(steps, probabilities=at_temperature(raw, temperature))
    reject = fit_reject(fitted.truth == 0, fitted.probabilities[:, 0])
    calibrated = replace(
        layout, temperature=temperature, reject=reject if neutral else None,
        accept=None if neutral else 1 - reject,
    )
    said = [
        f"{len(steps.truth):,} steps of {steps.n_problems:,} problems",
        f"temperature {layout.temperature:.3f} -> {temperature:.3f}",
        f"log loss {_loss(steps):.4f} -> {_loss(fitted):.4f}, ECE {_ece(steps):.4f} -> {_ece(fitted):.4f}",
        f"{'reject' if neutral else 'accept'} {reject if neutral else 1 - reject:.4f}",
    ]
    return calibrated, said


def _loss(steps: Steps) -> float:
    return log_loss(steps.truth, steps.probabilities)


def _ece(steps: Steps) -> float:
    return metrics.calibration(steps, np.ones(len(steps.truth)))["ece"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prm.calibrate", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--prm", required=True, metavar="DIR", help="a checkpoint; its prm.json is written")
    add("--data", nargs="+", required=True, metavar="SPEC", help=f"validation data. {HELP}")
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
        scorer = load_scorer(asked.prm, asked.engine, asked.dtype)()
        try:
            judged = judge(scorer, records, kept)
        finally:
            if (shutdown := getattr(scorer, "shutdown", None)) is not None:
                shutdown()
    fitted, said = calibrate(layout, [records[i] for i in judged], list(judged.values()))
    save_layout(fitted, Path(asked.prm))
    print("\n".join([*said, f"{len(records) - len(judged)} solutions could not be judged"]))


if __name__ == "__main__":
    command.run(main)
