"""python -m prm.preference.from_traces TRACE ... --out DIR: preference trees from recorded searches.

TRACE is the trace of a strategy (runs/NAME/best_of_n.jsonl). A node of its search tree is right if all
finished solutions below it are right, and wrong if all of them are wrong; of a node without any, a step
checker may know that it is wrong. Where a right and a wrong node have the same parent, they make a pair, at
most one a level; the levels become the turns of a preference tree. Nodes of which nothing is known, or that
led to right and wrong answers, are left out and counted.

In a trace of episodes with verdicts (search.run --episodes python --verdicts), a node is an action with its
observation. A right and a wrong one after the same history make a pair, and the wrong one is expanded.

DIR gets sft.jsonl and pairs.jsonl, UltraInteract's files; augmented.jsonl, pairs across the turns of a
tree; and summary.json. Problems of evaluation sets are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.runner.preference_traces import FromTracesRequest, trees_from_traces
from search.command import exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: trees_from_traces(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> FromTracesRequest:
    parser = argparse.ArgumentParser(
        prog="python -m prm.preference.from_traces", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("traces", nargs="+", type=Path, metavar="TRACE")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files are written")
    args = parser.parse_args(arguments)
    return FromTracesRequest(tuple(args.traces), args.out)
