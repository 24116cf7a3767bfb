"""The typed request for tuning a policy, and its validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from prm.command_line import defaults
from prm.preference.files import rows_of, test_problems
from prm.preference.tree import MAX_DEPTH
from prm.training.folder import bad_folder
from search.errors import UsageError

Method = Literal["sft", "dpo", "kto", "nca"]
METHODS: tuple[Method, ...] = get_args(Method)
RUN = "tune.json"
"""The file of a run's settings."""
SFT_LR, PREFERENCE_LR = 2e-5, 5e-7
"""Peak learning rates of Eurus (appendix B)."""
DESIRABLE = 1.33
"""The weight of a right action in KTO's loss, where that of a wrong one is 1 (appendix B)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRequest:
    """Tune a policy. All fields but `out`, `resume` and `strict` determine its result, and must match on
    resume.

    method: sft learns right actions; dpo, kto and nca learn from pairs.
    base: the policy to start from, which is also the reference: a path, a hub id, or a bundled model's name.
    data: folders of preference trees, or FORMAT:WHERE, as `prm.preference.files.rows_of` takes them.
    out: the folder of the policy, its card and its plots. resume: continue the run in `out`.
    held_out: NAME=FILE, more evaluation problems that must not be trained on.
    strict: refuse data with rows that cannot be read; otherwise they are left out and counted.
    question_template: the text around an instruction, with {question} in it; None is the base's chat
        template, or else `prm.training.question.question_template`.
    turns: pairs of the first turns only; 1 is single-turn pairs.
    history: for sft, learn the right action of each pair after the history of its turn, instead of right
        actions alone: the policy learns to read observations.
    validation_share: of the instructions, held out to be measured on.
    max_length: tokens of prompt and action; longer ones are dropped and counted.
    beta: strength of the reference, in the losses of pairs. desirable: for kto, the weight of right actions.
    epochs: passes over the data. steps: optimizer steps, which override `epochs`; -1 is off.
    batch: pairs (for sft, actions) per device and forward pass. accumulate: forward passes per step.
    lr: peak learning rate; None is `SFT_LR` or `PREFERENCE_LR`. A cosine decay follows.
    warmup: a share of the steps if below 1, else a number of steps.
    lora: the rank of LoRA; 0 trains all weights.
    every: steps between validations and checkpoints. seed: of the order of the data, and of LoRA.
    """

    method: Method
    base: str
    data: tuple[str, ...]
    out: Path
    resume: bool = False
    held_out: tuple[str, ...] = ()
    strict: bool = False
    question_template: str | None = None
    turns: int = MAX_DEPTH
    history: bool = False
    validation_share: float = 0.05
    max_length: int = 1024
    beta: float = 0.1
    desirable: float = DESIRABLE
    epochs: float = 1.0
    steps: int = -1
    batch: int = 8
    accumulate: int = 1
    lr: float | None = None
    weight_decay: float = 0.0
    warmup: float = 0.1
    lora: int = 0
    bf16: bool = False
    gradient_checkpointing: bool = False
    every: int = 200
    seed: int = 0

    @property
    def peak_lr(self) -> float:
        if self.lr is not None:
            return self.lr
        return SFT_LR if self.method == "sft" else PREFERENCE_LR

    @property
    def learns_from_pairs(self) -> bool:
        return self.history or self.method != "sft"

    def settings(self) -> dict[str, Any]:
        """Everything that determines the result, as it is kept in `tune.json`."""
        names = [field.name for field in fields(self) if field.name not in ("out", "resume", "strict", "lr")]
        return {**{name: getattr(self, name) for name in names}, "lr": self.peak_lr}

    def validate(self) -> None:
        """Raise UsageError, which lists everything that is wrong, before anything is loaded."""
        faults = [*self._bad_numbers(), *self._bad_data()]
        faults += bad_folder(self.out / RUN, self.settings(), self.resume, defaults=defaults(type(self)))
        if faults:
            raise UsageError(*faults)

    def _bad_numbers(self) -> Iterator[str]:
        for name in ("batch", "accumulate", "max_length", "every", "turns"):
            if (value := getattr(self, name)) < 1:
                yield f"--{name.replace('_', '-')} {value}: must be at least 1"
        for name in ("lora", "warmup"):
            if (value := getattr(self, name)) < 0:
                yield f"--{name} {value}: must be 0 or more"
        if self.epochs <= 0:
            yield f"--epochs {self.epochs}: must be more than 0"
        if not 0 <= self.validation_share < 1:
            yield f"--validation-share {self.validation_share}: must be at least 0 and below 1"
        if self.history and self.method != "sft":
            yield f"--history is for --method sft: {self.method} learns from pairs with their history"
        for name in ("beta", "desirable", "peak_lr"):
            if not (value := getattr(self, name)) > 0:
                yield f"--{name.removeprefix('peak_')} {value}: must be above 0"

    def _bad_data(self) -> Iterator[str]:
        if self.question_template is not None and self.question_template.count("{question}") != 1:
            yield "--question-template: must contain {question} exactly once"
        for spec in self.held_out:
            if not all(spec.partition("=")):
                yield f"--hold-out {spec}: must be NAME=FILE"
        for spec in self.data:
            try:
                pairs, sft = rows_of(spec)  # checks the format and reads nothing yet
            except UsageError as error:
                yield str(error)
                continue
            yield from test_problems(spec)
            if self.learns_from_pairs and pairs == ():
                option = "--history" if self.history else f"--method {self.method}"
                yield f"{spec} holds no pairs, which {option} learns from"
            elif not self.learns_from_pairs and sft == ():
                yield f"{spec} holds no right actions without history, which --method sft learns"
