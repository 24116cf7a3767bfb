"""How a reward model reads a question and steps, kept beside its weights as `prm.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.errors import UsageError
from search.types import Judgement, Step

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LABELS = ("negative", "neutral", "positive")


@dataclass(frozen=True, slots=True)
class Layout:
    """A model with a classification head that is read at the last token of each step.

    question: text before the steps, with {question} in it.
    separator: what ends a step; its last token is where the step is judged.
    labels: what the head's outputs mean, in order.
    """

    question: str = "{question}\n"
    separator: str = "\n"
    labels: tuple[str, ...] = LABELS

    def __post_init__(self) -> None:
        if sorted(self.labels) not in (sorted(LABELS), ["negative", "positive"]):
            raise UsageError(f"prm.json: labels must be {LABELS} in some order, not {self.labels}")
        if "{question}" not in self.question or not self.separator:
            raise UsageError("prm.json: question must hold {question}, and separator must not be empty")

    def encode(
        self, tokenizer: PreTrainedTokenizerFast, question: str, steps: Sequence[Step]
    ) -> list[list[int]]:
        """Token ids in pieces: the question, then one piece a step; each is judged at its last token.

        Pieces are tokenised one by one, so what a step is judged on never depends on later steps.
        """
        first = tokenizer(self.question.replace("{question}", question)).input_ids
        if first and first[-1] == tokenizer.eos_token_id:  # some tokenizers end every text
            first = first[:-1]
        texts = [step.text.strip("\n").rstrip() + self.separator for step in steps]
        rest = tokenizer(texts, add_special_tokens=False).input_ids if texts else []
        return [first, *rest]

    def judgement(self, probabilities: Sequence[float]) -> Judgement:
        """The head's probabilities, [len(labels)], as a judgement. Raises ScorerError."""
        named = dict(zip(self.labels, map(float, probabilities), strict=True))
        return Judgement(named["negative"], named.get("neutral", 0.0), named["positive"])


def save_layout(layout: Layout, directory: Path) -> None:
    (directory / "prm.json").write_text(json.dumps(asdict(layout), indent=2) + "\n")


def read_layout(model: str) -> Layout:
    """The layout of a checkpoint, once its head is known to fit; no weights are loaded.

    model: a path or hub id. Raises UsageError if it is no reward model of this kind.
    """
    from transformers import AutoConfig
    from transformers.utils import cached_file

    try:
        config = AutoConfig.from_pretrained(model)
        found = cached_file(model, "prm.json")
    except (OSError, ValueError) as error:
        why = str(error).strip().split("\n")[0]
        raise UsageError(f"{model} is no reward model of this kind: {why}") from error
    try:
        fields = json.loads(Path(str(found)).read_text())
        layout = Layout(**{**fields, "labels": tuple(fields["labels"])})
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{model}/prm.json is not a layout: {error}") from error
    architectures = config.architectures or []
    if not any(name.endswith("ForSequenceClassification") for name in architectures):
        raise UsageError(
            f"{model} is a {', '.join(architectures) or 'model of unknown kind'}: a reward model needs a "
            "sequence-classification head with one output a label"
        )
    if config.num_labels != len(layout.labels):
        raise UsageError(
            f"{model}: the head has {config.num_labels} outputs, prm.json names {len(layout.labels)} labels"
        )
    return layout
