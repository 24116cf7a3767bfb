"""The options of a training run (`prm.train`), checked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from prm.data import HELP, load
from prm.reading.layout import Layout
from prm.training.examples import FORMS, Form, Neutral
from search.errors import UsageError

TWO = ("negative", "positive")
VALIDATION_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Run:
    """What the result depends on; kept in `train.json`, and the same when it is resumed.

    batch: sequences, or pairs, a device and step; accumulate: steps before the weights change.
    trees: tokens of a tree of records of one problem; 0 for sequences of one record each.
    language, every_token: weights of more losses beside that of labels (`prm.training.objectives.Objective`).
    share: of the training problems that is used, for learning curves. every: steps between
    validations and checkpoints. patience: validations without a gain before it stops.
    """

    form: Form
    base: str
    data: tuple[str, ...]
    validation: tuple[str, ...]
    held_out: tuple[str, ...]
    separator: str
    tokens: tuple[str, ...]
    neutral: Neutral
    direct: tuple[str, ...]
    too_long: str
    balanced: bool
    share: float
    validation_share: float
    epochs: float
    steps: int
    batch: int
    accumulate: int
    max_length: int
    trees: int
    lr: float
    language: float
    every_token: float
    dropout: float
    optimizer: Literal["adamw", "muon"]
    weight_decay: float
    beta2: float
    warmup: float
    lora: int
    bf16: bool
    gradient_checkpointing: bool
    every: int
    patience: int | None
    seed: int


def layout_of(run: Run) -> Layout:
    """How the model that this run trains is read."""
    kind: Any = "outcome" if run.form in ("outcome", "pairs") else "process"
    layout = Layout(separator=run.separator, kind=kind)
    if run.form in ("classes3", "sft"):
        return layout
    if run.form == "tokens":
        return replace(layout, labels=TWO, head="tokens", tokens=run.tokens)
    return replace(layout, labels=("positive",) if run.form == "pairs" else TWO)


def parse(arguments: Sequence[str], about: str | None = None) -> tuple[Run, Path, bool]:
    """The run, where it writes, and whether it goes on with one. Raises UsageError.

    about: what --help says first.
    """
    parser = argparse.ArgumentParser(
        prog="python -m prm.train", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--form", choices=FORMS, required=True, help="what is trained, see above")
    add("--base", required=True, metavar="MODEL", help="checkpoint to start from, path or hub id")
    add("--data", nargs="+", required=True, metavar="SPEC", help=f"{HELP} For --form pairs also pairs:FILE.")
    add("--out", type=Path, required=True, metavar="DIR", help="where checkpoint, card and plot go")
    add("--resume", action="store_true", help="go on with the run in --out")
    add("--validation", nargs="+", default=[], metavar="SPEC", help="validation data, in place of a share")
    add("--validation-share", type=float, default=VALIDATION_SHARE,
        help="share of the problems kept for validation (%(default)s)")  # fmt: skip
    add("--hold-out", nargs="+", default=[], metavar="NAME=FILE", help="more evaluation problems to refuse")
    add("--share", type=float, default=1.0, help="share of the training problems used (%(default)s)")
    add("--separator", default="\n", help="what ends a step (a newline)")
    add("--tokens", nargs=2, default=["-", "+"], metavar="TOKEN",
        help="for --form tokens: what wrong and right steps are followed by (- +)")  # fmt: skip
    add("--neutral", choices=("positive", "negative", "drop"), default="positive",
        help="what a neutral step is where there are two classes (%(default)s)")  # fmt: skip
    add("--direct", nargs="*", default=["all"], metavar="SOURCE",
        help="for --form pairs: the sources whose direct rewards are trained too (all)")  # fmt: skip
    add("--too-long", choices=("cut", "drop"), default="cut",
        help="what exceeds --max-length is cut at the head of its question, or left out (%(default)s)",
    )  # fmt: skip
    add("--max-length", type=int, default=1024, metavar="TOKENS", help="of a sequence (%(default)s)")
    add("--trees", type=int, default=0, metavar="TOKENS",
        help="lay records of one problem out as trees of up to so many tokens, in which what they share is "
        "computed once: same loss, fewer tokens, fewer and longer sequences (off)")  # fmt: skip
    add("--class-weights", choices=("auto", "none", "balanced"), default="auto",
        help="balanced: each class counts the same; auto: so for --form outcome (%(default)s)")  # fmt: skip
    add("--epochs", type=float, default=1.0, help="passes over the data (%(default)s)")
    add("--steps", type=int, default=-1, help="end after so many steps, whatever --epochs says")
    add("--batch", type=int, default=32, help="sequences or pairs a device and step (%(default)s)")
    add("--accumulate", type=int, default=1, help="steps whose gradients are added up (%(default)s)")
    add("--lr", type=float, default=1e-5, help="highest learning rate; cosine decay (%(default)s)")
    add("--language", type=float, default=0.0, metavar="WEIGHT",
        help="of the loss of next tokens, learnt beside the labels of classes (%(default)s)")  # fmt: skip
    add("--every-token", type=float, default=0.0, metavar="WEIGHT",
        help="of the loss of classes at each token of a labelled step before its end (%(default)s)",
    )  # fmt: skip
    add("--dropout", type=float, default=0.0, metavar="P",
        help="of what each layer adds to what it was given, while training (%(default)s)")  # fmt: skip
    add("--optimizer", choices=("adamw", "muon"), default="adamw",
        help="muon: that for the matrices of layers, AdamW for the rest; for models that begin with random "
        "weights (%(default)s)")  # fmt: skip
    add("--weight-decay", type=float, default=0.0, help="biases and norms aside (%(default)s)")
    add("--beta2", type=float, default=0.999, help="of AdamW: memory of squared gradients (%(default)s)")
    add("--warmup", type=float, default=0.1, help="share of the steps, or a number of them (%(default)s)")
    add("--lora", type=int, default=0, metavar="RANK", help="of LoRA matrices; 0 trains all weights (0)")
    add("--bf16", action="store_true", help="compute in bfloat16; weights stay in float32")
    add("--gradient-checkpointing", action="store_true", help="less memory, a third more time")
    add("--every", type=int, default=200, metavar="STEPS",
        help="between validations and checkpoints (%(default)s)")  # fmt: skip
    add("--patience", type=int, default=None, metavar="N",
        help="stop after N validations without a gain, and keep the best (off)")  # fmt: skip
    add("--seed", type=int, default=0, help="of the new head and the order of the data (%(default)s)")
    asked = vars(parser.parse_args(list(arguments)))
    out, resume = asked.pop("out"), asked.pop("resume")
    weights = asked.pop("class_weights")
    asked["balanced"] = weights == "balanced" or (weights == "auto" and asked["form"] == "outcome")
    asked["held_out"] = asked.pop("hold_out")
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in asked.items()}
    run = Run(**values)
    for name in ("batch", "accumulate", "max_length", "every"):
        if getattr(run, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')}: it must be at least 1")
    if run.trees and run.form in ("sft", "outcome", "pairs"):
        raise UsageError(f"--trees is for labels of steps, not for --form {run.form}")
    for name in ("language", "every_token"):
        if getattr(run, name) and run.form not in ("classes2", "classes3", "outcome"):
            raise UsageError(f"--{name.replace('_', '-')} is for classes, not for --form {run.form}")
    for name in ("share", "validation_share", "dropout"):
        if not 0 <= getattr(run, name) <= 1:
            raise UsageError(f"--{name.replace('_', '-')}: it must lie between 0 and 1")
    for spec in (*run.data, *run.validation):
        if not spec.startswith("pairs:"):
            load(spec)  # its format, at least, before anything is read
    return run, out, resume
