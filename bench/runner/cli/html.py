"""python -m bench.html FOLDER: write report.html, a comparison with every search tree in it, as one file.

FOLDER is a grid of bench.run, or a run of search.run --out; no model is needed. The file opens from the
file system in a current browser and loads nothing from the network. It has the results in words, as a picture
and as tables, why problems are lost, and a list of problems to filter, each with the search trees of two
strategies beside each other.

Search trees are stored compressed, up to 100 MB in all. Beyond that, those of the last problems are left out;
the results stay whole, and the page says how to draw such a tree.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report.diagnosed import diagnosed
from bench.report.html import write_html
from bench.report.html.folder import read_folder
from search.command import exit_code
from search.errors import UsageError


@dataclass(frozen=True, slots=True)
class HtmlRequest:
    """out: the file; None is report.html in the folder."""

    folder: Path
    out: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: _run(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> HtmlRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.html", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path)
    add("--out", metavar="FILE", type=Path, help="default: report.html in FOLDER")
    return HtmlRequest(**vars(parser.parse_args(arguments)))


def _run(request: HtmlRequest) -> None:
    from rich.console import Console

    if not request.folder.is_dir():
        raise UsageError(f"there is no folder {request.folder}")
    out = request.out or request.folder / "report.html"
    if not out.parent.is_dir():
        raise UsageError(f"--out: there is no folder {out.parent}")
    with Console(stderr=True).status("reading") as status:
        report = diagnosed(read_folder(request.folder), lambda what: status.update(f"diagnosing {what}"))
        try:
            write_html(report, out, watch=status.update)
        except OSError as error:
            raise UsageError(f"cannot write {out}: {error.strerror}") from error
    print(f"{out}  {out.stat().st_size / 1e6:.1f} MB")
