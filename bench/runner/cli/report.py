"""What `python -m search.run` says at its end: tables, JSON, failures, and how to continue."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.report.summary import Summary
from bench.report.tables import closing_tables
from bench.runner.cli.options import CommandLine
from bench.runner.request import BASELINE, Run
from search.command import Exit
from search.errors import UsageError
from search.terminal import widened


def report(
    line: CommandLine, run: Run, summaries: Sequence[Summary], console: Console, notes: Console
) -> int:
    """Print the closing tables, write the JSON, name what failed. Returns the exit code."""
    baseline = next((s for s in summaries if s.strategy == BASELINE and s.params["temperature"] == 0), None)
    for part in closing_tables(summaries, baseline, widened(console).width):
        console.print(part, highlight=False)
    code = Exit.DONE
    for summary in summaries:
        failed = summary.failed
        if failed:
            first = f"{failed[0].problem.id}: {failed[0].error}"
            count = f"{len(failed)} of {len(summary.graded)} problems failed"
            say(notes, f"{summary.strategy}: {count}; the first, {first}", "red")
        if len(failed) == len(summary.graded):
            code = Exit.FAILED
    say(notes, f"recorded in {run.out}")
    if line.json is not None:
        _write_json(line.json, line, summaries, baseline)
    return code


def _write_json(
    path: Path, line: CommandLine, summaries: Sequence[Summary], baseline: Summary | None
) -> None:
    """One object for one strategy, the baseline inside it; a list for several."""
    command = {"command": command_line("search.run", *line.words)}
    rows = {summary.strategy: summary.as_json(baseline) | command for summary in summaries}
    written: Any = list(rows.values())
    if line.strategy in rows:
        written = rows[line.strategy]
        if baseline is not None and line.strategy != baseline.strategy:
            written["baseline"] = rows[baseline.strategy]
    try:
        path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--json: cannot write {path}: {error.strerror}") from error


def resume_command(run: Run) -> str:
    """The command that continues the run."""
    shard = run.request.shard
    if shard is None:
        return command_line("search.run", "--out", str(run.out), "--resume")
    return command_line("search.run", "--out", str(run.request.out), "--shard", str(shard), "--resume")


def command_line(module: str, *words: str) -> str:
    """A command as this one was started: by `python` if that is the same one."""
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    return shlex.join([python, "-m", module, *words])


def say(console: Console, text: str, style: str = "") -> None:
    """Print `text` as it is: paths and commands are neither wrapped nor coloured."""
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)
