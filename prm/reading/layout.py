"""How a reward model reads a question and its steps; kept beside its weights as `prm.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, get_args

from prm.reading.calibration import Calibration
from prm.reading.checkpoint import checkpoint_file, read_config, read_json
from prm.reading.head import Head
from prm.reading.local import merged_folder
from prm.reading.template import Template
from search.errors import UsageError
from search.types import StepScore
from search.values import AGGREGATES, Aggregate

Domain = Literal["", "math", "code"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a reward model, or of an ensemble of reward models.

    aggregate: how the values of the steps make up the value of a solution; None is the default of
        `solution_aggregate`.
    members: of an ensemble: reward models, each a name that `prm.reading.zoo.find` knows or a path relative
        to prm.json. Each member has its own layout. The ensemble's own layout describes what the averaged
        scores mean (labels, kind, calibration, aggregate), and its `template.separator` splits the text
        of a solution into steps.
    domain: what the model was trained to score: solutions in words and formulas ("math"), or programs
        ("code"); "" if that is unknown.

    Raises UsageError if the parts do not fit together.
    """

    template: Template = field(default_factory=Template)
    head: Head = field(default_factory=Head)
    calibration: Calibration = field(default_factory=Calibration)
    aggregate: Aggregate | None = None
    members: tuple[str, ...] = ()
    domain: Domain = ""

    def __post_init__(self) -> None:
        template, head = self.template, self.head
        if not template.separator and not template.chat and head.kind == "process":
            raise UsageError("prm.json: separator must not be empty")
        if self.aggregate is not None and self.aggregate not in get_args(Aggregate):
            raise UsageError(f"prm.json: aggregate is one of {', '.join(get_args(Aggregate))}")
        if self.domain not in get_args(Domain):
            raise UsageError('prm.json: domain is "math", "code" or ""')
        if self.calibration.bias and len(self.calibration.bias) != len(head.labels):
            raise UsageError("prm.json: bias needs one number per label")

    def step_score(self, probabilities: Sequence[float]) -> StepScore:
        """The calibrated score of a step. probabilities: the head's, [len(labels)]. Raises ScorerError."""
        return self.calibration.step_score(self.head.labels, probabilities)

    @property
    def is_outcome(self) -> bool:
        """Whether the model scores whole solutions, so that only the value after the last step counts."""
        return self.head.kind == "outcome"

    @property
    def solution_aggregate(self) -> Aggregate:
        """How the values of the steps make up the value of a solution, in scoring and in search alike.

        The default of a process model is the product: the probability that no step is wrong, if the steps
        were independent.
        """
        return "last" if self.is_outcome else self.aggregate or "product"

    def solution_value(self, values: Sequence[float]) -> float:
        """The value of a solution, in [0, 1], from the values of its steps."""
        return AGGREGATES[self.solution_aggregate](values)

    @property
    def uncalibrated(self) -> Layout:
        """The same layout, whose scores are the probabilities of the head itself."""
        return replace(self, calibration=Calibration())


# -- prm.json: one flat object -----------------------------------------------------------------------

_FIELDS = {
    "question": "template.question",
    "separator": "template.separator",
    "labels": "head.labels",
    "step": "template.step",
    "lead": "template.lead",
    "between": "template.between",
    "chat": "template.chat",
    "reply": "template.reply",
    "requires": "template.requires",
    "head": "head.type",
    "weights": "head.weights",
    "tokens": "head.tokens",
    "kind": "head.kind",
    "aggregate": "aggregate",
    "accept": "calibration.accept",
    "reject": "calibration.reject",
    "temperature": "calibration.temperature",
    "bias": "calibration.bias",
    "members": "members",
    "domain": "domain",
}
"""The fields of prm.json, in the order in which they are written, and what they are in a `Layout`."""

_ALWAYS = ("question", "separator", "labels")
"""Fields that are written even where they have their default."""


def save_layout(layout: Layout, directory: Path) -> None:
    """Write `prm.json`. Fields that have their default are left out."""
    values, defaults = layout_fields(layout), layout_fields(Layout())
    written = {name: v for name, v in values.items() if name in _ALWAYS or v != defaults[name]}
    (directory / "prm.json").write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n")


def layout_fields(layout: Layout) -> dict[str, Any]:
    """The fields of prm.json, with those that have their default."""
    return {name: attrgetter(place)(layout) for name, place in _FIELDS.items()}


def layout_from(fields: Mapping[str, Any], where: str) -> Layout:
    """A layout from the fields of a JSON or YAML object. Raises UsageError beginning with `where`."""
    if unknown := sorted(set(fields) - set(_FIELDS)):
        raise UsageError(f"{where} is not a layout: there is no field {', '.join(unknown)}")
    parts: dict[str, dict[str, Any]] = {"template": {}, "head": {}, "calibration": {}, "": {}}
    for name, value in fields.items():
        part, _, attribute = _FIELDS[name].rpartition(".")
        parts[part][attribute] = tuple(value) if isinstance(value, list) else value
    try:
        return Layout(
            Template(**parts["template"]), Head(**parts["head"]), Calibration(**parts["calibration"]),
            **parts[""],
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where} is not a layout: {error}") from error
    except UsageError as error:
        raise UsageError(f"{where}: {str(error).removeprefix('prm.json: ')}") from error


def read_layout(model: str) -> Layout:
    """The layout of a checkpoint that has a prm.json, checked against its head, or of an ensemble.

    model: a path or hub id; no weights are loaded, and a local folder is read without transformers. The
        folder of an adapter is merged on first use (`prm.reading.local.merged_folder`).
    Raises UsageError if it is not such a reward model.
    """
    try:
        path = checkpoint_file(model, "prm.json")
        if path is None:
            raise UsageError("it has no prm.json, which says how a reward model reads its input")
    except UsageError as error:
        raise _no_reward_model(model, error) from error
    where = f"{model}/prm.json"
    try:
        fields = read_json(path, where)
    except UsageError as error:
        raise UsageError(f"{where} is not a layout: {str(error).removeprefix(f'{where}: ')}") from error
    layout = layout_from(fields, where)
    if not layout.members:
        _check_head(model, merged_folder(model) or model, layout.head)
    return layout


def _check_head(model: str, checkpoint: str, head: Head) -> None:
    """Raises UsageError if the checkpoint's architecture does not have such a head. model: for messages."""
    try:
        config = read_config(checkpoint)
    except UsageError as error:
        raise _no_reward_model(model, error) from error
    architectures = config.get("architectures") or []
    classifies = head.type not in ("tokens", "mean_logit")
    wanted = ("ForSequenceClassification",) if classifies else ("ForCausalLM", "ForConditionalGeneration")
    if not any(name.endswith(wanted) for name in architectures):
        architecture = ", ".join(architectures) or "model of unknown architecture"
        classifier = "sequence-classification head with one output per label"
        raise UsageError(
            f"{model} is a {architecture}: its layout needs a "
            f"{classifier if classifies else 'language-model head'}"
        )
    outputs = len(config.get("id2label") or ()) or config.get("num_labels", 2)  # 2: transformers' default
    if classifies and outputs != len(head.labels):
        raise UsageError(f"{model}: the head has {outputs} outputs, prm.json names {len(head.labels)} labels")


def _no_reward_model(model: str, error: UsageError) -> UsageError:
    reason = str(error).removeprefix(f"{model}: ").removeprefix(f"{model} ")
    return UsageError(f"{model} is no reward model of this kind: {reason}")
