"""The model card and the loss plot of a training run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "transformers", "accelerate", "peft")


def write_card(
    out: Path,
    run: Mapping[str, Any],
    report: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    dropped: str,
    ran: str,
) -> None:
    """Write README.md, metrics.json and loss.png to `out`.

    run: hyper-parameters. report: counts of the data. history: the trainer's, of losses by step.
    dropped: what the split guard said. ran: the command.
    """
    losses = [(row["step"], row["loss"]) for row in history if "loss" in row]
    validation = [(row["step"], row["eval_loss"]) for row in history if "eval_loss" in row]
    metrics = {
        "steps": max((row["step"] for row in history), default=0),
        "train_loss": losses[-1][1] if losses else None,
        "validation_loss": validation[-1][1] if validation else None,
        "best_validation_loss": min((loss for _, loss in validation), default=None),
    }
    said = {"command": ran, "run": run, "data": report, "metrics": metrics, "history": list(history)}
    (out / "metrics.json").write_text(json.dumps(said, indent=2) + "\n")
    _plot(losses, validation, out / "loss.png")
    lines = [
        f"# {out.name}: a reward model, form {run['form']}", "",
        "```", ran, "```", "",
        f"Base: `{run['base']}`. Libraries: {', '.join(_versions())}. How it is read: `prm.json`.", "",
        "## Loss", "", "| | |", "|---|---|",
        *(f"| {name.replace('_', ' ')} | {_shown(value)} |" for name, value in metrics.items()),
        "", "![loss](loss.png)", "", "## Data", "", "| | train | validation |", "|---|---|---|",
    ]  # fmt: skip
    train, kept = report["train"], report["validation"]
    for what in sorted({**train, **kept}):
        lines.append(f"| {what} | {train.get(what, 0):,} | {kept.get(what, 0):,} |")
    if report["class_weights"]:
        lines += ["", f"Class weights: {', '.join(f'{w:.3f}' for w in report['class_weights'])}."]
    lines += ["", "## Split guard", "", "```", dropped, "```"]
    lines += ["", "## Hyper-parameters", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_shown(value)} |" for name, value in run.items() if name not in ("form", "base")]
    (out / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " ".join(f"`{v}`" for v in value) or "none"
    return "`\\n`" if value == "\n" else str(value)


def _versions() -> list[str]:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


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
