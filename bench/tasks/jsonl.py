"""A task of one's own, from a file and no code. A line of it:

{"problem": "What is 2 + 2?", "answer": "4"}

"question" will do for "problem"; "answer" is a number, LaTeX, or a worked solution that boxes it
or ends with "#### 4"; "id" is optional and must then be unique.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

from bench.grading.equality import WORKER, right_math, same_math
from bench.grading.extract import (
    last_number,
    math_answer,
    number_in_words,
    reference_answer,
    stated_number,
)
from bench.grading.fallback import is_sentence, last_mathematics
from bench.grading.grade import Grade, grade_math, grade_number
from bench.grading.numeric import MAX_CHARS, number
from bench.tasks.base import Example, TextTask
from bench.tasks.prompts import MATH
from prm.data.rows import Row, json_lines
from search.errors import UsageError
from search.types import Problem

EXAMPLE = '{"problem": "What is 2 + 2?", "answer": "4"}'


class Jsonl(TextTask):
    """`data`: the file. Answers are compared as numbers if both are, else mathematically."""

    name = "jsonl"
    prompts = MATH

    def examples(self, data: Path | None, limit: int | None) -> list[Example]:
        """The problems of the file. Raises UsageError, also if math-verify does not load."""
        if data is None:
            raise UsageError("the task jsonl has no data of its own; give a file by --data PATH")
        examples: dict[str, Example] = {}
        for row in json_lines(data):
            try:
                example = _example(row, data.stem)
            except UsageError as error:
                raise UsageError(f"{error}; a line looks like this: {EXAMPLE}") from error
            if example.problem.id in examples:
                raise UsageError(f"{row.where}: the id {example.problem.id!r} is there already")
            examples[example.problem.id] = example
        WORKER.start()
        return list(examples.values())[:limit]

    def stated(self, text: str) -> str | None:
        """The final answer as in MATH or GSM8K."""
        return math_answer(text) or stated_number(text)

    def fallback(self, text: str) -> str | None:
        """The last mathematics of the last sentence, or else the last number."""
        return last_mathematics(text) or last_number(text)

    def is_bare(self, text: str) -> bool:
        return not is_sentence(text)

    def equal(self, a: str, b: str) -> bool:
        """True if both are the same number, or the same mathematically."""
        return same_math(a, b)[0]

    def compare(self, answer: str | None, reference: str) -> Grade:
        """Exact if both are numbers, else mathematical equality.

        If only the reference is a number, the answer may be in words that give it, as in GSM8K.
        """
        if answer is None or number(reference) is None:
            return grade_math(answer, reference)
        if number(answer) is not None:
            return grade_number(answer, reference)
        answer = _TIMES.sub("*", answer)
        grade = grade_math(answer, reference)
        if grade.correct or len(answer) > MAX_CHARS:
            return grade
        explained = _EXPLAINED.fullmatch(answer)
        if explained and right_math(explained["computation"], explained["answer"])[0]:
            return grade_math(explained["answer"], reference)
        in_words = grade_number(number_in_words(answer), reference)
        return in_words if in_words.correct else grade


_TIMES = re.compile(r"(?<=\d)\s+x\s+(?=\\?\$?\d)")
_EXPLAINED = re.compile(r"(?P<answer>[^()]*\d[^()]*)\s\((?P<computation>[^a-zA-Z]*)\)")
"""An answer with its computation in brackets: 18 (9+9)."""


def _example(row: Row, source: str) -> Example:
    name = row.fields.get("id", f"{source}/{row.number}")
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise UsageError(f"{row.where}: 'id' must be a string or a whole number")
    return Example(Problem(str(name), row.text("problem", "question")), _reference(row))


def _reference(row: Row) -> str:
    answer = row.fields.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        if answer - answer != 0:
            raise UsageError(f"{row.where}: 'answer' must be a finite number")
        return format(Decimal(repr(answer)), "f")  # 1e16 written out
    if reference := reference_answer(row.text("answer")):
        return reference
    raise UsageError(f"{row.where}: nothing follows '####' in 'answer'")
