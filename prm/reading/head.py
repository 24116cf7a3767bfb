"""The outputs of a reward model: how they are computed at a scored token, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from search.errors import UsageError

LABELS = ("negative", "neutral", "positive")

HeadType = Literal["linear", "mlp", "tokens", "mean_logit"]
Kind = Literal["process", "outcome"]


@dataclass(frozen=True, slots=True)
class Head:
    """The outputs of a reward model at a scored token.

    type: how they are computed (`head` in prm.json).
        "linear": one linear layer, the tensors `weights`.weight and, if present, `weights`.bias.
        "mlp": two linear layers with a ReLU between them, `weights`.0 and `weights`.2.
        "tokens": the language model's logits of `tokens`, one token per label.
        "mean_logit": the mean of all logits of the language model.
    labels: what the outputs stand for, in order. A single output is the logit of "positive"; several
        are the logits of a softmax.
    kind: "process" models score every step; "outcome" models score a solution, after its last step.

    Raises UsageError if these do not fit together.
    """

    type: HeadType = "linear"
    weights: str = "score"
    tokens: tuple[str, ...] = ()
    labels: tuple[str, ...] = LABELS
    kind: Kind = "process"

    def __post_init__(self) -> None:
        if sorted(self.labels) not in (sorted(LABELS), ["negative", "positive"], ["positive"]):
            raise UsageError(f"prm.json: labels must be {LABELS} in some order, not {self.labels}")
        if self.type not in get_args(HeadType):
            raise UsageError(f"prm.json: head is one of {', '.join(get_args(HeadType))}")
        if self.kind not in get_args(Kind):
            raise UsageError(f"prm.json: kind is one of {', '.join(get_args(Kind))}")
        if self.type == "tokens" and len(self.tokens) != len(self.labels):
            raise UsageError("prm.json: a head of type tokens needs one token per label")
        if self.type == "mean_logit" and len(self.labels) != 1:
            raise UsageError("prm.json: a mean_logit head has one output, so labels must be [positive]")
