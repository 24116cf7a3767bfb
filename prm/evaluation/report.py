"""The report of an evaluation: Markdown for people, JSON for programs, and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from prm.evaluation.metrics import POSITIONS, position_name

STEP_COLUMNS = {
    "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "auc": "AUC", "ece": "ECE",
    "brier": "Brier", "prm_score": "PRMScore",
}  # fmt: skip
ERROR_COLUMNS = {
    "error": "first error located", "correct": "correct solutions passed", "f1": "F1", "accuracy": "accuracy",
}  # fmt: skip

Row = Mapping[str, Any]


def write(out: Path, results: Sequence[Row], command: str, notes: str = "") -> Path:
    """Write report.md, report.json, and reliability and AUC plots to `out`. Returns the path of report.md.

    results: a row for each model or baseline on each data set, from `evaluate_prms`.
    command: how to repeat the evaluation. notes: rows of the data that were left out.
    """
    written = {"command": command, "results": list(results)}
    (out / "report.json").write_text(json.dumps(written, indent=2) + "\n")
    lines = ["# Evaluation of reward models", "", "```", command, *([notes] if notes else []), "```", ""]
    if summary := _processbench(results):
        lines += ["## ProcessBench, F1", "", *summary, ""]
    for at, data in enumerate(_data_sets(results)):
        rows = [row for row in results if row["data"] == data]
        pictures = (f"reliability-{at}.png", f"position-{at}.png")
        _reliability(rows, out / pictures[0])
        _positions(rows, out / pictures[1])
        lines += [f"## {data}", "", *_section(rows), "", *(f"![]({name})" for name in pictures), ""]
    path = out / "report.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def figures(results: Sequence[Row]) -> list[str]:
    """The main figures of an evaluation, for the terminal."""
    lines = []
    for data in _data_sets(results):
        rows = [row for row in results if row["data"] == data]
        first = rows[0]
        lines.append(f"{data}: {first['solutions']:,} solutions, {first['steps']:,} steps")
        for row in rows:
            steps, errors = row["measures"]["steps"], row["measures"].get("first_error")
            parts = [f"balanced accuracy {_cell(steps['balanced_accuracy'])}", f"AUC {_cell(steps['auc'])}"]
            if errors:
                parts.append(f"first error F1 {_cell(errors['f1'])} (threshold {_threshold(row)})")
            lines.append(f"  {row['judge']}: {', '.join(parts)}")
    for name, f1 in _subsets(results).items():
        parts = [f"{subset} {_cell(value)}" for subset, value in f1.items()]
        lines.append(f"ProcessBench F1 of {name}: {', '.join(parts)}")
    return lines


def _data_sets(results: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["data"] for row in results))


def _subsets(results: Sequence[Row]) -> dict[str, Mapping[str, Sequence[float]]]:
    """By model, its F1 in each subset of ProcessBench and their mean."""
    return {row["judge"]: row["processbench"] for row in results if "processbench" in row}


def _processbench(results: Sequence[Row]) -> list[str]:
    """A table of the F1 in each subset and their mean; empty without ProcessBench."""
    by_model = _subsets(results)
    if not by_model:
        return []
    columns = list(next(iter(by_model.values())))
    lines = [f"| {' | '.join(['reward model', *columns])} |", "|---" * (len(columns) + 1) + "|"]
    for name, f1 in by_model.items():
        lines.append(f"| {' | '.join([name, *(_cell(f1[column]) for column in columns)])} |")
    return lines


def _section(rows: Sequence[Row]) -> list[str]:
    first = rows[0]
    lines = [
        f"{first['solutions']:,} solutions of {first['problems']:,} problems, {first['steps']:,} steps"
        + "".join(f"; {r['judge']}: {r['not_judged']} not scored" for r in rows if r["not_judged"])
        + ".", "",
        *_table(rows, "steps", STEP_COLUMNS), "",
        *_table(rows, "first_error", ERROR_COLUMNS, with_threshold=True), "",
    ]  # fmt: skip
    for row in rows:
        lines += [*_classes(row), ""]
    bias = [
        f"{row['judge']}: {_cell(row['measures']['steps']['length_with_value'])} with the value, "
        f"{_cell(row['measures']['steps']['length_with_truth'])} with the truth"
        for row in rows
    ]
    lines.append(f"Correlation of a step's log length: {'; '.join(bias)}.")
    return lines + _beaten(rows)


def _table(
    rows: Sequence[Row], group: str, columns: Mapping[str, str], with_threshold: bool = False
) -> list[str]:
    rows = [row for row in rows if group in row["measures"]]
    if not rows:
        return []
    names = ["reward model", *columns.values(), *(["threshold"] if with_threshold else [])]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in rows:
        cells = [row["judge"], *(_cell(row["measures"][group][name]) for name in columns)]
        lines.append(f"| {' | '.join([*cells, *([_threshold(row)] if with_threshold else [])])} |")
    return lines


def _threshold(row: Row) -> str:
    tuned = "" if row["threshold_from"] == "default" else f", best on {row['threshold_from']}"
    return f"{row['threshold']:.3g}{tuned}"


def _cell(number: Sequence[float]) -> str:
    value, low, high = number
    return f"{value:.3f} [{low:.3f}, {high:.3f}]" if isfinite(value) else "-"


def _classes(row: Row) -> list[str]:
    """Precision, recall and F1 by class, and how often each other class was predicted."""
    head = ["", "precision", "recall", "F1", *(f"predicted {name}" for name in row["classes"])]
    lines = [f"{row['judge']}:", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for at, name in enumerate(row["classes"]):
        numbers = [
            _cell(row["measures"]["steps"][f"{name}_{kind}"]) for kind in ("precision", "recall", "f1")
        ]
        predicted = [f"{n:,}" for n in row["confusion"][at]]
        lines.append(f"| {' | '.join([name, *numbers, *predicted])} |")
    return lines


def _beaten(rows: Sequence[Row]) -> list[str]:
    """By how much the balanced accuracy of each reward model exceeds the baselines'."""
    accuracy = {row["judge"]: row["measures"]["steps"]["balanced_accuracy"] for row in rows}
    lines = []
    for row in rows:
        sentences = []
        _, low, high = accuracy[row["judge"]]
        for name, gain in row.get("gains", {}).items():
            _, other_low, other_high = accuracy[name]
            apart = ", with disjoint intervals" if low > other_high or high < other_low else ""
            sentences.append(f"{_cell(gain)} above {name}{apart}")
        if sentences:
            lines += [
                "", f"In balanced accuracy, on the same problems, {row['judge']} is {'; '.join(sentences)}."
            ]  # fmt: skip
    return lines


def _reliability(rows: Sequence[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4.4, 4.2), constrained_layout=True)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for row in rows:
        axes.plot(row["reliability"]["said"], row["reliability"]["true"], marker=".", label=row["judge"])
    axes.set(xlabel="predicted P(not wrong)", ylabel="share not wrong", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _positions(rows: Sequence[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.4), constrained_layout=True)
    names = [position_name(low, high) for low, high in POSITIONS]
    for row in rows:
        steps = row["measures"]["steps"]
        points = [(at, steps[f"auc_{name}"]) for at, name in enumerate(names) if f"auc_{name}" in steps]
        at = [p for p, _ in points]
        values = [value for _, (value, _, _) in points]
        around = [[v - low for _, (v, low, _) in points], [high - v for _, (v, _, high) in points]]
        axes.errorbar(at, values, yerr=around, marker=".", capsize=2, label=row["judge"])
    axes.axhline(0.5, color="grey", linewidth=0.8)
    axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=7)
    axes.set(ylabel="AUC, wrong against not wrong")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)
