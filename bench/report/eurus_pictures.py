"""The pictures of `python -m bench.eurus`: success by turn and by round, rewards over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report.curves import MARKERS, OKABE_ITO
from prm.training.rewards import RIGHT, WRONG, Curve, held_out_rewards
from prm.tuning.tune import reward_curves

History = Sequence[Mapping[str, Any]]


def draw_turns(shares: Mapping[str, Sequence[float]], path: Path) -> None:
    """Accuracy by turn, a line for each policy. shares: in [0, 1], by policy, [turns]."""
    _draw_lines(shares, 1, "turn", path)


def draw_rounds(shares: Mapping[str, Sequence[float]], path: Path) -> None:
    """Accuracy by round, from 0, a line for each way to search. shares: in [0, 1], [rounds]."""
    _draw_lines(shares, 0, "round", path)


def draw_tuning(histories: Mapping[str, History], path: Path) -> None:
    """The rewards that tuning gives right and wrong actions, a panel for each policy."""
    curves = {name: reward_curves(history) for name, history in histories.items()}
    _draw_panels(curves, "reward, beta log(p / reference)", path)


def draw_reward_models(histories: Mapping[str, History], path: Path) -> None:
    """Mean and spread of the rewards of held-out right and wrong actions, a panel for each reward model."""
    _draw_panels({name: held_out_rewards(history) for name, history in histories.items()}, "reward", path)


def _draw_lines(shares: Mapping[str, Sequence[float]], first: int, label: str, path: Path) -> None:
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(7, 4), constrained_layout=True)
    for number, (name, values) in enumerate(shares.items()):
        lap, colour = divmod(number, len(OKABE_ITO))
        axes.plot(
            range(first, first + len(values)), [100 * value for value in values], label=name,
            color=OKABE_ITO[colour], marker=MARKERS[colour], linestyle="--" if lap else "-",
        )  # fmt: skip
    axes.set(xlabel=label, ylabel="accuracy, %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def _draw_panels(panels: Mapping[str, Sequence[Curve]], unit: str, path: Path) -> None:
    plt = _pyplot()
    figure, row = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.2), squeeze=False, constrained_layout=True
    )
    for axes, (name, curves) in zip(row[0], panels.items(), strict=True):
        axes.axhline(0, color="0.6", linewidth=0.8)
        for curve in curves:
            colour, line = RIGHT if curve.is_right else WRONG
            style = "" if curve.marker and not curve.spreads else line
            axes.plot(
                curve.steps, curve.means, color=colour, linestyle=style, marker=curve.marker,
                label=curve.label,
            )  # fmt: skip
            if curve.spreads:
                low = [mean - spread for mean, spread in zip(curve.means, curve.spreads, strict=True)]
                high = [mean + spread for mean, spread in zip(curve.means, curve.spreads, strict=True)]
                axes.fill_between(curve.steps, low, high, color=colour, alpha=0.15, lw=0)
        axes.set(title=name, xlabel="step")
    row[0][0].set_ylabel(unit)
    row[0][-1].legend(fontsize=7)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
