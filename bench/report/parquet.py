"""results.parquet: one record for each answer of a grid, as lm-evaluation-harness logs its samples.

A record says what was asked (`doc_id`, and hashes of the document, the prompt and the target), how it was
answered, what that cost, and what it was done with: models by the hash of their weights, versions, hardware.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.report.grid import Cell, Grid
from bench.report.summary import Graded
from search.errors import UsageError

MEASURED = ("seconds", "prompt_tokens", "prompt_tokens_cached", "prm_tokens", "prm_tokens_cached")
"""Columns that depend on time, or on what was in a cache. All others are the same for the same grid, on the
same hardware, however often it was interrupted."""


DIGITS = 6
"""Of values: the digits after these depend on what a reward model computed together."""


def write_parquet(grid: Grid, path: Path) -> int:
    """Write all records; returns how many. Raises UsageError if a trace has no configuration."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = [row for cell in grid.cells for row in _records(grid, cell)]
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    unfinished = path.with_name(f".{path.name}.unfinished")
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), unfinished, compression="zstd")
    os.replace(unfinished, path)
    return len(rows)


COLUMNS: Mapping[str, type] = {
    "doc_id": str, "doc_hash": str, "prompt_hash": str, "target_hash": str, "task": str, "group": str,
    "strategy": str, "params": str, "budget": str, "seed": int,
    "correct": bool, "answer": str, "reference": str, "fallback": bool, "ending": str, "error": str,
    "value": float,
    "policy_tokens": int, "policy_tokens_discarded": int, "total_tokens": int, "prompt_tokens": int,
    "prompt_tokens_cached": int, "prm_tokens": int, "prm_tokens_cached": int, "samples": int, "scores": int,
    "backtracks": int, "duplicates": int, "exhausted": int, "failed_candidates": int, "late": bool,
    "seconds": float,
    "policy": str, "policy_weights": str, "prm": str, "prm_weights": str, "engine": str, "dtype": str,
    "revision": str, "versions": str, "hardware": str,
}  # fmt: skip
"""Names and types. `params` and `versions` are JSON. `seconds` is null where a part was read from the trace:
the run had been interrupted."""


def _records(grid: Grid, cell: Cell) -> Iterator[dict[str, Any]]:
    config, summary = _config(cell.trace), cell.summary
    machine = dict(cell.machine)
    parts = [machine.pop(name, "") for name in ("cpu", "gpu")]
    hardware = ", ".join(part for part in parts if part and part != "none")
    shared = {
        "task": grid.task, "strategy": cell.strategy, "params": json.dumps(summary.params, sort_keys=True),
        "budget": cell.budget, "seed": cell.seed, "policy": summary.policy,
        "policy_weights": config.get("policy_weights"), "prm": config.get("prm"),
        "prm_weights": config.get("prm_weights"), "engine": config.get("engine"),
        "dtype": config.get("dtype"), "revision": summary.revision,
        "versions": json.dumps(machine, sort_keys=True), "hardware": hardware,
    }  # fmt: skip
    for graded in summary.graded:
        name = graded.outcome.problem.id
        yield {
            "doc_id": name, "reference": grid.references[name], **grid.hashes.get(name, {}), **shared,
            **_answered(graded),
        }  # fmt: skip


def _answered(graded: Graded) -> dict[str, Any]:
    outcome = graded.outcome
    cost, events = outcome.cost, outcome.events
    return {
        "group": graded.group, "correct": graded.correct, "answer": outcome.answer,
        "fallback": graded.fallback, "ending": graded.ending.value, "error": outcome.error,
        "value": None if outcome.value is None else round(outcome.value, DIGITS),
        "policy_tokens": cost.policy_tokens,
        "policy_tokens_discarded": cost.policy_tokens_discarded, "total_tokens": cost.total_tokens,
        "prompt_tokens": cost.prompt_tokens, "prompt_tokens_cached": cost.prompt_tokens_cached,
        "prm_tokens": cost.prm_tokens, "prm_tokens_cached": cost.prm_tokens_cached, "samples": cost.samples,
        "scores": cost.scores, "backtracks": events.backtracks, "duplicates": events.duplicates,
        "exhausted": events.exhausted, "failed_candidates": events.failed, "late": events.late > 0,
        "seconds": None if events.replayed else outcome.seconds,
    }  # fmt: skip


def _config(trace: Path) -> Mapping[str, Any]:
    """The configuration of a run, in the first line of its trace."""
    try:
        with trace.open("rb") as file:
            config: Mapping[str, Any] = json.loads(file.readline())["config"]
            return config
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{trace}: not the trace of a run ({type(error).__name__}: {error})") from error
