"""python -m bench.tree_training: the cost of training on trees of records, against single records.

The first problems of --data are laid out in three ways that have the same labels and the same loss: one
sequence per record; trees, with PyTorch's masked attention; and trees, with attention that skips what the
mask hides (`prm.training.attention`). Each is passed forward and backward once per round, without changing a
weight. The layouts take turns for --rounds rounds, and the fastest round of each counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.experiments.tree_training import TreeTrainingRequest, run
from prm.command_line import defaults
from prm.data import HELP
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> TreeTrainingRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.tree_training", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--data", required=True, metavar="SPEC", help=HELP)
    add("--base", required=True, metavar="MODEL", help="a language model, path or hub id")
    add("--problems", type=int, metavar="N", help="use the first N problems of the data (%(default)s)")
    add("--tokens", type=int, help="largest tree (%(default)s)")
    add("--batch", type=int, help="trees per batch; single records fill as many tokens (%(default)s)")
    add("--rounds", type=int, help="times that each layout is measured (%(default)s)")
    parser.set_defaults(**defaults(TreeTrainingRequest))
    return TreeTrainingRequest(**vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
