"""python -m bench.builtin.make: train the built-in policy and reward models from scratch.

The stages are run in order. Their results are kept in --work, and a finished stage is not repeated.
  policy    trains a small Llama on worked solutions until it solves half of the validation problems
  backbone  trains a deeper one, for longer
  labels    samples solutions from the policy and labels every step with the exact checker
  exercise  builds a 3-class reward model on the frozen backbone and trains it on synthetic mistakes
  prm       trains it on half of the labels, searches with the result to find steps that it still scores
            wrongly, and trains it on those and the other half
  weak      trains a second reward model in the same way, but built on the policy itself, so that it knows
            no more than the model it scores
  card      measures everything on unseen problems and writes the model card
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.builtin.make_options import make_request
from bench.builtin.recipe import STAGES
from bench.builtin.stages import MakeRequest, run_stages
from search.command import exit_code


def _request(arguments: Sequence[str] | None) -> MakeRequest:
    return make_request("bench.builtin.make", __doc__, STAGES, Path("runs/builtin"), arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: run_stages(STAGES, _request(arguments)))


if __name__ == "__main__":
    sys.exit(main())
