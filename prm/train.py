"""python -m prm.train: train a process or outcome reward model, or the language model under it.

Forms:
  sft       next tokens of worked solutions, as the paper does before it trains a head
  classes3  wrong, neutral or right at the end of each step: a sequence-classification checkpoint
  classes2  the same with two classes; --neutral sets the class of neutral steps
  soft      two classes, trained on soft labels (the records' `values`)
  tokens    a language model that continues each step with "+" or "-"
  outcome   right or wrong at the end of whole solutions, with balanced classes (see --class-weights)
  pairs     one score per solution, trained on pairs: Bradley-Terry and direct rewards (Eurus)

Problems of the bundled evaluation sets are excluded from the data and listed. After Ctrl-C or kill -9,
the same command with --resume continues the run and ends with the same weights. On several GPUs:
accelerate launch --config_file prm/fsdp.yaml -m prm.train ...
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prm.command_line import defaults, field_values
from prm.data import HELP, STRICT_HELP
from prm.training.examples import FORMS
from prm.training.request import TrainRequest
from prm.training.train import train
from search.command import exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m prm.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--form", choices=FORMS, required=True, help="what to train, see above")
    add("--base", required=True, metavar="MODEL",
        help="checkpoint to start from: a path, a hub id, builtin, smollm2, gemma3-270m, or a GGUF file")
    add("--data", nargs="+", required=True, metavar="SPEC", help=f"{HELP} For --form pairs also pairs:FILE, "
        "ultrafeedback:FILE and ultrasafety:FILE.")  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the checkpoint, its card and plot")
    add("--resume", action="store_true", help="continue the run in --out")
    add("--validation", nargs="+", metavar="SPEC", help="validation data, instead of --validation-share")
    add("--validation-share", type=float,
        help="share of the problems to hold out for validation (%(default)s)")  # fmt: skip
    add("--hold-out", dest="held_out", nargs="+", metavar="NAME=FILE",
        help="more evaluation problems to exclude from the data")  # fmt: skip
    add("--share", type=float, help="share of the training problems to use (%(default)s)")
    add("--strict", action="store_true", help=STRICT_HELP)
    add("--question-template", type=lambda text: text.replace("\\n", "\n"), metavar="TEXT",
        help="the text around the question, with {question} in it; \\n is a newline (as in the base "
        "model's prm.json or chat template; without either, {question} and a newline)")  # fmt: skip
    add("--separator", help="the string that ends a step (a newline)")
    add("--tokens", nargs=2, metavar="TOKEN",
        help="for --form tokens: the tokens after a wrong and after a right step (- +)")  # fmt: skip
    add("--neutral", choices=("positive", "negative", "drop"),
        help="with two classes: the class of a neutral step (%(default)s)")  # fmt: skip
    add("--direct", nargs="*", metavar="SOURCE",
        help="for --form pairs: the sources whose direct rewards are trained too; none: Bradley-Terry alone "
        "(all)")  # fmt: skip
    add("--direct-only", action="store_true",
        help="train nothing but direct rewards on the pairs of --direct")  # fmt: skip
    add("--too-long", choices=("cut", "drop"),
        help="cut sequences over --max-length at the head of the question, or drop them (%(default)s)",
    )  # fmt: skip
    add("--max-length", type=int, metavar="TOKENS", help="longest sequence (%(default)s)")
    add("--trees", type=int, metavar="TOKENS",
        help="lay out records of one problem as trees of at most this many tokens, in which a shared prefix "
        "is computed once: the same loss from fewer tokens, in fewer and longer sequences (off)")  # fmt: skip
    add("--class-weights", choices=("auto", "none", "balanced"),
        help="balanced: all classes count the same; auto: balanced for --form outcome (%(default)s)",
    )  # fmt: skip
    add("--epochs", type=float, help="passes over the data (%(default)s)")
    add("--steps", type=int, help="stop after this many steps, whatever --epochs is")
    add("--batch", type=int, help="sequences (or pairs) per device and step (%(default)s)")
    add("--accumulate", type=int, help="batches whose gradients are accumulated for a step (%(default)s)")
    add("--lr", type=float, help="peak learning rate, followed by cosine decay (%(default)s)")
    add("--language", type=float, metavar="WEIGHT",
        help="weight of an additional next-token loss, for forms with classes (%(default)s)")  # fmt: skip
    add("--every-token", type=float, metavar="WEIGHT",
        help="weight of an additional class loss at every token of a labelled step before its end "
        "(%(default)s)")  # fmt: skip
    add("--dropout", type=float, metavar="P",
        help="apply dropout to each layer's residual update while training (%(default)s)")  # fmt: skip
    add("--optimizer", choices=("adamw", "muon"),
        help="muon: Muon for the weight matrices of layers, AdamW for everything else; meant for models with "
        "random initial weights (%(default)s)")  # fmt: skip
    add("--weight-decay", type=float, help="not applied to biases and norms (%(default)s)")
    add("--beta2", type=float, help="AdamW's decay rate of the second moment (%(default)s)")
    add("--warmup", type=float, help="warm-up: a share of the steps if below 1, else steps (%(default)s)")
    add("--lora", type=int, metavar="RANK", help="rank of LoRA; 0 trains all weights (%(default)s)")
    add("--top-layers", type=int, metavar="N",
        help="train the last N blocks and the head only; the hidden states below are computed once and kept "
        "in memory, so that further epochs are cheap. For a CPU (0: all blocks)")  # fmt: skip
    add("--bf16", action="store_true", help="compute in bfloat16; weights stay in float32")
    add("--gradient-checkpointing", action="store_true", help="less memory for a third more time")
    add("--every", type=int, metavar="STEPS", help="steps between validations and checkpoints (%(default)s)")
    add("--patience", type=int, metavar="N",
        help="stop after N validations without improvement, and keep the best checkpoint (off)")  # fmt: skip
    add("--seed", type=int, help="seed of the new head and of the order of the data (%(default)s)")
    parser.set_defaults(**defaults(TrainRequest))
    return parser


def request_from(arguments: Sequence[str] | None = None) -> TrainRequest:
    """The request that a command line makes. Exits if it cannot be parsed."""
    return TrainRequest(**field_values(vars(_parser().parse_args(arguments))))


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: train(request_from(arguments)))


if __name__ == "__main__":
    sys.exit(main())
