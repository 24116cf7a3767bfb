"""python -m bench.strategies: every strategy at 2, 4, 8, 16 and 32 times the cost of greedy decoding.

The built-in models on the built-in task, with greedy decoding and pass@N as bounds, and HGS at its default
against best-of-N at the same cost. Writes a page and, beside it, a picture. Interrupted, the same command
goes on where it stopped; what is finished is not run again.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.experiments.strategies import TIMES, StrategiesRequest, measure
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> StrategiesRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.strategies", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--limit", metavar="N", type=int, help="number of problems (default: 400; 6 with --quick)")
    add("--quick", action="store_true", help="few problems, two budgets: some minutes on 2 cores")
    add("--engine", metavar="NAME", help="vllm or hf (default: vllm if it is installed)")
    add("--out", metavar="DIR", type=Path, help="folder of the runs (default: runs/strategies[-quick])")
    add("--page", metavar="FILE", type=Path, default=Path("docs/results/strategies.md"),
        help="the page (default: %(default)s; with --quick, page.md in the folder of the runs)")  # fmt: skip
    words = list(sys.argv[1:] if arguments is None else arguments)
    args = parser.parse_args(words)
    out = args.out or Path("runs/strategies-quick" if args.quick else "runs/strategies")
    quick_page = args.quick and args.page == parser.get_default("page")
    return StrategiesRequest(
        limit=args.limit or (6 if args.quick else 400), times=(2, 8) if args.quick else TIMES, out=out,
        page=out / "page.md" if quick_page else args.page, engine=args.engine,
        command=shlex.join(["python", "-m", "bench.strategies", *words]),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: measure(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
