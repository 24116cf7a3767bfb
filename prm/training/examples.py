"""From labelled solutions to token ids with targets: what a reward model is trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from prm.data.labels import LabelledSolution
from prm.data.pairs import Pair
from prm.reading.encoder import Encoder
from prm.training.sequences import IGNORED, Branch, Example, PairExample, chain, trees
from search.errors import UsageError

Form = Literal["classes3", "classes2", "soft", "tokens", "outcome", "pairs", "sft"]
FORMS: tuple[Form, ...] = get_args(Form)
Neutral = Literal["positive", "negative", "drop"]


@dataclass(slots=True)
class Examples:
    """Makes examples, and counts what became of every label.

    max_length: in tokens; what is longer is cut at the head of its question (`cut`), never through
        steps, or left out; what even so does not fit is left out. Both are counted.
    neutral: what a 0 is where there are two classes.
    tree: records of one question are laid out as trees of up to so many tokens; 0: each by itself.
    """

    encoder: Encoder
    form: Form
    max_length: int
    cut: bool = True
    neutral: Neutral = "positive"
    tree: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def of(self, solutions: Iterable[LabelledSolution]) -> list[Example]:
        """Examples of the records that have what this form needs. Raises UsageError if none has."""
        if self.form in ("outcome", "sft"):
            one = self._outcome if self.form == "outcome" else self._read
            made: list[Example | None] = [one(solution) for solution in solutions]
        else:
            branches = [branch for s in solutions if (branch := self._branch(s)) is not None]
            made = self._trees(branches) if self.tree else [chain(branch) for branch in branches]
        kept = [example for example in made if example is not None]
        if not kept:
            raise UsageError(f"no record holds a label for --form {self.form}: {self._said()}")
        return kept

    def _trees(self, branches: Sequence[Branch]) -> list[Example | None]:
        made = list(trees(branches, self.tree))
        self.counts["tokens of records"] += sum(map(len, branches))
        self.counts["tokens of their trees"] += sum(map(len, made))
        return [*made]

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

    def _branch(self, solution: LabelledSolution) -> Branch | None:
        """The steps, each with its label at its end."""
        targets = self._step_targets(solution)
        if not targets:
            self.counts["records without a label that counts"] += 1
            return None
        pieces = self._fitted(solution.question, solution.steps)
        if pieces is None:
            self.counts["labels dropped, too long"] += len(targets)
            return None
        labels = (solution.labels[step] for step in targets)
        self.counts.update(f"labels {label:+d}" if label else "labels 0" for label in labels)
        return Branch(pieces, targets)

    def _read(self, solution: LabelledSolution) -> Example | None:
        """The steps, each token predicted from those before it, and the end if the solution ends there."""
        pieces = self._fitted(solution.question, solution.steps)
        if pieces is None:
            return None
        tokens = [token for piece in pieces for token in piece]
        if solution.outcome is not None and not solution.rest and len(tokens) < self.max_length:
            tokens += self.encoder.end
        ids = np.array(tokens, dtype=np.int32)
        wanted, inner = np.full((2, len(ids)), IGNORED, dtype=np.float32)
        begin = len(pieces[0])
        wanted[begin - 1 : -1] = ids[begin:]
        return Example(ids, wanted, inner)

    def _step_targets(self, solution: LabelledSolution) -> dict[int, float]:
        """Step index -> target, for the steps whose labels count."""
        found: dict[int, float] = {}
        if self.form == "soft" and not solution.values:
            return found
        for step in solution.counted:
            label = solution.labels[step]
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
        return chain(Branch(pieces, {len(pieces) - 2: target}))

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
