"""python -m bench.diagnose TRACE_OR_FOLDER: why a recorded search does not solve more problems.

Takes a trace (runs/NAME/hgs.jsonl), the folder of a run, or a grid of python -m bench.run, and loads no
model. Of each strategy: what the candidates in its trees would allow (pass@N) and how much the choice loses,
how well the reward model ranks, where the search went back, which limits it reached, what it cost, and for
each problem that it did not solve, why.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report.diagnosed import diagnoses, graders_of
from bench.report.diagnosis import Diagnosis, diagnose
from bench.report.diagnosis_text import LISTED, diagnosis_lines
from bench.report.grid import ASKED, read_grid
from bench.report.recorded import is_trace, read_trace
from bench.report.sides import BASELINE, Graders
from bench.report.summary import Summary
from bench.runner.cli.tracked import tracked
from bench.runner.replaying import replayed_summary
from search.command import exit_code
from search.errors import UsageError


@dataclass(frozen=True, slots=True)
class DiagnoseRequest:
    """source: a trace, or a folder. all: list every problem that was lost."""

    source: Path
    all: bool
    json: bool


@dataclass(frozen=True, slots=True)
class _Run:
    """A trace and its results."""

    trace: Path
    summary: Summary


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: _run(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> DiagnoseRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.diagnose", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("source", metavar="TRACE_OR_FOLDER", type=Path)
    add("--all", action="store_true", help=f"list every problem that was lost (default: {LISTED})")
    add("--json", action="store_true", help="print one JSON object, of a folder a list")
    return DiagnoseRequest(**vars(parser.parse_args(arguments)))


def _run(request: DiagnoseRequest) -> None:
    found = _of_grid(request.source) if (request.source / ASKED).exists() else _of_traces(request.source)
    rows = []
    for number, (where, diagnosis) in enumerate(found):
        if request.json:
            rows.append({**where, **diagnosis.as_json()})
            continue
        budget = f" at {where['budget']}" if "budget" in where else ""
        head, *lines = diagnosis_lines(diagnosis, listed=len(diagnosis.losses) if request.all else LISTED)
        print("\n".join([*([""] if number else []), f"{head}{budget}", *lines]), flush=True)
    if request.json:
        print(json.dumps(rows if request.source.is_dir() else rows[0], indent=1))


def _of_grid(folder: Path) -> Iterator[tuple[dict[str, str], Diagnosis]]:
    grid = read_grid(folder)
    for (_, budget), diagnosis in diagnoses(grid, graders_of(grid)):
        yield {"budget": budget}, diagnosis


def _of_traces(source: Path) -> Iterator[tuple[dict[str, str], Diagnosis]]:
    traces = sorted(filter(is_trace, source.glob("*.jsonl"))) if source.is_dir() else [source]
    if not traces:
        raise UsageError(f"{source} holds no trace of a run")
    cells = list[_Run]()
    for trace in tracked(traces, "reading traces"):
        run = read_trace(trace)
        if source.is_dir() and all(tree.chosen is None for tree in run.trees.values()):
            print(f"note: {trace} is left out: no problem is at its end", file=sys.stderr)
            continue
        cells.append(_Run(trace, replayed_summary(run, Graders(run))))
        if without := sum(tree.chosen is None for tree in run.trees.values()):
            print(f"note: {trace}: {without:,} problems have no answer and are left out", file=sys.stderr)
    if not cells:
        raise UsageError(f"{source}: no problem is at its end in any of its traces")
    greedy = [cell for cell in cells if cell.summary.strategy == BASELINE]
    for cell in cells:
        yield {}, diagnose([cell], baseline=greedy)
