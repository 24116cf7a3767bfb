"""python -m bench.prm_cache: reward-model tokens computed, relative to the trees' distinct tokens.

1.0 means that each token of the trees was computed once. HGS-PRM runs on the built-in problems, and its trees
are recorded. Then each scorer is asked for the same scores in the same order. Prints one JSON object per
scorer: transformers with the tree cache, vLLM with several sizes of cache blocks, and vLLM without a cache.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.experiments.prm_cache import CacheRequest, run
from prm.command_line import defaults, field_values
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> CacheRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.prm_cache", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--limit", metavar="N", type=int, help="number of problems (%(default)s)")
    add("--blocks", metavar="N", type=int, nargs="+", help="sizes of vLLM's cache blocks (32 64 128)")
    add("--json", metavar="PATH", type=Path, help="also write the figures there")
    parser.set_defaults(**defaults(CacheRequest))
    return CacheRequest(**field_values(vars(parser.parse_args(arguments))))


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
