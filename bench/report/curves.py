"""Accuracy against tokens, one line a method, for readers of all kinds of colour vision.

Colours are those of Okabe and Ito (2008). Markers and dashes tell apart what looks alike without colours.
Names stand in a legend beside the picture, in the order of the lines, so that no label covers another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OKABE_ITO = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True, slots=True)
class Curve:
    """points: (tokens of a problem, accuracy in [0, 1]), by tokens. style: a number that fixes the looks.

    is_bound: drawn as an upper bound, not as a method.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: int = 0
    is_bound: bool = False


def draw_curves(curves: Sequence[Curve], path: Path, *, level: tuple[str, float] | None = None) -> None:
    """Write the picture. Curves stand in the legend in their order.

    level: a name and an accuracy that is drawn as a horizontal line.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), dpi=150)
    for curve in curves:
        tokens, accuracies = zip(*curve.points, strict=True)
        per_cent = [100 * accuracy for accuracy in accuracies]
        if curve.is_bound:
            axes.plot(tokens, per_cent, color="0.6", linestyle=":", linewidth=2, label=curve.name)
            continue
        lap, colour = divmod(curve.style, len(OKABE_ITO))
        axes.plot(
            tokens, per_cent, color=OKABE_ITO[colour], marker=MARKERS[(colour + lap) % len(MARKERS)],
            linestyle="--" if lap else "-", markersize=5, linewidth=1.5, label=curve.name,
        )  # fmt: skip
    if level is not None:
        axes.axhline(100 * level[1], color="0.6", linewidth=1, label=level[0])
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.set_xlabel("total tokens per problem (log scale)")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
