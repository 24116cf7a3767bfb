"""The model card and the loss plot of a training run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prm.training.adapter import FOLDER as ADAPTER

LIBRARIES = ("torch", "transformers", "accelerate", "peft", "trl")
MEASURED = ("accuracy", "chosen_mean", "chosen_std", "rejected_mean", "rejected_std")
"""Of held-out pairs, by `prm.training.rewards.pair_metrics`."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture beside the card, under a heading of its own."""

    heading: str
    file: str


def write_card(
    out: Path,
    settings: Mapping[str, Any],
    report: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    notes: str,
    command: str,
    *,
    title: str,
    pictures: Sequence[Picture] = (),
) -> None:
    """Write README.md, metrics.json and loss.png to `out`.

    settings: of the request. report: counts of the data. history: the trainer's log of losses.
    notes: the report of the split guard, rows left out, warnings. command: how to repeat the training.
    title: what was trained. pictures: more of them, which are there already.
    """
    losses = [(row["step"], row["loss"]) for row in history if "loss" in row]
    validation = [(row["step"], row["eval_loss"]) for row in history if "eval_loss" in row]
    metrics = {
        "steps": max((row["step"] for row in history), default=0),
        "train_loss": losses[-1][1] if losses else _mean_loss(history),
        "validation_loss": validation[-1][1] if validation else None,
        "best_validation_loss": min((loss for _, loss in validation), default=None),
        **_measured(history, settings.get("patience") is not None),
    }
    written = {
        "command": command, "run": settings, "data": report, "metrics": metrics, "history": list(history),
    }  # fmt: skip
    (out / "metrics.json").write_text(json.dumps(written, indent=2) + "\n")
    _plot(losses, validation, out / "loss.png")
    lines = [
        f"# {out.name}: {title}", "",
        "```", command, "```", "",
        f"Base: `{settings['base']}`. Libraries: {', '.join(_versions())}.", "",
        *(_of_adapter(settings) if settings["lora"] else ()),
        "## Loss", "", "| | |", "|---|---|",
        *(f"| {name.replace('_', ' ')} | {_shown(value)} |" for name, value in metrics.items()),
        "", "![loss](loss.png)", "",
        *(line for p in pictures for line in (f"## {p.heading}", "", f"![{p.heading}]({p.file})", "")),
        "## Data", "", "| | train | validation |", "|---|---|---|",
    ]  # fmt: skip
    train, validation_counts = report["train"], report["validation"]
    for name in sorted({**train, **validation_counts}):
        lines.append(f"| {name} | {train.get(name, 0):,} | {validation_counts.get(name, 0):,} |")
    if report.get("class_weights"):
        lines += ["", f"Class weights: {', '.join(f'{w:.3f}' for w in report['class_weights'])}."]
    lines += ["", "## Split guard and rows left out", "", "```", notes, "```"]
    lines += ["", "## Hyper-parameters", "", "| | |", "|---|---|"]
    others = ((name, value) for name, value in settings.items() if name not in ("form", "method", "base"))
    lines += [f"| {name} | {_shown(value)} |" for name, value in others]
    (out / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _of_adapter(settings: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"LoRA of rank {settings['lora']} is merged into these weights. The adapter by itself is in "
        f"[{ADAPTER}]({ADAPTER}/README.md), which stands for this folder wherever its base is at hand.",
        "",
    )


def _measured(history: Sequence[Mapping[str, Any]], best_is_kept: bool) -> dict[str, float]:
    """What was measured on held-out pairs with the weights that are kept.

    best_is_kept: whether these are of the best validation since training began; otherwise of the last.
    """
    rows = [row for row in history if "eval_accuracy" in row]
    kept: Mapping[str, Any] = rows[-1] if rows else {}
    if best_is_kept:
        kept = min((row for row in rows if row["step"] > 0), key=lambda row: row["eval_loss"], default=kept)
    return {f"held_out_{name}": kept[f"eval_{name}"] for name in MEASURED if f"eval_{name}" in kept}


def _mean_loss(history: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean over the whole run, which the trainer logs at its end."""
    return next((float(row["train_loss"]) for row in reversed(history) if "train_loss" in row), None)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " ".join(f"`{v}`" for v in value) or "none"
    return f"`{json.dumps(value, ensure_ascii=False)[1:-1]}`" if "\n" in str(value) else str(value)


def _versions() -> list[str]:
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return versions


def _plot(losses: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), constrained_layout=True)
    for points, label, marker in ((losses, "training", ""), (validation, "validation", "o")):
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker=marker)
    axes.set(xlabel="step", ylabel="loss (nats)")
    if losses or validation:
        axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
