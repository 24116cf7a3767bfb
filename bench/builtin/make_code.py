"""python -m bench.builtin.make_code: train the code task's policy and reward models, and compare them.

The stages are run in order. Their results are kept in --work, and a finished stage is not repeated.
  policy    trains a small Llama on questions with their programs until it solves half of the validation
            problems
  backbone  trains a deeper one, for longer
  mutants   mutates and rewords reference programs and labels them by their tests
  samples   samples programs from the policy and labels them
  mutation, own, mix, reworded
            each build a 3-class reward model on the frozen backbone and train it on the same number of
            labelled programs: mutants, the policy's programs, half of each, or mutants and rewordings
  compare   measures their accuracy and decodes with the first three
The policy and the reward model of the stage `mutation` are written to --out, all others to --work.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.builtin.code_recipe import STAGES
from bench.builtin.make_options import make_request
from bench.builtin.stages import MakeRequest, run_stages
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> MakeRequest:
    return make_request("bench.builtin.make_code", __doc__, STAGES, Path("runs/builtin-code"), arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run_stages(STAGES, _request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
