"""Rewards of right and wrong solutions over training: measured on held-out pairs, and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prm.training.card import Picture

RIGHT, WRONG = ("#0072b2", "-"), ("#d55e00", "--")
"""Colour and line: of Okabe and Ito's palette, and told apart in grey, too."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Mean rewards over training. steps, means: [n]. spreads: standard deviations, [n], or none.

    marker: of each point, as matplotlib has it; without spreads, such points are not joined.
    """

    label: str
    steps: Sequence[int]
    means: Sequence[float]
    spreads: Sequence[float] = ()
    is_right: bool = True
    marker: str = ""


def pair_metrics(prediction: Any) -> dict[str, float]:
    """Accuracy on held-out pairs, and the mean and spread of their rewards, as the trainer logs them.

    prediction: transformers' EvalPrediction; its predictions are the rewards of the chosen and the rejected
        solutions, [pairs, 2]. Equal rewards count one half.
    """
    rewards: NDArray[np.float64] = np.asarray(prediction.predictions, np.float64)
    chosen, rejected = rewards.T
    return {
        "accuracy": float(np.mean((chosen > rejected) + 0.5 * (chosen == rejected))),
        "chosen_mean": float(chosen.mean()), "chosen_std": float(chosen.std()),
        "rejected_mean": float(rejected.mean()), "rejected_std": float(rejected.std()),
    }  # fmt: skip


def held_out_rewards(history: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """The curves of what `pair_metrics` measured. history: the trainer's log."""
    rows = [row for row in history if "eval_chosen_mean" in row]
    steps = [row["step"] for row in rows]
    return [
        Curve(
            label, steps, [row[f"eval_{side}_mean"] for row in rows],
            [row[f"eval_{side}_std"] for row in rows], side == "chosen", marker,
        )
        for label, side, marker in (("right", "chosen", "o"), ("wrong", "rejected", "x"))
    ]  # fmt: skip


def draw_rewards(curves: Sequence[Curve], unit: str, out: Path) -> Picture:
    """Draw rewards.png into a folder; bands are one standard deviation wide on each side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), constrained_layout=True)
    axes.axhline(0, color="0.6", linewidth=0.8)
    for curve in curves:
        colour, line = RIGHT if curve.is_right else WRONG
        line = "" if curve.marker and not curve.spreads else line
        (drawn,) = axes.plot(curve.steps, curve.means, color=colour, label=curve.label)
        drawn.set(linestyle=line, marker=curve.marker)
        if curve.spreads:
            means, spreads = np.array(curve.means), np.array(curve.spreads)
            axes.fill_between(curve.steps, means - spreads, means + spreads, color=colour, alpha=0.15, lw=0)
    axes.set(xlabel="step", ylabel=unit)
    axes.legend()
    figure.savefig(out / "rewards.png", dpi=120)
    plt.close(figure)
    return Picture("Rewards", "rewards.png")
