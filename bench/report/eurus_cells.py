"""Cells of the tables of `python -m bench.eurus`, and what they are read from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.report.markdown import interval, paired, percent
from bench.report.resampling import bootstrap
from bench.report.stats import Paired, mcnemar, wilson
from bench.report.summary import Summary


def share_at(summary: Summary, turn: int) -> float:
    """The share of problems that are right at a turn, from 1."""
    return sum(g.right_at(turn) for g in summary.graded) / len(summary.graded)


def share_right(summary: Summary) -> float:
    """The share of problems that are right: of episodes, at the first turn."""
    return summary.correct / len(summary.graded) if not summary.right_by_turn else share_at(summary, 1)


def right_at(summary: Summary, turn: int) -> str:
    """A cell: the share of problems that are right at a turn, and its interval."""
    right, n = sum(g.right_at(turn) for g in summary.graded), len(summary.graded)
    return f"{percent(right / n)} {interval(wilson(right, n))}"


def accuracy(summary: Summary) -> str:
    """A cell: the share of problems that are right, and its interval."""
    right, n = summary.correct, len(summary.graded)
    return f"{percent(right / n)} {interval(wilson(right, n))}"


def against(ours: Summary, theirs: Summary, turn: int) -> str:
    """A cell: the paired difference of two policies at a turn."""
    return paired(asdict(mcnemar_at(ours, theirs, turn)))


def mcnemar_at(ours: Summary, theirs: Summary, turn: int) -> Paired:
    """The paired difference of two policies' right problems at a turn."""
    return mcnemar(right_by_problem(ours, turn), right_by_problem(theirs, turn))


def compared(ours: Summary, theirs: Summary) -> str:
    """A cell: the paired difference of two policies, of episodes at the first turn."""
    return against(ours, theirs, 1) if ours.right_by_turn else paired(asdict(ours.against(theirs)))


def right_by_problem(summary: Summary, turn: int) -> list[bool]:
    """By problem, in the order of their ids."""
    ordered = sorted(summary.graded, key=lambda graded: graded.outcome.problem.id)
    return [graded.right_at(turn) for graded in ordered]


def measure(of: tuple[float, float, float]) -> str:
    """A cell. of: a value and its interval."""
    value, low, high = of
    return f"{percent(value)} {interval((low, high))}"


def gain(differences: Any) -> str:
    """The mean of the differences at the largest N, in points, with its interval."""
    values = differences[:, -1].tolist()
    low, high = bootstrap(values)
    return f"{100 * sum(values) / len(values):+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def metrics_of(folder: Path) -> dict[str, Any]:
    """What a training run wrote beside its card: command, counts of the data, metrics, history."""
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def pairs_of(folder: Path) -> int:
    """How many pairs a policy was tuned on."""
    return int(metrics_of(folder)["data"]["train"].get("pairs", 0))


def lines_of(path: Path) -> list[str]:
    """The lines of a file of JSON lines."""
    with path.open(encoding="utf-8") as lines:  # splitlines() would cut within texts
        return list(lines)


def pairs_by_turn(folder: Path) -> dict[int, int]:
    """How many pairs a folder of trees holds, by turn."""
    counts = dict[int, int]()
    for line in lines_of(folder / "pairs.jsonl"):
        turn = int(json.loads(line)["id"].rpartition("_")[2])
        counts[turn] = counts.get(turn, 0) + 1
    return counts
