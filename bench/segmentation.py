"""python -m bench.segmentation: which labelled steps a search would cut, and how long splitting takes.

For each data set: its steps that hold line ends, how many of them would be cut if every line end ended a
step, and how many are cut by the segmenter "newline". A step is counted in every record that it is part of.
Then, the time in which a policy splits one sampled solution into steps, by its length in tokens.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.experiments.segmentation import SegmentationRequest, run
from prm.command_line import defaults, field_values
from prm.data import HELP
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> SegmentationRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.segmentation", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--data", nargs="+", metavar="SPEC", help=f"{HELP} (none)")
    add("--tokens", nargs="+", type=int, metavar="N", help="lengths of the sampled solutions (%(default)s)")
    parser.set_defaults(**defaults(SegmentationRequest))
    return SegmentationRequest(**field_values(vars(parser.parse_args(arguments))))


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
