"""python -m bench.mbpp_prm: a reward model for code, from MBPP and its mutants to the report.

Stages, each kept in --work and resumed if it was interrupted:
  labels  mutates the reference solutions of MBPP's training and test split and labels their steps by the
          tests (`mutation.build`), once with every kind of failure, once with failed assertions alone
  text    gathers programs: functions of Python's standard library, and the right solutions among the labels
  base    makes a tokenizer and a small Llama with random weights
  sft     trains it on the text
  prm     trains a 3-class head, and all weights below, on either set of labels
  report  measures both on the test split, beside baselines
With --base MODEL the stages text, base and sft are left out: it trains LoRA and a head on a pretrained model.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.experiments.mbpp_prm import MbppRequest, run
from bench.recipe_options import recipe_parser
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> MbppRequest:
    parser = recipe_parser("bench.mbpp_prm", __doc__, MbppRequest)
    return MbppRequest(**vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run(_request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
