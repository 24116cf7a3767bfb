"""How a reward model reads a question and steps: declared, kept beside its weights as `prm.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from math import exp, isfinite
from pathlib import Path
from typing import Any, Literal, get_args

from search.errors import UsageError
from search.types import StepScore

LABELS = ("negative", "neutral", "positive")

HeadKind = Literal["linear", "mlp", "tokens", "mean_logit"]
Kind = Literal["process", "outcome"]
Aggregation = Literal["last", "min", "product", "mean"]


@dataclass(frozen=True, slots=True)
class Layout:
    """A decoder that is read at the last token of each step.

    The text it sees is `question`, then for each step `lead` (the first) or `between` (the others),
    `step` and `separator`. Special tokens in these are looked up by name; in what a question or a
    step says they are plain text. {question}, {step}, {number} (from 1) and {bos} are filled in.

    separator: its last token is where a step is judged; if empty, the step's own last token is.
    chat: the conversation is rendered by the tokenizer's chat template: a step is a user's turn,
        `question` comes before the first of them, and `reply` is what the assistant says to each
        one that others follow. `separator` and `between` follow from the template.
    requires: what must be single tokens of the tokenizer.
    head: what is read there. "linear": the tensors `weights`.weight and, if there, .bias. "mlp": two
        layers with a ReLU between, `weights`.0 and `weights`.2. "tokens": the logits of `tokens`, one a
        label. "mean_logit": the mean of all logits.
    labels: what the outputs mean, in order. One output is a logit of "positive"; more are a softmax.
    kind: "outcome" models are meant to be read after the last step only.
    aggregate: of step values, into a solution's. accept, reject, temperature, bias: what
        `prm.calibrate` found; HGS's thresholds on P(not wrong) and P(wrong), what logits are divided
        by, and what is added to them then, one a label (none if empty).
    members: of an ensemble: reward models, by a name that `prm.zoo.find` knows or a path that begins at
        this file. Each reads in its own way; of the above, the ensemble's are what comes out (labels,
        kind, aggregate, what was calibrated) and `separator`, at which a solution is split into steps.
    """

    question: str = "{question}\n"
    separator: str = "\n"
    labels: tuple[str, ...] = LABELS
    step: str = "{step}"
    lead: str = ""
    between: str = ""
    chat: bool = False
    reply: str = ""
    requires: tuple[str, ...] = ()
    head: HeadKind = "linear"
    weights: str = "score"
    tokens: tuple[str, ...] = ()
    kind: Kind = "process"
    aggregate: Aggregation = "last"
    accept: float | None = None
    reject: float | None = None
    temperature: float = 1.0
    bias: tuple[float, ...] = ()
    members: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        named = sorted(self.labels)
        if named not in (sorted(LABELS), ["negative", "positive"], ["positive"]):
            raise UsageError(f"prm.json: labels must be {LABELS} in some order, not {self.labels}")
        if "{question}" not in self.question or "{step}" not in self.step:
            raise UsageError("prm.json: question must hold {question}, and step {step}")
        if not self.separator and not self.chat and self.kind == "process":
            raise UsageError("prm.json: separator must not be empty")
        for name, kinds in (("head", HeadKind), ("kind", Kind), ("aggregate", Aggregation)):
            if getattr(self, name) not in get_args(kinds):
                raise UsageError(f"prm.json: {name} is one of {', '.join(get_args(kinds))}")
        if self.head == "tokens" and len(self.tokens) != len(self.labels):
            raise UsageError("prm.json: a head of tokens needs one token a label")
        if (self.head == "mean_logit") > (len(self.labels) == 1):
            raise UsageError("prm.json: a mean logit is one output")
        for name in ("accept", "reject"):
            bound = getattr(self, name)
            if bound is not None and not 0 <= bound <= 1:
                raise UsageError(f"prm.json: {name}={bound} must lie between 0 and 1")
        if not self.temperature > 0:
            raise UsageError(f"prm.json: temperature={self.temperature} must be above 0")
        if self.bias and (len(self.bias) != len(self.labels) or not all(map(isfinite, self.bias))):
            raise UsageError("prm.json: bias needs one number a label")

    def step_score(self, probabilities: Sequence[float]) -> StepScore:
        """The head's probabilities, [len(labels)], as a judgement. Raises ScorerError."""
        named = dict(zip(self.labels, map(float, probabilities), strict=True))
        named.setdefault("negative", 1 - named["positive"])
        if self.temperature != 1 or self.bias:
            added = dict(zip(self.labels, self.bias, strict=False))  # a lone "positive" is a logit against 0
            powers = {
                name: max(p, 1e-12) ** (1 / self.temperature) * exp(added.get(name, 0.0))
                for name, p in named.items()
            }
            named = {name: p / sum(powers.values()) for name, p in powers.items()}
        return StepScore(named["negative"], named.get("neutral", 0.0), named["positive"])


_ALWAYS = ("question", "separator", "labels")


def save_layout(layout: Layout, directory: Path) -> None:
    """Write `prm.json`; fields at their defaults are left out."""
    defaults = {f.name: f.default for f in fields(Layout) if f.default is not MISSING}
    said = {n: v for n, v in asdict(layout).items() if n in _ALWAYS or v != defaults[n]}
    (directory / "prm.json").write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n")


def layout_from(said: dict[str, Any], where: str) -> Layout:
    """A layout from the fields of a JSON or YAML object. Raises UsageError beginning with `where`."""
    names = {f.name for f in fields(Layout)}
    if unknown := sorted(set(said) - names):
        raise UsageError(f"{where} is not a layout: there is no {', '.join(unknown)}")
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in said.items()}
    try:
        return Layout(**values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where} is not a layout: {error}") from error
    except UsageError as error:
        raise UsageError(f"{where}: {str(error).removeprefix('prm.json: ')}") from error


def read_layout(model: str) -> Layout:
    """The layout of a checkpoint of the project's own, once its head is known to fit, or of an ensemble.

    model: a path or hub id; no weights are loaded. Raises UsageError if it is no reward model.
    """
    from transformers import AutoConfig
    from transformers.utils import cached_file

    try:
        found = cached_file(model, "prm.json")
    except (OSError, ValueError) as error:
        raise _no_reward_model(model, error) from error
    try:
        said = json.loads(Path(str(found)).read_text(encoding="utf-8"))
        layout = layout_from(dict(said), f"{model}/prm.json")
    except (ValueError, TypeError) as error:
        raise UsageError(f"{model}/prm.json is not a layout: {error}") from error
    if layout.members:
        return layout
    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise _no_reward_model(model, error) from error
    architectures = config.architectures or []
    wanted = "ForCausalLM" if layout.head in ("tokens", "mean_logit") else "ForSequenceClassification"
    if not any(name.endswith(wanted) for name in architectures):
        what = ", ".join(architectures) or "model of unknown kind"
        by_class = "sequence-classification head with one output a label"
        needed = by_class if wanted == "ForSequenceClassification" else "language-model head"
        raise UsageError(f"{model} is a {what}: a reward model needs a {needed}")
    if wanted == "ForSequenceClassification" and config.num_labels != len(layout.labels):
        raise UsageError(
            f"{model}: the head has {config.num_labels} outputs, prm.json names {len(layout.labels)} labels"
        )
    return layout


def _no_reward_model(model: str, error: Exception) -> UsageError:
    why = str(error).strip().split("\n")[0]
    return UsageError(f"{model} is no reward model of this kind: {why}")
