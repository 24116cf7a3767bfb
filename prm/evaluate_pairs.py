"""python -m prm.evaluate_pairs: how often a reward model puts the right solution above the wrong one.

Writes report.md and report.json to --out, with the scores, which are reused if the evaluation is interrupted
and started again. Accuracies are by data set and, for RewardBench, by subset and section. Intervals are 95 %,
from a bootstrap over problems. A tie counts one half; a pair that cannot be scored is left out and counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prm.command_line import defaults
from prm.evaluation.pairs import PairRequest, evaluate_pairs
from search.command import exit_code


def request_from(arguments: Sequence[str] | None = None) -> PairRequest:
    """The request that a command line makes. Exits if it cannot be parsed."""
    parser = argparse.ArgumentParser(
        prog="python -m prm.evaluate_pairs", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--prm", required=True, metavar="MODEL",
        help="a zoo model, NAME=PATH, specification, checkpoint, ensemble, or builtin")  # fmt: skip
    add("--data", required=True, metavar="SPEC",
        help="pairs:FILE (UltraInteract's rows, or TRL's: prompt, chosen, rejected) or rewardbench:FILE; "
        "also a data set on the hub")  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the report and the scores")
    add("--limit", type=int, metavar="N", help="use the first N pairs (all)")
    add("--engine", choices=("hf", "vllm"), help="what runs the model (%(default)s)")
    add("--dtype", help="precision (as stored; float32 on a CPU without bfloat16)")
    parser.set_defaults(**defaults(PairRequest))
    return PairRequest(**vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: print(evaluate_pairs(request_from(arguments)).describe()))


if __name__ == "__main__":
    sys.exit(main())
