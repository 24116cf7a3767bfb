"""From labelled solutions to token ids with targets: what a reward model is trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from prm.data.pairs import Pair
from prm.encoder import Encoder
from prm.labels import LabelledSolution
from search.errors import UsageError

Form = Literal["classes3", "classes2", "soft", "tokens", "outcome", "pairs", "sft"]
FORMS: tuple[Form, ...] = get_args(Form)
Neutral = Literal["positive", "negative", "drop"]

IGNORED = -100.0
"""The target of a token at which nothing is learnt."""


@dataclass(frozen=True, slots=True)
class Example:
    """token_ids: int32 [n]. targets: float32 [n], IGNORED where nothing is read.

    A target is a class (classes, outcome), a probability (soft), or a token id (tokens, sft).
    """

    token_ids: NDArray[np.int32]
    targets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class PairExample:
    """direct: whether the absolute rewards are trained too (Eurus' L_DR), not only their difference."""

    chosen: Example
    rejected: Example
    direct: bool

    def __len__(self) -> int:
        return max(len(self.chosen), len(self.rejected))


@dataclass(slots=True)
class Examples:
    """Makes examples, and counts what became of every label.

    max_length: in tokens; what is longer is cut at the head of its question (`cut`), never through
        steps, or left out; what even so does not fit is left out. Both are counted.
    neutral: what a 0 is where there are two classes.
    """

    encoder: Encoder
    form: Form
    max_length: int
    cut: bool = True
    neutral: Neutral = "positive"
    counts: Counter[str] = field(default_factory=Counter)

    def of(self, solutions: Iterable[LabelledSolution]) -> list[Example]:
        """Examples of the records that have what this form needs. Raises UsageError if none has."""
        made = [self._outcome(s) if self.form == "outcome" else self._steps(s) for s in solutions]
        kept = [example for example in made if example is not None]
        if not kept:
            raise UsageError(f"no record holds a label for --form {self.form}: {self._said()}")
        return kept

    def of_pairs(self, pairs: Iterable[tuple[Pair, bool]]) -> list[PairExample]:
        """Examples of pairs, each with whether its absolute rewards are trained."""
        made = []
        for pair, direct in pairs:
            two = [self._whole(pair.question, steps, 0.0) for steps in (pair.chosen, pair.rejected)]
            if two[0] is not None and two[1] is not None:
                made.append(PairExample(two[0], two[1], direct))
                self.counts[f"pairs of {pair.source}"] += 1
            else:
                self.counts["pairs dropped, too long"] += 1
        if not made:
            raise UsageError("no pair of a right and a wrong whole solution of the same question")
        return made

    def _said(self) -> str:
        return ", ".join(f"{n} {what}" for what, n in self.counts.items()) or "there are no records"

    def _steps(self, solution: LabelledSolution) -> Example | None:
        targets = {} if self.form == "sft" else self._step_targets(solution)
        if not targets and self.form != "sft":
            self.counts["records without a label that counts"] += 1
            return None
        pieces = self._fitted(solution.question, solution.steps)
        if pieces is None:
            self.counts["labels dropped, too long"] += len(targets)
            return None
        ids = [token for piece in pieces for token in piece]
        ends = list(accumulate(map(len, pieces)))[1:]
        wanted = np.full(len(ids), IGNORED, dtype=np.float32)
        if self.form == "sft":
            begin = len(pieces[0])
            wanted[begin - 1 : -1] = ids[begin:]
        else:
            for step, target in targets.items():
                wanted[ends[step] - 1] = target
        return Example(np.array(ids, dtype=np.int32), wanted)

    def _step_targets(self, solution: LabelledSolution) -> dict[int, float]:
        """Step index -> target, for the steps whose labels count."""
        found: dict[int, float] = {}
        if self.form == "soft" and not solution.values:
            return found
        for step in solution.counted:
            label = solution.labels[step]
            self.counts[f"labels {label:+d}" if label else "labels 0"] += 1
            if self.form == "soft":
                found[step] = solution.values[step]
            elif self.form == "classes3":
                found[step] = self.encoder.layout.labels.index(("negative", "neutral", "positive")[label + 1])
            elif label or self.neutral != "drop":
                name = "positive" if label > 0 or (label == 0 and self.neutral == "positive") else "negative"
                at = self.encoder.layout.labels.index(name)
                is_token = self.form == "tokens"
                found[step] = self.encoder.token_id(self.encoder.layout.tokens[at]) if is_token else at
            else:
                self.counts["neutral labels dropped"] += 1
        return found

    def _outcome(self, solution: LabelledSolution) -> Example | None:
        if solution.outcome is None:
            self.counts["records without a known outcome"] += 1
            return None
        target = self.encoder.layout.labels.index("positive" if solution.outcome else "negative")
        example = self._whole(solution.question, solution.steps + solution.rest, target)
        if example is not None:
            self.counts["right" if solution.outcome else "wrong"] += 1
        return example

    def _whole(self, question: str, steps: Sequence[str], target: float) -> Example | None:
        """A whole solution, read at its last token."""
        pieces = self._fitted(question, steps)
        if pieces is None:
            self.counts["solutions dropped, too long"] += 1
            return None
        ids = np.array([token for piece in pieces for token in piece], dtype=np.int32)
        wanted = np.full(len(ids), IGNORED, dtype=np.float32)
        wanted[-1] = target
        return Example(ids, wanted)

    def _fitted(self, question: str, steps: Sequence[str]) -> list[list[int]] | None:
        pieces = self.encoder(question, steps)
        excess = sum(map(len, pieces)) - self.max_length
        if excess <= 0:
            return pieces
        kept = len(self.encoder.start)
        if not self.cut or excess >= len(pieces[0]) - kept:
            self.counts["sequences dropped, too long"] += 1
            return None
        self.counts["sequences cut at the head of the question"] += 1
        return [pieces[0][:kept] + pieces[0][kept + excess :], *pieces[1:]]


def class_weights(examples: Sequence[Example], classes: int) -> list[float]:
    """Weights under which each class counts the same in all; they average 1 over the labels.

    Raises UsageError if a class has no label.
    """
    seen: Counter[int] = Counter()
    for example in examples:
        seen.update(example.targets[example.targets != IGNORED].astype(int).tolist())
    if missing := [c for c in range(classes) if not seen[c]]:
        raise UsageError(f"class weights: no label of class {missing[0]} among {sum(seen.values())}")
    return [sum(seen.values()) / (classes * seen[c]) for c in range(classes)]


def collate(examples: Sequence[Example], pad: int) -> dict[str, Any]:
    """Right-padded tensors: input_ids, attention_mask and targets, [B, L].

    Raises UsageError if the batch holds no label: its loss would be none.
    """
    import torch

    width = max(map(len, examples))
    ids = np.full((len(examples), width), pad, dtype=np.int64)
    mask = np.zeros((len(examples), width), dtype=np.int64)
    targets = np.full((len(examples), width), IGNORED, dtype=np.float32)
    for row, example in enumerate(examples):
        ids[row, : len(example)] = example.token_ids
        mask[row, : len(example)] = 1
        targets[row, : len(example)] = example.targets
    if (targets == IGNORED).all():
        raise UsageError(f"a batch of {len(examples)} sequences holds no label")
    arrays = {"input_ids": ids, "attention_mask": mask, "targets": targets}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def collate_pairs(pairs: Sequence[PairExample], pad: int) -> dict[str, Any]:
    """As `collate`: the chosen ones, then the rejected ones, [2B, L]; and direct, [B]."""
    import torch

    batch = collate([p.chosen for p in pairs] + [p.rejected for p in pairs], pad)
    return {**batch, "direct": torch.tensor([float(p.direct) for p in pairs])}
