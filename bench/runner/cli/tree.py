"""python -m bench.tree TRACE --problem ID: draw the search tree of one problem.

TRACE is the trace of a strategy (runs/NAME/hgs.jsonl). The chosen path runs straight down, and what was tried
instead of a step is indented above it: rejected steps, duplicates, failures, and steps that the search went
back from. Large trees are folded, farthest from the chosen path first.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report.outline import MOST_LINES, outline
from bench.report.recorded import read_trace
from bench.report.tree_svg import tree_svg
from bench.report.tree_text import tree_text
from search.command import exit_code
from search.errors import UsageError
from search.params import nearest
from search.terminal import widened


@dataclass(frozen=True, slots=True)
class TreeRequest:
    """svg: also write a picture there. all: fold nothing."""

    trace: Path
    problem: str | None
    svg: Path | None
    all: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: _run(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> TreeRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.tree", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("trace", metavar="TRACE", type=Path)
    add("--problem", metavar="ID", help="the problem's id (default: list them)")
    add("--svg", metavar="FILE", type=Path, help="also write the tree as a picture")
    add("--all", action="store_true", help=f"fold nothing (default: fold beyond {MOST_LINES} steps)")
    return TreeRequest(**vars(parser.parse_args(arguments)))


def _run(request: TreeRequest) -> None:
    from rich.console import Console

    run = read_trace(request.trace)
    if request.problem is None:
        for name, tree in run.trees.items():
            print(f"{name}  {len(tree.visits):,} steps, {tree.cost.policy_tokens:,} policy tokens")
        return
    if request.problem not in run.trees:
        raise UsageError(
            f"{request.trace} has no problem {request.problem!r}{nearest(request.problem, run.trees)}"
        )
    drawn = outline(run, request.problem, most=None if request.all else MOST_LINES)
    console = widened(Console())
    console.print(tree_text(drawn, console.width), highlight=False, soft_wrap=True)
    if request.svg is not None:
        try:
            request.svg.write_text(tree_svg(drawn), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--svg: cannot write {request.svg}: {error.strerror}") from error
