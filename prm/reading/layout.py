"""How a reward model reads a question and its steps; kept beside its weights as `prm.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

from prm.reading.calibration import Calibration
from prm.reading.head import Head
from prm.reading.template import Template
from search.errors import UsageError
from search.types import StepScore
from search.values import AGGREGATES, Aggregate


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a reward model, or of an ensemble of reward models.

    aggregate: how the values of the steps make up the value of a solution.
    members: of an ensemble: reward models, each a name that `prm.reading.zoo.find` knows or a path relative
        to prm.json. Each member has its own layout. The ensemble's own layout describes what the averaged
        scores mean (labels, kind, calibration, aggregate), and its `template.separator` splits the text
        of a solution into steps.

    Raises UsageError if the parts do not fit together.
    """

    template: Template = field(default_factory=Template)
    head: Head = field(default_factory=Head)
    calibration: Calibration = field(default_factory=Calibration)
    aggregate: Aggregate = "last"
    members: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        template, head = self.template, self.head
        if not template.separator and not template.chat and head.kind == "process":
            raise UsageError("prm.json: separator must not be empty")
        if self.aggregate not in get_args(Aggregate):
            raise UsageError(f"prm.json: aggregate is one of {', '.join(get_args(Aggregate))}")
        if self.calibration.bias and len(self.calibration.bias) != len(head.labels):
            raise UsageError("prm.json: bias needs one number per label")

    def step_score(self, probabilities: Sequence[float]) -> StepScore:
        """The calibrated score of a step. probabilities: the head's, [len(labels)]. Raises ScorerError."""
        return self.calibration.step_score(self.head.labels, probabilities)

    def solution_value(self, values: Sequence[float]) -> float:
        """The value of a solution, in [0, 1], from the values of its steps."""
        how: Aggregate = "last" if self.head.kind == "outcome" else self.aggregate
        return AGGREGATES[how](values)


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
}
"""The fields of prm.json, in the order in which they are written, and what they are in a `Layout`."""

_ALWAYS = ("question", "separator", "labels")
"""Fields that are written even where they have their default."""


def save_layout(layout: Layout, directory: Path) -> None:
    """Write `prm.json`. Fields that have their default are left out."""
    values, defaults = _flat(layout), _flat(Layout())
    written = {name: v for name, v in values.items() if name in _ALWAYS or v != defaults[name]}
    (directory / "prm.json").write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n")


def _flat(layout: Layout) -> dict[str, Any]:
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

    model: a path or hub id; no weights are loaded. Raises UsageError if it is not such a reward model.
    """
    from transformers.utils import cached_file

    try:
        path = cached_file(model, "prm.json")
    except (OSError, ValueError) as error:
        raise _no_reward_model(model, error) from error
    try:
        fields = json.loads(Path(str(path)).read_text(encoding="utf-8"))
        layout = layout_from(dict(fields), f"{model}/prm.json")
    except (ValueError, TypeError) as error:
        raise UsageError(f"{model}/prm.json is not a layout: {error}") from error
    if not layout.members:
        _check_head(model, layout.head)
    return layout


def _check_head(model: str, head: Head) -> None:
    """Raises UsageError if the checkpoint's architecture does not have such a head."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise _no_reward_model(model, error) from error
    architectures = config.architectures or []
    classifies = head.type not in ("tokens", "mean_logit")
    wanted = "ForSequenceClassification" if classifies else "ForCausalLM"
    if not any(name.endswith(wanted) for name in architectures):
        architecture = ", ".join(architectures) or "model of unknown architecture"
        classifier = "sequence-classification head with one output per label"
        raise UsageError(
            f"{model} is a {architecture}: its layout needs a "
            f"{classifier if classifies else 'language-model head'}"
        )
    if classifies and config.num_labels != len(head.labels):
        raise UsageError(
            f"{model}: the head has {config.num_labels} outputs, prm.json names {len(head.labels)} labels"
        )


def _no_reward_model(model: str, error: Exception) -> UsageError:
    reason = str(error).strip().split("\n")[0]
    return UsageError(f"{model} is no reward model of this kind: {reason}")
