"""python -m bench.merge OUT...: join the shares of a run into one, as if one machine had made it.

OUT is the --out of runs with --shard, or a folder that each of them had of its own. For every strategy, the
traces are joined: all problems in order, each with what its machine recorded. A problem that several traces
hold is taken once if they agree (one may be cut off), and refused if they do not. Problems that have no end
in any trace are named, and `python -m search.run --out OUT --resume` solves them. Without any, the same
command shows the results, and loads no model.

exit codes: 0 done; 1 problems are missing; 2 the traces are not of one run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.report.files import replace_text
from bench.runner.cli.display import counting
from bench.runner.cli.options import parse
from bench.runner.cli.recorded import COMMAND, command_text, read_command
from bench.runner.merging import Merged, folders_with_shards, merge, traces_in
from bench.runner.request import RunRequest
from search.command import Exit, exit_code
from search.errors import UsageError

NAMED = 10
"""Missing problems that are named."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.merge", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folders", metavar="OUT", type=Path, nargs="+", help="folders of runs")
    parser.add_argument("--out", metavar="DIR", type=Path,
                        help="folder of the merged run (default: OUT, if there is only one)")  # fmt: skip
    args = parser.parse_args(arguments)
    return exit_code(lambda: _run(args.folders, args.out))


def _run(folders: list[Path], out: Path | None) -> int:
    if out is None and len(folders) > 1:
        raise UsageError("several folders are merged into --out DIR")
    out = out or folders[0]
    parts = folders_with_shards(folders)
    words, request = _command(parts)
    problems = [problem.id for problem in request.load_problems()]
    names = dict.fromkeys(path.name for part in parts for path in traces_in(part))
    out.mkdir(parents=True, exist_ok=True)
    missing = False
    for name in names:
        paths = [part / name for part in parts if (part / name).exists()]
        with counting(Console(stderr=True), name, len(problems)) as progress:
            merged = merge(paths, problems, out / name, progress)
        print(_described(merged))
        missing = missing or bool(merged.unfinished)
    replace_text(out / COMMAND, command_text(words))
    print(f"{'solve them' if missing else 'results'}: python -m search.run --out {out} --resume")
    return Exit.FAILED if missing else Exit.DONE


def _command(parts: Sequence[Path]) -> tuple[list[str], RunRequest]:
    """The command of the whole run. Raises UsageError if the shares were not made by one."""
    found: tuple[list[str], RunRequest] | None = None
    for part in parts:
        words = whole_run(read_command(part))
        request = parse(words).request
        if found is None:
            found = words, request
        for option in ("task", "data", "limit"):
            mine, other = getattr(request, option), getattr(found[1], option)
            if mine != other:
                raise UsageError(f"{parts[0]} and {part} have other problems: --{option} {other} and {mine}")
    assert found is not None
    return found


def whole_run(words: Sequence[str]) -> list[str]:
    """The words of a command without those that say which share it made, and where."""
    kept, skipped = list[str](), False
    for word in words:
        if skipped:
            skipped = False
        elif word in ("--shard", "--out"):
            skipped = True
        elif word != "--resume" and not word.startswith(("--shard=", "--out=")):
            kept.append(word)
    return kept


def _described(merged: Merged) -> str:
    """In one line; in a second one, the problems that are missing."""
    done = merged.problems - len(merged.unfinished)
    traces = f"{merged.traces} trace{'' if merged.traces == 1 else 's'}"
    line = f"{merged.path}: {done:,} of {merged.problems:,} problems, from {traces}"
    if not merged.unfinished:
        return line
    more = len(merged.unfinished) - NAMED
    named = ", ".join(merged.unfinished[:NAMED]) + (f" and {more:,} more" if more > 0 else "")
    return f"{line}\nmissing: {named}"
