"""python -m bench.serve_load: many clients at once on a server, next to the same searches without HTTP.

Loads the models once. First solves the problems by `solve`, then starts the server on a free port of
127.0.0.1, in the same process, and has --clients ask it until --requests are answered or --seconds have
passed. Prints errors, answers that differ, throughput and its ratio, latencies, the growth of memory, and how
late requests with a deadline are answered.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.experiments.serve_load import LoadRequest, run
from prm.command_line import defaults
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> LoadRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.serve_load", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--strategy", metavar="NAME", help="which search (%(default)s)")
    add("--engine", metavar="NAME", help="vllm or hf (vllm if it is installed)")
    add("--clients", metavar="N", type=int, help="requests at a time (%(default)s)")
    add("--requests", metavar="N", type=int, help="requests in all (%(default)s)")
    add("--seconds", metavar="S", type=float,
        help="no request is begun after so many seconds (%(default)s)")  # fmt: skip
    add("--problems", metavar="N", type=int, help="different problems, asked in turn (%(default)s)")
    add("--deadline", metavar="S", type=float,
        help="deadline of the requests that measure how it is kept (%(default)s)")  # fmt: skip
    add("--json", metavar="PATH", type=Path, help="also write the figures there")
    parser.set_defaults(**defaults(LoadRequest))
    return LoadRequest(**vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
