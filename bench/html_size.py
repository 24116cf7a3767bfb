"""python -m bench.html_size: how fast does a large report.html open?

Makes traces of the built-in task (without a model), writes their report as bench.html does, and has Chromium
draw it, if there is one: the seconds that it takes longer than an empty page, on the clock and of the
processor.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.experiments.html_size import HtmlSizeRequest, measure
from search.command import exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: _print(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> HtmlSizeRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.html_size", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add, default = parser.add_argument, HtmlSizeRequest()
    for name, metavar, text in (
        ("problems", "N", "problems"), ("cells", "N", "strategies' traces"),
        ("solutions", "N", "solutions of a problem in each trace"),
    ):  # fmt: skip
        add(f"--{name}", metavar=metavar, type=int, default=getattr(default, name),
            help=f"{text} (default: %(default)s)")  # fmt: skip
    return HtmlSizeRequest(**vars(parser.parse_args(arguments)))


def _print(request: HtmlSizeRequest) -> None:
    result = measure(request)
    opened = "no Chromium is installed"
    if result.opened is not None:
        clock, processor = result.opened
        opened = f"opens in {clock:.2f} s, {processor:.2f} s of processor time"
    print(
        f"{request.problems:,} problems x {request.cells} cells: {result.traces_mb:,.0f} MB of traces, "
        f"report of {result.report_mb:,.1f} MB written in {result.written:,.0f} s; {opened}"
    )


if __name__ == "__main__":
    sys.exit(main())
