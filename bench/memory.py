"""python -m bench.memory: does a long run's memory grow?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.experiments.memory import MemoryRequest, measure_run
from search.command import exit_code

DESCRIPTION = """
Run `cot` with a fake policy over built-in problems, as search.run does, and print the peak memory after the
first problems and at the end.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: _print(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> MemoryRequest:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=DESCRIPTION)
    parser.add_argument("--problems", metavar="N", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument(
        "--first", metavar="N", type=int, default=1_000,
        help="problems after which memory is first looked at (default: %(default)s)",
    )  # fmt: skip
    args = parser.parse_args(arguments)
    return MemoryRequest(args.problems, args.first)


def _print(request: MemoryRequest) -> None:
    growth = measure_run(request)
    print(
        f"{growth.first_mib:,.0f} MiB after {request.first:,} problems, {growth.last_mib:,.0f} MiB after "
        f"{request.problems:,}: {growth.share:+.1%}"
    )


if __name__ == "__main__":
    sys.exit(main())
