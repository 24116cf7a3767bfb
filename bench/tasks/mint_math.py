"""MINT's problems with short answers, as Eurus's evaluation takes them: MATH, TheoremQA and MMLU.

The format is in `bench.tasks.mint`. By source, "reference" is

math, gsm8k   a number: "10.0". MATH has only problems with such answers.
theoremqa     a JSON value beside its "answer_type": [0, 5], "list of integer".
mmlu          the letter of an option, in small type. A "prompt" ends with the options: "Options: A ) 6 , B )
              121 , C ) 18107". The 76 questions are of many subjects, a third of them mathematics.

How answers are compared depends on the source. A whole number must be equal, another one of MATH may be off
by 5 %, as with the authors; those of TheoremQA are compared as in the task theoremqa.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from bench.grading.equality import WORKER, same_math
from bench.grading.extract import bare, last_number, math_answer
from bench.grading.fallback import is_sentence, last_mathematics
from bench.grading.grade import Grade, grade_math
from bench.grading.numeric import number
from bench.grading.worker import Allowance
from bench.tasks.base import Example, TextTask
from bench.tasks.choices import Choices, options_of
from bench.tasks.mint import mint_rows, name_of, solution_in
from bench.tasks.prompts.mint import MATH
from bench.tasks.sources import text_or_number
from bench.tasks.theoremqa import TheoremQA, reference_of, value_in
from prm.data.rows import Row
from search.errors import UsageError
from search.prompts import Prompt
from search.types import Answers, Problem

SOURCES = ("math", "theoremqa", "mmlu")
ALONE = ("gsm8k",)
"""Not in Eurus's evaluation: read only if its file is given."""
TOLERANCE = Fraction(5, 100)
"""How far an answer may be from a number of MATH that is not whole, relative to it."""


class Rules(Protocol):
    """How answers are compared."""

    def equal(self, a: str, b: str) -> bool:
        """True if two extracted answers are the same answer."""
        ...

    def compare(self, answer: str | None, reference: str) -> Grade:
        """Grade an answer against a reference answer."""
        ...


class MintMath(TextTask):
    """`data`: as `mint_rows` takes it; GSM8K is read only if its file is given.

    Problems are grouped by source. A reference to a multiple choice is its letter and text: (C) 18107.
    """

    name = "mint_math"
    test_only = True
    prompts: Mapping[str, Prompt] = MappingProxyType(MATH)

    def __init__(self) -> None:
        super().__init__()
        self._rules: dict[str, Rules] = {}

    def examples(self, data: Path | None, limit: int | None) -> list[Example]:
        """The problems. Raises UsageError, also if math-verify does not load."""
        rows = islice(mint_rows(self.name, data, SOURCES, ALONE), limit)
        examples = [self._example(source, row) for source, row in rows]
        WORKER.start()
        return examples

    def stated(self, text: str) -> str | None:
        """The final answer: between solution tags, or else the last box or what the text calls it."""
        inside = solution_in(text)
        return math_answer(text) if inside is None else math_answer(inside) or bare(inside)

    def fallback(self, text: str) -> str | None:
        """The last mathematics of the last sentence, or else the last number."""
        return last_mathematics(text) or last_number(text)

    def is_bare(self, text: str) -> bool:
        return not is_sentence(text)

    def equal(self, a: str, b: str) -> bool:
        """True if both are the same mathematically."""
        return NUMBERS.equal(a, b)

    def compare(self, answer: str | None, reference: str) -> Grade:
        """By the rules for numbers, which also read a multiple choice. Bounded in time."""
        return NUMBERS.compare(answer, reference)

    def answers(self, problem: Problem) -> Answers:
        return _Answers(self, self._rules.get(problem.id, NUMBERS))

    def grade(self, problem: Problem, answer: str | None) -> Grade:
        return self._rules.get(problem.id, NUMBERS).compare(answer, self._references[problem.id])

    def _example(self, source: str, row: Row) -> Example:
        name, question = name_of(source, row), row.text("prompt")
        if source == "theoremqa":
            self._rules[name] = THEOREMS
            reference = reference_of(row, "reference", str(row.fields.get("answer_type", "")))
        elif source == "mmlu":
            options = options_of(question)
            self._rules[name] = Choices(tuple(options.items()))
            reference = _option(row, options)
        else:
            reference = _number(row)
        return Example(Problem(name, question), reference, source)


@dataclass(frozen=True, slots=True)
class _Answers:
    """The answers to one problem."""

    task: MintMath
    rules: Rules

    def extract(self, text: str) -> str | None:
        return self.task.extract(text)

    def equal(self, a: str, b: str) -> bool:
        return self.rules.equal(a, b)


class _NumberRules:
    def equal(self, a: str, b: str) -> bool:
        return same_math(_mathematics(a), _mathematics(b))[0]

    def compare(self, answer: str | None, reference: str) -> Grade:
        if answer is None:
            return grade_math(answer, reference)
        grade, wanted = grade_math(_mathematics(answer), reference), number(reference)
        if grade.correct or wanted is None or wanted.denominator == 1:
            return grade
        value = value_in(_mathematics(answer), Allowance(WORKER.timeout_s))
        return grade if value is None else Grade(abs(value - wanted) <= abs(wanted) * TOLERANCE, "numeric")


class _TheoremRules:
    def __init__(self) -> None:
        self._task = TheoremQA()

    def equal(self, a: str, b: str) -> bool:
        return self._task.equal(_mathematics(a), _mathematics(b))

    def compare(self, answer: str | None, reference: str) -> Grade:
        return self._task.compare(None if answer is None else _mathematics(answer), reference)


NUMBERS, THEOREMS = _NumberRules(), _TheoremRules()


def _mathematics(answer: str) -> str:
    """The last mathematics of an answer that is a sentence, as it can be between solution tags."""
    return (last_mathematics(answer) if is_sentence(answer) else None) or answer


def _number(row: Row) -> str:
    """The number that a row has for a reference, without decimals if it is whole: 10.0 as 10."""
    reference = text_or_number(row, "reference").strip()
    value = number(reference)
    if value is None:
        raise UsageError(f"{row.where}: 'reference' must be a number, not {reference!r}")
    return str(value) if value.denominator == 1 else reference


def _option(row: Row, options: Mapping[str, str]) -> str:
    """The letter that a row has for a reference, with the text of its option."""
    letter = row.text("reference").strip().lower()
    if not options:
        raise UsageError(f"{row.where}: 'prompt' must end with options, as in 'Options: A ) 6 , B ) 121'")
    if letter not in options:
        raise UsageError(f"{row.where}: 'reference' must be one of {', '.join(options)}, not {letter!r}")
    return f"({letter.upper()}) {options[letter]}"
