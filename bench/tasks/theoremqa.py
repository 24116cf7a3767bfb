"""TheoremQA (Chen et al. 2023, arXiv:2305.12524): 800 questions that apply theorems.

https://github.com/TIGER-AI-Lab/TheoremQA; on the hub TIGER-Lab/TheoremQA. A row has "Question", "Answer",
"Answer_type" (bool, integer, float, option, list of integer, list of float) and "Picture"; "Answer" is a
JSON value in the authors' file and a text on the hub. The 53 questions with a picture are asked without it,
as in Eurus's evaluation.

Answers are compared as the authors do, without evaluating what a model wrote: a decimal may be off by 4 %,
a whole number is compared after rounding, a list has no order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from bench.grading.equality import WORKER, same_math
from bench.grading.extract import last_number, math_answer
from bench.grading.fallback import is_sentence, last_mathematics
from bench.grading.grade import Grade, grade_math
from bench.grading.notation import normal_form
from bench.grading.numeric import number
from bench.tasks.base import Example, TextTask
from bench.tasks.prompts import THEOREMQA
from bench.tasks.sources import source_rows
from prm.data.rows import Row, hub_rows
from search.errors import UsageError
from search.prompts import Prompt
from search.types import Problem

TOLERANCE = Fraction(4, 100)
"""How far an answer may be from a decimal, relative to it."""
TRUTHS = {"true": True, "yes": True, "false": False, "no": False}
OPTION = re.compile(r"\(?([a-d])\)?(?![a-z0-9])", re.IGNORECASE)
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}")


class TheoremQA(TextTask):
    """`data`: theorem_qa.json (or JSON lines, Parquet), or a folder that holds it."""

    name = "theoremqa"
    prompts: Mapping[str, Prompt] = MappingProxyType(THEOREMQA)

    def examples(self, data: Path | None, limit: int | None) -> list[Example]:
        """The questions, grouped by type of answer. Raises UsageError, also if math-verify does not load."""
        examples = list(islice(map(_example, source_rows(data, "theorem_qa.json", _on_hub)), limit))
        WORKER.start()
        return examples

    def stated(self, text: str) -> str | None:
        """The final answer: the last box, or what the text calls its answer."""
        return math_answer(text)

    def fallback(self, text: str) -> str | None:
        """The last mathematics of the last sentence, or else the last number."""
        return last_mathematics(text) or last_number(text)

    def is_bare(self, text: str) -> bool:
        return not is_sentence(text)

    def equal(self, a: str, b: str) -> bool:
        """True if both are the same mathematically, to all digits."""
        return a.strip().casefold() == b.strip().casefold() or same_math(a, b)[0]

    def compare(self, answer: str | None, reference: str) -> Grade:
        """By the type of the reference, which its text shows: True, (a), [1, 2], 0.5 or 3.

        What is no number as written, such as \\sqrt{2}, is compared mathematically.
        """
        if answer is None:
            return grade_math(answer, reference)
        answer = _TEXT.sub(r"\1", answer).strip()
        if reference.lower() in TRUTHS:
            return Grade(TRUTHS.get(answer.lower().rstrip(".")) is TRUTHS[reference.lower()], "exact")
        if option := OPTION.fullmatch(reference):
            chosen = OPTION.match(answer)
            return Grade(chosen is not None and chosen[1].lower() == option[1].lower(), "exact")
        if reference.startswith("["):
            return Grade(_same_list(_items(answer), _items(reference)), "numeric")
        value = _value(answer)
        return grade_math(answer, reference) if value is None else Grade(_near(value, reference), "numeric")


def _on_hub() -> Iterator[Row]:
    return hub_rows("TIGER-Lab/TheoremQA", "test", stream=False)


def _example(row: Row) -> Example:
    answer = row.fields.get("Answer")
    if not isinstance(answer, str | bool | int | float | list) or answer in ("", []):
        raise UsageError(f"{row.where}: 'Answer' must be a text, a number, true or false, or a list")
    reference = str(answer).strip()
    name = row.fields.get("id", row.number)
    kind = str(row.fields.get("Answer_type", ""))
    is_list = reference.startswith("[")
    if (is_list or kind.startswith(("integer", "float", "list"))) and None in map(number, _items(reference)):
        raise UsageError(f"{row.where}: 'Answer' must hold numbers, not {reference}")
    return Example(Problem(f"theoremqa/{name}", row.text("Question")), reference, kind)


def _items(text: str) -> list[str]:
    """The parts of a list, with or without brackets."""
    inside = text.strip().removeprefix("\\left").strip("[](){}\\ ").removesuffix("\\right")
    return [part.strip() for part in inside.split(",")]


def _value(text: str) -> Fraction | None:
    """The number on the last side of an answer, without its unit; None if there is none."""
    side = re.split(r"=|\\approx|≈", text)[-1].strip()
    value = number(side)
    return number(normal_form(side)) if value is None else value


def _near(value: Fraction, reference: str) -> bool:
    """Within the tolerance of a decimal, or equal to a whole number after rounding."""
    wanted = number(reference)
    if wanted is None:
        return False
    if re.search(r"[.eE]", reference):
        return abs(value - wanted) <= abs(wanted) * TOLERANCE
    return round(value) == wanted


def _same_list(answers: list[str], references: list[str]) -> bool:
    """Whether two lists of numbers are alike once both are sorted."""
    values = [value for value in map(_value, answers) if value is not None]
    if not len(answers) == len(values) == len(references):
        return False
    wanted = sorted(references, key=lambda text: number(text) or Fraction(0))
    return all(map(_near, sorted(values), wanted))
