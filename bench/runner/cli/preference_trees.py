"""python -m prm.preference.show SOURCE: count preference data by task, data set and turn, and draw a tree.

SOURCE is a folder that prm.preference.collect or from_traces wrote, or FORMAT:WHERE. WHERE is a file (.jsonl,
.jsonl.gz, .json or .parquet) or OWNER/NAME on the hub. FORMAT is pairs or sft (UltraInteract's files),
ultrafeedback, ultrasafety, or binarized ({"prompt", "chosen", "rejected"}). Rows are streamed; those that
cannot be read are left out and counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report.preference_svg import preference_svg
from bench.report.preference_text import MOST_LINES, preference_text
from prm.data.left_out import LeftOut
from prm.preference.counts import Counts
from prm.preference.files import rows_of
from prm.preference.records import PairRow, SftRow, trees_of
from search.command import exit_code
from search.errors import UsageError
from search.terminal import widened

LISTED = 5
"""Trees that are named if none is asked for: the deepest ones."""


@dataclass(frozen=True, slots=True)
class ShowRequest:
    """id: of the tree to draw, or its beginning. svg: also write a picture there. all: cut no text."""

    source: str
    id: str | None
    svg: Path | None
    all: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: _run(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> ShowRequest:
    parser = argparse.ArgumentParser(
        prog="python -m prm.preference.show", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("source", metavar="SOURCE")
    add("--id", metavar="ID", help="draw this tree; the beginning of its id will do")
    add("--svg", metavar="FILE", type=Path, help="with --id: also write the tree as a picture")
    add("--all", action="store_true",
        help=f"with --id: show whole actions (default: {MOST_LINES} lines of each)")  # fmt: skip
    return ShowRequest(**vars(parser.parse_args(arguments)))


def _run(request: ShowRequest) -> None:
    if request.id is None and (request.svg is not None or request.all):
        raise UsageError("--svg and --all need --id: which tree is to be drawn?")
    left_out = LeftOut()
    pairs, sft = rows_of(request.source, left_out=left_out)
    if request.id is None:
        _count(pairs, sft)
    else:
        _draw(request, request.id, pairs, sft, left_out)
    if left_out:
        print(left_out.describe(), file=sys.stderr)


def _count(pairs: Iterable[PairRow], sft: Iterable[SftRow]) -> None:
    counts = Counts()
    deepest: dict[str, int] = {}
    for row in counts.paired(pairs):
        turn = len(row.trajectory) // 2 + 1
        if turn > deepest.get(row.id.tree, 0):
            deepest[row.id.tree] = turn
        if len(deepest) > 2 * LISTED:
            deepest = _first(deepest)
    for _ in counts.sft(sft):
        pass
    print(counts.describe())
    if deepest:
        print("\ndraw one by --id, for example")
        for name, turn in _first(deepest).items():
            print(f"{name[:16]}  pairs up to turn {turn}")


def _first(deepest: dict[str, int]) -> dict[str, int]:
    """The deepest trees, first ones first."""
    return dict(sorted(deepest.items(), key=lambda item: -item[1])[:LISTED])


def _draw(
    request: ShowRequest, id_: str, pairs: Iterable[PairRow], sft: Iterable[SftRow], left_out: LeftOut
) -> None:
    from rich.console import Console

    trees = list(
        trees_of(
            (row for row in pairs if row.id.tree.startswith(id_)),
            (row for row in sft if row.id.tree.startswith(id_)),
            left_out=left_out,
        )
    )
    if len(trees) != 1:
        what = f"{len(trees):,} trees begin" if trees else "no tree begins"
        raise UsageError(f"{request.source}: {what} with {id_}")
    console = widened(Console())
    drawn = preference_text(trees[0], console.width, most=None if request.all else MOST_LINES)
    console.print(drawn, highlight=False, soft_wrap=True)
    if request.svg is not None:
        try:
            request.svg.write_text(preference_svg(trees[0]), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--svg: cannot write {request.svg}: {error.strerror}") from error
