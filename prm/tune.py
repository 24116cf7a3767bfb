"""python -m prm.tune: tune a policy on preference trees, with TRL.

Methods:
  sft   right actions, without the history they were sampled after, or with it (--history)
  dpo   pairs: right above wrong (Rafailov et al., arXiv:2305.18290)
  kto   both sides of pairs: right ones desirable, wrong ones not (Ethayarajh et al., arXiv:2402.01306)
  nca   pairs: right above the reference, wrong below it (Chen et al., arXiv:2402.05369)

Only the policy's own tokens bear loss: an action and the token that ends it. Instructions, observations,
critiques and earlier actions are read. Instructions that overlap an evaluation set are left out and counted.
After Ctrl-C or kill -9, the same command with --resume continues the run and ends with the same weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prm.command_line import defaults, field_values
from prm.tuning.request import METHODS, PREFERENCE_LR, SFT_LR, TuneRequest
from prm.tuning.tune import tune
from search.command import exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m prm.tune", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--method", choices=METHODS, required=True, help="how to tune, see above")
    add("--base", required=True, metavar="MODEL",
        help="the policy to start from: a path, a hub id, builtin, builtin-code, smollm2, gemma3-270m, or a "
        "GGUF file")  # fmt: skip
    add("--data", nargs="+", required=True, metavar="SPEC",
        help="folders of prm.preference.collect, or FORMAT:WHERE: pairs, sft (UltraInteract's files), "
        "ultrafeedback, ultrasafety or binarized, of a file or hub data set")  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the policy, its card and plots")
    add("--resume", action="store_true", help="continue the run in --out")
    add("--hold-out", dest="held_out", nargs="+", metavar="NAME=FILE",
        help="more evaluation problems to exclude from the data")  # fmt: skip
    add("--strict", action="store_true", help="refuse rows that cannot be used (they are left out)")
    add("--question-template", type=lambda text: text.replace("\\n", "\n"), metavar="TEXT",
        help="the text around an instruction, with {question} in it; \\n is a newline (the base's chat "
        "template, or what it was trained with)")  # fmt: skip
    add("--turns", type=int, metavar="N", help="use pairs of the first N turns only; 1: single-turn pairs "
        "(%(default)s)")  # fmt: skip
    add("--history", action="store_true", help="for sft: learn the right actions of pairs after the wrong "
        "ones and observations before them, so that the policy learns to read observations")  # fmt: skip
    add("--validation-share", type=float,
        help="share of the instructions to hold out and measure on (%(default)s)")  # fmt: skip
    add("--max-length", type=int, metavar="TOKENS",
        help="longest prompt and action; longer ones are dropped and counted (%(default)s)")  # fmt: skip
    add("--beta", type=float, help="strength of the reference, for pairs (%(default)s)")
    add("--desirable", type=float, metavar="WEIGHT",
        help="for kto: weight of right actions, where that of wrong ones is 1 (%(default)s)")  # fmt: skip
    add("--epochs", type=float, help="passes over the data (%(default)s)")
    add("--steps", type=int, help="stop after this many steps, whatever --epochs is")
    add("--batch", type=int, help="pairs (for sft, actions) per device and step (%(default)s)")
    add("--accumulate", type=int, help="batches whose gradients are accumulated for a step (%(default)s)")
    add("--lr", type=float,
        help=f"peak learning rate, followed by cosine decay ({SFT_LR:g} for sft, else {PREFERENCE_LR:g})")
    add("--weight-decay", type=float, help="not applied to biases and norms (%(default)s)")
    add("--warmup", type=float, help="warm-up: a share of the steps if below 1, else steps (%(default)s)")
    add("--lora", type=int, metavar="RANK", help="rank of LoRA; 0 trains all weights (%(default)s)")
    add("--bf16", action="store_true", help="compute in bfloat16; weights stay in float32")
    add("--gradient-checkpointing", action="store_true", help="less memory for a third more time")
    add("--every", type=int, metavar="STEPS", help="steps between validations and checkpoints (%(default)s)")
    add("--seed", type=int, help="seed of the order of the data, and of LoRA (%(default)s)")
    parser.set_defaults(**defaults(TuneRequest))
    return parser


def request_from(arguments: Sequence[str] | None = None) -> TuneRequest:
    """The request that a command line makes. Exits if it cannot be parsed."""
    return TuneRequest(**field_values(vars(_parser().parse_args(arguments))))


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: tune(request_from(arguments)))


if __name__ == "__main__":
    sys.exit(main())
