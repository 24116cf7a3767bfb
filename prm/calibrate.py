"""python -m prm.calibrate: calibrate a reward model's probabilities, and fit HGS's thresholds.

temperature, bias: logits are divided by the temperature, then the bias of each label is added. Both minimise
the log loss of the labels: bias-corrected temperature scaling (Alexandari et al., arXiv:1901.06852), or Platt
scaling for a model with one output.
--class-weights balanced weighs labels so that each class counts the same: the most probable class is then the
best guess for balanced accuracy, but probabilities no longer match frequencies.
reject (models with a neutral class): the least P(wrong) at which a step counts as wrong. accept (other
models): the least P(not wrong) at which it counts as right. Either is where the balanced accuracy of wrong
against not wrong is highest.
The results are written to prm.json. Use validation data; a test split is refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prm.data import HELP, STRICT_HELP
from prm.evaluation.calibrate import CalibrateRequest, calibrate_prm
from search.command import exit_code


def request_from(arguments: Sequence[str] | None = None) -> CalibrateRequest:
    """The request that a command line makes. Exits if it cannot be parsed."""
    parser = argparse.ArgumentParser(
        prog="python -m prm.calibrate", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--prm", required=True, metavar="DIR",
        help="a checkpoint, ensemble or bundled model, whose prm.json is written")  # fmt: skip
    add("--data", nargs="+", required=True, metavar="SPEC", help=f"validation data. {HELP}")
    add("--strict", action="store_true", help=STRICT_HELP)
    add("--class-weights", choices=("none", "balanced"), default="none",
        help="balanced: each class counts the same, see above (%(default)s)")  # fmt: skip
    add("--keep", type=Path, metavar="FILE",
        help="keep the scores in FILE, and reuse those of the same weights and data there")  # fmt: skip
    add("--engine", choices=("hf", "vllm"), default="hf", help="what runs the model (%(default)s)")
    add("--dtype", default="auto", help="precision (as stored; float32 on a CPU without bfloat16)")
    args = parser.parse_args(arguments)
    return CalibrateRequest(
        prm=args.prm, data=tuple(args.data), balanced=args.class_weights == "balanced", scores=args.keep,
        engine=args.engine, dtype=args.dtype, strict=args.strict,
    )  # fmt: skip


def _calibrate(request: CalibrateRequest) -> None:
    print("\n".join(calibrate_prm(request)))


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: _calibrate(request_from(arguments)))


if __name__ == "__main__":
    sys.exit(main())
