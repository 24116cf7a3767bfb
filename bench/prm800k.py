"""python -m bench.prm800k: a reward model on PRM800K, from the raw files to the report.

Stages, each kept in a folder of --work and resumed if it was interrupted:
  text       gathers training text: GSM8K's training solutions, MATH's outside MATH-500, PRM800K's right paths
  base       makes a tokenizer of the text and --members small Llamas with random weights
  sft        trains them on the text
  corrupted  trains 3-class heads, and all weights below, to tell the text's steps from corrupted ones
  phase2     continues with the labels of phase 2
  prm        continues with 10, 30 and 100 % of the labels of phase 1, averages the members' scores and
             calibrates them on validation problems
  report     measures these reward models on the test part of phase 1 and on ProcessBench, beside baselines
With --base MODEL there are no stages before prm: LoRA and a head are trained on a pretrained model, with the
labels of both phases at once.
Nothing is trained on a problem of an evaluation set.

--data DIR is searched for phase1_train.jsonl, phase1_test.jsonl, phase2_train.jsonl (as released by OpenAI
or regrouped), phase2_train_*_decoded.jsonl, gsm8k/train.jsonl, math/test.jsonl and processbench/*.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.experiments.prm800k import Prm800kRequest, run
from bench.recipe_options import recipe_parser
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> Prm800kRequest:
    parser = recipe_parser("bench.prm800k", __doc__, Prm800kRequest)
    parser.add_argument(
        "--adapter", type=Path, metavar="DIR",
        help="with --base: also write the adapter of the last reward model here, in bfloat16, calibrated",
    )  # fmt: skip
    return Prm800kRequest(**vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
