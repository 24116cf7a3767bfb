"""python -m bench.latency: how long a search takes, and how much sooner it ends when it draws ahead.

The built-in models solve the same problems greedily, by the strategy, and by the strategy with
`--speculate auto`, several problems at a time. Prints seconds, seconds of a problem, tokens, how long calls
to the policy, to both models and to the reward model are in flight, and whether the answers are the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.experiments.latency import LatencyRequest, measure
from search.command import exit_code
from search.params import make_strategy


def _request(arguments: Sequence[str] | None) -> LatencyRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.latency", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--strategy", default="hgs", help="default: %(default)s")
    add("--limit", metavar="N", type=int, default=40, help="number of problems (default: %(default)s)")
    add("--concurrency", metavar="N", type=int, nargs="+", default=[1, 8, 64],
        help="problems at a time (default: 1 8 64)")  # fmt: skip
    add("--json", metavar="PATH", type=Path, help="also write the figures there")
    args = parser.parse_args(arguments)
    return LatencyRequest(
        strategy=make_strategy(args.strategy), limit=args.limit, concurrency=tuple(args.concurrency),
        json=args.json,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: measure(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
