"""python -m bench.throughput: the `cot` strategy through `solve`, compared with the engine asked directly.

Both sample solutions of the same problems with the same policy, prompts and sampling parameters, each with a
vLLM engine of its own on all cores, one after the other. Prints tokens per second of the fastest round of
each, their ratio, and how fast the engine is without seeds and without log-probabilities.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.experiments.throughput import ThroughputRequest, run
from prm.command_line import defaults
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> ThroughputRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.throughput", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--policy", metavar="PATH_OR_ID", help="a causal language model (the built-in one)")
    add("--limit", metavar="N", type=int, help="number of problems (%(default)s)")
    add("--temperature", metavar="T", type=float,
        help="sampling temperature; 0 is greedy (%(default)s)")  # fmt: skip
    add("--no-seeded", dest="seeded", action="store_false", help="do not seed the requests of either engine")
    add("--rounds", metavar="N", type=int, help="rounds per engine (%(default)s)")
    add("--json", metavar="PATH", type=Path, help="also write the figures there")
    add("--profile", action="store_true", help="profile the last round of `solve`")
    parser.set_defaults(**defaults(ThroughputRequest))
    return ThroughputRequest(**vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
