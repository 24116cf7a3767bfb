"""Training examples: token ids with targets, made from labelled solutions and pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from prm.data.labels import LabelledSolution
from prm.data.pairs import Pair
from prm.reading.encoder import Encoder
from prm.reading.head import LABELS
from prm.training.sequences import IGNORED, Branch, Example, PairExample, chain, trees
from search.errors import UsageError
from search.segment import SEGMENTERS

Form = Literal["classes3", "classes2", "soft", "tokens", "outcome", "pairs", "sft"]
FORMS: tuple[Form, ...] = get_args(Form)
Neutral = Literal["positive", "negative", "drop"]


@dataclass(slots=True)
class Examples:
    """Makes examples, and counts what happened to every label.

    A step that a search would cut at inner line ends is laid out as it will be read: in parts, of which only
    the last has the label.

    max_length: in tokens. With `cut`, a longer sequence is cut at the head of its question, never in a
        step, and dropped if that is not enough; without `cut`, it is dropped. Both are counted.
    neutral: the class of a neutral step (label 0) where there are two classes.
    tree: lay out records of one question as trees of at most this many tokens; 0 makes one example per
        record.
    """

    encoder: Encoder
    form: Form
    max_length: int
    cut: bool = True
    neutral: Neutral = "positive"
    tree: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def of(self, solutions: Iterable[LabelledSolution]) -> list[Example]:
        """Examples of the records that have what this form needs. Raises UsageError if there are none."""
        if self.form in ("outcome", "sft"):
            make = self._outcome if self.form == "outcome" else self._text
            examples = [example for s in solutions if (example := make(s)) is not None]
        else:
            branches = [branch for s in solutions if (branch := self._branch(s)) is not None]
            examples = self._trees(branches) if self.tree else [chain(branch) for branch in branches]
        if not examples:
            counts = ", ".join(f"{n} {name}" for name, n in self.counts.items()) or "there are no records"
            raise UsageError(f"no record has a label for --form {self.form}: {counts}")
        return examples

    def _trees(self, branches: Sequence[Branch]) -> list[Example]:
        examples = list(trees(branches, self.tree))
        self.counts["tokens of records"] += sum(map(len, branches))
        self.counts["tokens of their trees"] += sum(map(len, examples))
        return examples

    def of_pairs(self, pairs: Iterable[tuple[Pair, bool]]) -> list[PairExample]:
        """Examples of pairs. The flag of a pair: whether it also trains the absolute rewards."""
        examples = []
        for pair, direct in pairs:
            two = [self._whole(pair.question, steps, 0.0) for steps in (pair.chosen, pair.rejected)]
            if two[0] is not None and two[1] is not None:
                examples.append(PairExample(two[0], two[1], direct))
                self.counts[f"pairs of {pair.source}"] += 1
            else:
                self.counts["pairs dropped, too long"] += 1
        if not examples:
            raise UsageError("there is no pair of a right and a wrong complete solution of one question")
        return examples

    def _branch(self, solution: LabelledSolution) -> Branch | None:
        """The question and the steps, with the targets of the steps."""
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
        parts = [len(self._parts(step)) for step in solution.steps]
        if cut := sum(parts[step] > 1 for step in targets):
            self.counts["labels of steps cut at inner line ends"] += cut
        last = np.cumsum(parts) - 1
        return Branch(pieces, {int(last[step]): target for step, target in targets.items()})

    def _parts(self, step: str) -> list[str]:
        """The parts in which a search reads a step, if the layout separates steps by newlines."""
        if self.encoder.layout.template.separator != "\n" or "\n" not in step.strip():
            return [step]
        if len(SEGMENTERS["python"].texts(step)) == 1:  # a statement of a program, which is cut elsewhere
            return [step]
        parts = SEGMENTERS["newline"].texts(step)
        return parts if len(parts) > 1 else [step]

    def _text(self, solution: LabelledSolution) -> Example | None:
        """A next-token example of the steps, with the end token if the solution is complete.

        A solution that is known to be wrong is none.
        """
        if solution.outcome is False or -1 in solution.labels:
            self.counts["wrong solutions dropped"] += 1
            return None
        whole = solution.outcome is not None and not solution.rest
        end = self.encoder.end if whole else []
        pieces = self._fitted(solution.question, solution.steps, room=len(end))
        if pieces is None:
            return None
        self.counts["solutions" if whole else "solutions without their end"] += 1
        tokens = [*(token for piece in pieces for token in piece), *end]
        ids = np.array(tokens, dtype=np.int32)
        targets, inner = np.full((2, len(ids)), IGNORED, dtype=np.float32)
        begin = len(pieces[0])
        targets[begin - 1 : -1] = ids[begin:]
        return Example(ids, targets, inner)

    def _step_targets(self, solution: LabelledSolution) -> dict[int, float]:
        """The targets of the steps whose labels count, by index of the step."""
        targets: dict[int, float] = {}
        if self.form == "soft" and not solution.values:
            return targets
        head = self.encoder.layout.head
        for step in solution.counted:
            label = solution.labels[step]
            if self.form == "soft":
                targets[step] = solution.values[step]
            elif self.form == "classes3":
                targets[step] = head.labels.index(LABELS[label + 1])
            elif label or self.neutral != "drop":
                name = "positive" if label > 0 or (label == 0 and self.neutral == "positive") else "negative"
                at = head.labels.index(name)
                is_token = self.form == "tokens"
                targets[step] = self.encoder.token_id(head.tokens[at]) if is_token else at
            else:
                self.counts["neutral labels dropped"] += 1
        return targets

    def _outcome(self, solution: LabelledSolution) -> Example | None:
        if solution.outcome is None:
            self.counts["records without a known outcome"] += 1
            return None
        target = self.encoder.layout.head.labels.index("positive" if solution.outcome else "negative")
        example = self._whole(solution.question, solution.steps + solution.rest, target)
        if example is not None:
            self.counts["right" if solution.outcome else "wrong"] += 1
        return example

    def _whole(self, question: str, steps: Sequence[str], target: float) -> Example | None:
        """A complete solution, with the target at its last token."""
        pieces = self._fitted(question, steps)
        if pieces is None:
            self.counts["solutions dropped, too long"] += 1
            return None
        return chain(Branch(pieces, {len(pieces) - 2: target}))

    def _fitted(self, question: str, steps: Sequence[str], *, room: int = 0) -> list[list[int]] | None:
        """The pieces of the question and of the parts of all steps, None if they are too long.

        room: tokens that are to follow.
        """
        pieces = self.encoder(question, [part for step in steps for part in self._parts(step)])
        excess = sum(map(len, pieces)) + room - self.max_length
        if excess <= 0:
            return pieces
        kept = len(self.encoder.start)
        if not self.cut or excess >= len(pieces[0]) - kept:
            self.counts["sequences dropped, too long"] += 1
            return None
        self.counts["sequences cut at the head of the question"] += 1
        return [pieces[0][:kept] + pieces[0][kept + excess :], *pieces[1:]]


def class_weights(examples: Sequence[Example], classes: int) -> list[float]:
    """Weights under which all classes count the same; their mean over the labels is 1.

    Raises UsageError if a class has no label.
    """
    counts: Counter[int] = Counter()
    for example in examples:
        counts.update(example.targets[example.targets != IGNORED].astype(int).tolist())
    if missing := [c for c in range(classes) if not counts[c]]:
        raise UsageError(f"class weights: no label of class {missing[0]} among {counts.total()}")
    return [counts.total() / (classes * counts[c]) for c in range(classes)]
