"""Anybody's sampled solutions: a row holds a question, candidates, and whether each of them is correct."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from bench.report.published import in_one_shape, is_one_sample
from bench.report.subsets import MOST_CANDIDATES
from prm.data.left_out import LeftOut
from prm.data.rows import parsed, read_rows
from search.errors import UsageError
from search.types import Answers
from search.values import AGGREGATES, Aggregate

EXAMPLE = (
    '{"id": "q1", "question": "What is 2 + 2?", "candidates": ["2 + 2 = 4. The answer is 4.", '
    '"The answer is 5."], "correct": [true, false], "scores": [[0.9, 0.8], [0.1]]}'
)
FEW = 0.05
"""The share of rows with the fewest candidates that may be left out, so that N can be larger."""

Scored = float | tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Candidates:
    """A row. texts: each a solution, or its steps. right: whether each is correct.

    question: "" if the row has none, as some published ones. scores: ready ones: of each candidate, or of its
    steps; None for one without a score. None if the row has none. All lists are [candidates].
    unread: how many candidates there are beyond `MOST_CANDIDATES`.
    """

    id: str
    question: str
    texts: Sequence[str | tuple[str, ...]]
    right: Sequence[bool]
    scores: Sequence[Scored] | None
    unread: int = 0

    def text(self, index: int) -> str:
        """A candidate as one text. Steps that hold no line ends are joined by them."""
        text = self.texts[index]
        return text if isinstance(text, str) else "".join(s if s.endswith("\n") else f"{s}\n" for s in text)


def read_candidates(
    source: str, *, answers: Answers | None = None, left_out: LeftOut | None = None
) -> list[Candidates]:
    """The rows of a file or data set, as `prm.data.rows.read_rows` takes it, also as others publish them.

    Single samples are put together by their question, in a row with the id of the first of them. Of each row,
    the first `MOST_CANDIDATES` candidates are read.

    answers: as for `bench.report.published.in_one_shape`.
    left_out: where rows that cannot be read are counted. Without it, they raise UsageError.
    Raises UsageError if no row is left.
    """
    seen, unique = set[str](), _numbered()
    samples: dict[str, _Samples] = {}

    def parse(fields: dict[str, Any]) -> list[Candidates]:
        row = _candidates(in_one_shape(fields, answers), unique)
        if is_one_sample(fields):
            samples.setdefault(row.question, _Samples(row.id)).add(row)
            return []
        if row.id in seen:
            raise UsageError("the id is there already")
        seen.add(row.id)
        return [row]

    rows = list(
        parsed(
            read_rows(source, left_out=left_out), parse, source=source, left_out=left_out,
            hint=f"; a row looks like this: {EXAMPLE}",
        )
    )  # fmt: skip
    rows += [problem.row(question) for question, problem in samples.items()]
    if not rows:
        first = None if left_out is None else left_out.first_of(source)
        raise UsageError(f"{first or source}; a row looks like this: {EXAMPLE}")
    return rows


@dataclass(slots=True)
class _Samples:
    """The samples of one problem, added one by one. id: of the row that they make; the rest is as there."""

    id: str
    texts: list[str | tuple[str, ...]] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    scores: list[Scored] = field(default_factory=list)
    unread: int = 0

    def add(self, sample: Candidates) -> None:
        """Add a row of one candidate."""
        if len(self.texts) == MOST_CANDIDATES:
            self.unread += 1
            return
        self.texts += sample.texts
        self.right += sample.right
        self.scores += [None] if sample.scores is None else sample.scores

    def row(self, question: str) -> Candidates:
        scores = None if all(score is None for score in self.scores) else self.scores
        return Candidates(self.id, question, self.texts, self.right, scores, self.unread)


def with_enough(rows: Sequence[Candidates], source: str, left_out: LeftOut | None) -> list[Candidates]:
    """The rows that have as many candidates as N will go up to.

    If a few rows (`FEW`) have fewer candidates than all the others, they are left out and counted; without
    `left_out`, N goes up to the fewest.
    """
    sizes = sorted(len(row.right) for row in rows)
    enough = sizes[int(len(sizes) * FEW)] if left_out is not None else sizes[0]
    kept = [row for row in rows if len(row.right) >= enough]
    if left_out is not None:
        for row in rows:
            if len(row.right) < enough:
                left_out.add(source, row.id, f"fewer than the {enough} candidates that nearly all rows have")
    return kept


def solution_scores(row: Candidates, aggregate: Aggregate | None) -> list[float | None]:
    """The value of each candidate, from its ready scores; None for one that has none.

    aggregate: of the steps' scores; None is the product.
    """
    how = AGGREGATES[aggregate or "product"]
    return [how(score) if isinstance(score, tuple) else score for score in row.scores or ()]


def answer_numbers(row: Candidates, answers: Answers | None) -> list[int | None]:
    """Which answer each candidate gives: equal numbers are equal answers, None is no answer.

    answers: how they are read and compared; None takes the whole text as the answer.
    """
    texts = [row.text(i) for i in range(len(row.texts))]
    found = [answers.extract(text) if answers else text.strip() or None for text in texts]
    firsts: list[str] = []
    number: dict[str, int] = {}
    for answer in found:
        if answer is None or answer in number:
            continue
        same = (i for i, first in enumerate(firsts) if answers is not None and answers.equal(answer, first))
        number[answer] = next(same, len(firsts))
        if number[answer] == len(firsts):
            firsts.append(answer)
    return [None if answer is None else number[answer] for answer in found]


def graders_disagree(answers: Sequence[int | None], right: Sequence[bool]) -> bool:
    """Whether candidates with equal answers are marked correct and wrong."""
    marks = Counter((answer, mark) for answer, mark in zip(answers, right, strict=True) if answer is not None)
    return any((answer, not mark) in marks for answer, mark in marks)


def _numbered() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"row {number}"


def _candidates(fields: dict[str, Any], names: Iterator[str]) -> Candidates:
    """Raises UsageError, KeyError or TypeError that says what is wrong with the row."""
    fallback = next(names)
    question = fields.get("question", fields.get("problem"))
    if question is None:
        raise UsageError("no field 'question' or 'problem'")
    if not isinstance(question, str):
        raise UsageError("'question' must be text")
    texts = _list(fields, "candidates", _text)
    right = _list(fields, "correct", _mark)
    if not texts:
        raise UsageError("no candidates")
    if len(texts) != len(right):
        raise UsageError("'correct' has another length than 'candidates'")
    scores: Sequence[Scored] | None = None
    if fields.get("scores") is not None:
        scores = _list(fields, "scores", _score)
        if len(scores) != len(texts):
            raise UsageError("'scores' has another length than 'candidates'")
    name = fallback if fields.get("id") is None else str(fields["id"])
    n = MOST_CANDIDATES
    some = None if scores is None else scores[:n]
    return Candidates(name, question, texts[:n], right[:n], some, max(0, len(texts) - n))


def _list(fields: dict[str, Any], name: str, check: Callable[[Any], Any]) -> list[Any]:
    values = fields[name]
    if not isinstance(values, list):
        raise UsageError(f"'{name}' must be a list, one for each candidate")
    try:
        return [check(value) for value in values]
    except TypeError as error:
        raise UsageError(f"'{name}' {error}") from error


def _text(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(step, str) for step in value):
        return tuple(value)
    raise TypeError("must be texts, or lists of steps")


def _mark(value: Any) -> bool:
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise TypeError("must be true or false for each candidate")


def _score(value: Any) -> Scored:
    if value is None or value == []:
        return None
    if isinstance(value, list):
        return tuple(_number(step) for step in value)
    return _number(value)


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    raise TypeError("must be finite numbers, one for each candidate or for each of its steps")
