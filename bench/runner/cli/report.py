"""What a run says at its end: the tables, the JSON, what failed, how to go on."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.report.summary import Summary, closing_tables
from bench.runner.cli.options import BASELINE
from bench.runner.request import Run
from search.errors import UsageError
from search.terminal import widened


def report(run: Run, summaries: Sequence[Summary], console: Console, notes: Console) -> int:
    """Print the closing tables, write the JSON, name what failed. Returns the exit code."""
    baseline = next((s for s in summaries if s.strategy == BASELINE and s.params["temperature"] == 0), None)
    for part in closing_tables(summaries, baseline, widened(console).width):
        console.print(part, highlight=False)
    code = 0
    for summary in summaries:
        failed = summary.failed
        if failed:
            first = f"{failed[0].problem.id}: {failed[0].error}"
            count = f"{len(failed)} of {len(summary.graded)} problems failed"
            say(notes, f"{summary.strategy}: {count}; the first, {first}", "red")
        if len(failed) == len(summary.graded):
            code = 1
    say(notes, f"recorded in {run.out}")
    if run.asked.json is not None:
        _write_json(run, summaries, baseline)
    return code


def _write_json(run: Run, summaries: Sequence[Summary], baseline: Summary | None) -> None:
    """One object for one strategy, the baseline inside it; a list for several."""
    command = {"command": _command(run.words)}
    rows = {summary.strategy: summary.as_json(baseline) | command for summary in summaries}
    written: Any = list(rows.values())
    if (asked := run.asked.strategy.strip()) in rows:
        written = rows[asked]
        if baseline is not None and asked != baseline.strategy:
            written["baseline"] = rows[baseline.strategy]
    path: Path = run.asked.json
    try:
        path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--json: cannot write {path}: {error.strerror}") from error


def resume_command(run: Run) -> str:
    """The command that goes on with the run."""
    kept = [word for word in run.words if word != "--resume"]
    if run.asked.out is None:
        kept += ["--out", str(run.out)]
    return _command([*kept, "--resume"])


def _command(words: Sequence[str]) -> str:
    """As this run was started: by `python` if that is the same one."""
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    return shlex.join([python, "-m", "search.run", *words])


def say(console: Console, text: str, style: str = "") -> None:
    """Print `text` as it is: paths and commands are neither wrapped nor coloured."""
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)
