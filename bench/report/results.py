"""The results of one strategy by problem, in a file beside its trace.

A trace has no grades, no times and not every event. With this file, results are read without models and
without grading. It is made again from the trace by `python -m bench.run --replay`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.report.files import replace_text
from bench.report.summary import Allowance, Graded, Summary
from search.engine import Outcome
from search.errors import UsageError
from search.limits import Cost, Events
from search.types import Problem

SUFFIX = ".results.json"


def results_path(trace: Path) -> Path:
    """Where the results of the strategy with this trace are."""
    return trace.with_suffix(SUFFIX)


def write_results(
    path: Path, summary: Summary, problems: Sequence[Problem], machine: Mapping[str, Any]
) -> None:
    """Write results in one piece, so that a kill leaves none or all of them.

    problems: in whose order they are written. machine: what the strategy ran on.
    """
    graded = {g.outcome.problem.id: g for g in summary.graded}
    rows = [_row(graded[problem.id]) for problem in problems if problem.id in graded]
    given = summary.allowance
    head = {
        "strategy": summary.strategy, "params": summary.params, "task": summary.task, "seed": summary.seed,
        "policy": summary.policy, "prm": summary.prm, "revision": summary.revision,
        "seconds": round(summary.seconds, 3), "allowance": None if given is None else asdict(given),
        "machine": dict(machine),
    }  # fmt: skip
    # One line for each problem: readable, and small.
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    text = f'{json.dumps(head, ensure_ascii=False)[:-1]}, "problems": [\n{lines}\n]}}\n'
    replace_text(path, text)


def read_results(path: Path, problems: Mapping[str, Problem]) -> tuple[Summary, dict[str, Any]]:
    """The results, without the steps of the solutions, and what they were run on. Raises UsageError."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        given = read["allowance"]
        if strange := [row["id"] for row in read["problems"] if row["id"] not in problems]:
            raise UsageError(f"{path} has the problem {strange[0]}, which the grid has not (any more)")
        summary = Summary(
            read["strategy"], read["params"], read["task"], read["seed"], read["policy"], read["prm"],
            read["revision"], read["seconds"], [_graded(row, problems) for row in read["problems"]],
            None if given is None else Allowance(**given),
        )
        return summary, read["machine"]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        fault = f"{type(error).__name__}: {error}"
        raise UsageError(f"{path}: not the results of a strategy ({fault})") from error


def _row(graded: Graded) -> dict[str, Any]:
    outcome = graded.outcome
    return {
        "id": outcome.problem.id, "correct": graded.correct, "group": graded.group,
        "fallback": graded.fallback, "answer": outcome.answer, "value": outcome.value,
        "finished": outcome.finished, "error": outcome.error, "seconds": round(outcome.seconds, 3),
        "cost": _nonzero(outcome.cost), "events": _nonzero(outcome.events),
        **({"turns": list(graded.turns)} if graded.turns else {}),
    }  # fmt: skip


def _graded(row: Mapping[str, Any], problems: Mapping[str, Problem]) -> Graded:
    outcome = Outcome(
        problems[row["id"]], (), row["answer"], row["value"], Cost(**row["cost"]), Events(**row["events"]),
        row["seconds"], row["error"], row["finished"],
    )
    return Graded(outcome, row["correct"], row["group"], row["fallback"], tuple(row.get("turns", ())))


def _nonzero(counts: Cost | Events) -> dict[str, int]:
    return {name: count for name, count in asdict(counts).items() if count}
