"""python -m bench.memory: does a long run's memory grow?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bench.experiments.memory import MemoryRequest, measure_rollouts, measure_run
from search.command import exit_code

DESCRIPTION = """
Run `cot`, and then label rollouts, with a fake policy over built-in problems, as search.run and prm.rollouts
do, each in a process of its own. Print the peak memory after the first problems and at the end.
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
    for name, measure in (("search.run", measure_run), ("prm.rollouts", measure_rollouts)):
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            growth = process.submit(measure, request).result()
        first, last = f"{growth.first_mib:,.0f} MiB", f"{growth.last_mib:,.0f} MiB"
        print(
            f"{name}: {first} after {request.first:,} problems, {last} after {request.problems:,}: "
            f"{growth.share:+.1%}"
        )


if __name__ == "__main__":
    sys.exit(main())
