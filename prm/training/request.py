"""The typed request for a training run, and its validation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from prm.command_line import defaults
from prm.data import load
from prm.preference.files import test_problems
from prm.reading.head import Head, Kind
from prm.reading.layout import Layout
from prm.reading.template import Template
from prm.training.examples import Form, Neutral
from prm.training.folder import bad_folder
from search.errors import UsageError
from search.values import Aggregate

TWO = ("negative", "positive")
VALIDATION_SHARE = 0.05
PAIRS, CHAT_PAIRS = "pairs:", ("ultrafeedback:", "ultrasafety:")
"""How the specification of a file of pairs begins."""
RUN = "train.json"
"""The file of a run's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """A training run. All fields but `out`, `resume` and `strict` determine its result, and must match on
    resume.

    form: what to train; see `python -m prm.train --help`.
    base: the checkpoint to start from: a path, a hub id, or the name of a bundled model.
    data, validation: data sets, as `prm.data.load` takes them; for `form="pairs"` also pairs:FILE,
        ultrafeedback:FILE and ultrasafety:FILE.
    out: the folder of the checkpoint, its card and its plot. resume: continue the run in `out`.
    held_out: NAME=FILE, more evaluation problems that must not be trained on.
    strict: refuse data with rows that cannot be read; otherwise they are left out and counted.
    question_template: the text around a question, with {question} in it; None is the base model's own, see
        `prm.training.question.question_template`.
    tokens: for `form="tokens"`, the tokens that follow a wrong and a right step.
    direct: for `form="pairs"`, the sources whose pairs also train the absolute rewards, or "all".
    direct_only: such pairs train nothing else (`prm.training.objectives.pair_loss`).
    too_long: whether a sequence over `max_length` tokens is cut at the head of its question or dropped.
    trees: lay out records of one problem as trees of at most this many tokens; 0 is off.
    class_weights: "auto" is "balanced" for `form="outcome"`, else "none".
    share: of the training problems, for learning curves. validation_share: of all problems; ignored if
        `validation` is given.
    epochs: passes over the data. steps: optimizer steps, which overrides `epochs`; -1 is off.
    batch: sequences (or pairs) per device and forward pass. accumulate: forward passes per step.
    language, every_token: weights of additional losses, see `prm.training.objectives.Objective`.
    warmup: a share of the steps if below 1, else a number of steps.
    lora: the rank of LoRA; 0 trains all weights.
    top_layers: train these last blocks and the head only, and compute the hidden states below them once; 0
        trains all blocks.
    every: steps between validations and checkpoints.
    patience: stop after this many validations without improvement; None is off.
    seed: of the new head and of the order of the data.
    """

    form: Form
    base: str
    data: tuple[str, ...]
    out: Path
    resume: bool = False
    validation: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    strict: bool = False
    question_template: str | None = None
    separator: str = "\n"
    tokens: tuple[str, ...] = ("-", "+")
    neutral: Neutral = "positive"
    direct: tuple[str, ...] = ("all",)
    direct_only: bool = False
    too_long: Literal["cut", "drop"] = "cut"
    class_weights: Literal["auto", "none", "balanced"] = "auto"
    share: float = 1.0
    validation_share: float = VALIDATION_SHARE
    epochs: float = 1.0
    steps: int = -1
    batch: int = 32
    accumulate: int = 1
    max_length: int = 1024
    trees: int = 0
    lr: float = 1e-5
    language: float = 0.0
    every_token: float = 0.0
    dropout: float = 0.0
    optimizer: Literal["adamw", "muon"] = "adamw"
    weight_decay: float = 0.0
    beta2: float = 0.999
    warmup: float = 0.1
    lora: int = 0
    top_layers: int = 0
    bf16: bool = False
    gradient_checkpointing: bool = False
    every: int = 200
    patience: int | None = None
    seed: int = 0

    @property
    def balanced(self) -> bool:
        """Whether the loss weights labels so that all classes count the same."""
        return self.class_weights == "balanced" or (self.class_weights == "auto" and self.form == "outcome")

    def settings(self) -> dict[str, Any]:
        """Everything that determines the result, as it is kept in `train.json`."""
        names = [field.name for field in fields(self) if field.name not in ("out", "resume", "strict")]
        names[names.index("class_weights")] = "balanced"
        return {name: getattr(self, name) for name in names}

    def validate(self) -> None:
        """Raise UsageError, which lists everything that is wrong, before anything is loaded."""
        faults = [*self._bad_numbers(), *self._bad_combinations(), *self._bad_data()]
        faults += bad_folder(self.out / RUN, self.settings(), self.resume, defaults=defaults(type(self)))
        if faults:
            raise UsageError(*faults)

    def _bad_numbers(self) -> Iterator[str]:
        for name in ("batch", "accumulate", "max_length", "every"):
            if (value := getattr(self, name)) < 1:
                yield f"{_option(name)} {value}: must be at least 1"
        for name in ("top_layers", "lora", "trees", "warmup", "lr"):
            if (value := getattr(self, name)) < 0:
                yield f"{_option(name)} {value}: must be 0 or more"
        if self.epochs <= 0:
            yield f"--epochs {self.epochs}: must be more than 0"
        if self.patience is not None and self.patience < 1:
            yield f"--patience {self.patience}: must be at least 1"
        for name in ("share", "validation_share", "dropout"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                yield f"{_option(name)} {value}: must be between 0 and 1"

    def _bad_combinations(self) -> Iterator[str]:
        if self.question_template is not None and self.question_template.count("{question}") != 1:
            yield "--question-template: must contain {question} exactly once"
        if self.trees and self.form in ("sft", "outcome", "pairs"):
            yield f"--trees needs step labels, which --form {self.form} does not use"
        if self.patience is not None and not self.validation and not self.validation_share:
            yield "--patience needs validation data: give --validation, or a --validation-share above 0"
        if self.class_weights == "balanced" and self.form not in ("classes2", "classes3", "outcome"):
            yield f"--class-weights balanced does not work with --form {self.form}"
        if self.top_layers:
            for name in ("dropout", "gradient_checkpointing"):
                if getattr(self, name):
                    yield f"--top-layers does not work with {_option(name)}"
        if self.direct_only and not self.direct:
            yield "--direct-only: --direct names no source"
        for name in ("language", "every_token"):
            if getattr(self, name) and self.form not in ("classes2", "classes3", "outcome"):
                yield f"{_option(name)} is for the forms classes2, classes3 and outcome, not for {self.form}"
        if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":  # set by `accelerate launch`
            if self.top_layers:
                yield "--top-layers does not work with FSDP: the blocks below are kept whole by each process"
            if self.lora:
                yield "--lora does not work with FSDP: use one GPU, or train all weights"
            if self.language:
                yield "--language does not work with FSDP: no process holds the whole embedding matrix"
            if self.optimizer == "muon":
                yield "--optimizer muon does not work with FSDP: no process holds whole weight matrices"

    def _bad_data(self) -> Iterator[str]:
        for spec in (*self.data, *self.validation):
            if spec.startswith((PAIRS, *CHAT_PAIRS)):
                if self.form != "pairs":
                    yield f"{spec} holds pairs, which --form {self.form} does not use"
                yield from test_problems(spec)
                continue
            try:
                load(spec)  # checks the format and reads nothing yet
            except UsageError as error:
                yield str(error)
        for spec in self.held_out:
            if not all(spec.partition("=")):
                yield f"--hold-out {spec}: must be NAME=FILE"


def layout_of(request: TrainRequest, question: str = Template().question) -> Layout:
    """The layout of the model that the request trains. question: the template around the question."""
    kind: Kind = "outcome" if request.form in ("outcome", "pairs") else "process"
    if request.form in ("classes3", "sft"):
        head = Head(kind=kind)
    elif request.form == "tokens":
        head = Head(type="tokens", tokens=request.tokens, labels=TWO, kind=kind)
    else:
        head = Head(labels=("positive",) if request.form == "pairs" else TWO, kind=kind)
    aggregate: Aggregate | None = "product" if kind == "process" else None
    return Layout(Template(question, request.separator), head, aggregate=aggregate)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
