"""TheoremQA (Chen et al. 2023, arXiv:2305.12524): 800 questions that apply theorems.

https://github.com/TIGER-AI-Lab/TheoremQA; on the hub TIGER-Lab/TheoremQA. A row has "Question", "Answer",
"Answer_type" (bool, integer, float, option, list of integer, list of float) and "Picture"; "Answer" is a
JSON value in the authors' file and a text on the hub. The 53 questions with a picture are asked without it,
as in Eurus's evaluation.

Answers are compared as the authors do: a decimal may be off by 4 %, a whole number is compared after
rounding, a list has no order. An exact answer such as \\sqrt{2} is evaluated in a process that can be killed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from bench.grading.equality import WORKER, same_math, value_of
from bench.grading.extract import last_number, math_answer
from bench.grading.fallback import is_sentence, last_mathematics
from bench.grading.grade import Grade, grade_math
from bench.grading.notation import normal_form
from bench.grading.numeric import number
from bench.grading.structure import Equation, Many, read
from bench.grading.worker import Allowance
from bench.tasks.base import Example, TextTask
from bench.tasks.bbh import CHOSEN, TRUTH
from bench.tasks.prompts import THEOREMQA
from bench.tasks.sources import source_rows
from prm.data.rows import Row, hub_rows
from search.errors import UsageError
from search.prompts import Prompt
from search.types import Problem

TOLERANCE = Fraction(4, 100)
"""How far an answer may be from a decimal, relative to it."""
TRUTHS = {"true": True, "yes": True, "false": False, "no": False}
OPTION = re.compile(r"\(?([a-d])\)?", re.IGNORECASE)
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}")


class TheoremQA(TextTask):
    """`data`: theorem_qa.json (or JSON lines, Parquet), or a folder that holds it."""

    name = "theoremqa"
    test_only = True
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

        What has no value, such as x + 1, is compared mathematically. Bounded in time.
        """
        if answer is None:
            return grade_math(answer, reference)
        plain = plain_text(answer)
        if reference.lower() in TRUTHS:
            return Grade(_truth(plain) is TRUTHS[reference.lower()], "exact")
        if option := OPTION.fullmatch(reference):
            chosen = CHOSEN.match(plain)
            named = None if chosen is None else (chosen[1] or chosen[2]).lower()
            return Grade(named == option[1].lower(), "exact")
        if reference.startswith("["):
            return Grade(_same_list(_items(answer), _items(reference)), "numeric")
        value = value_in(answer, Allowance(WORKER.timeout_s))
        return grade_math(plain, reference) if value is None else Grade(_near(value, reference), "numeric")


def _on_hub() -> Iterator[Row]:
    return hub_rows("TIGER-Lab/TheoremQA", "test", stream=False)


def _example(row: Row) -> Example:
    kind = str(row.fields.get("Answer_type", ""))
    reference = reference_of(row, "Answer", kind)
    name = row.fields.get("id", row.number)
    return Example(Problem(f"theoremqa/{name}", row.text("Question")), reference, kind)


def reference_of(row: Row, field: str, kind: str) -> str:
    """The reference answer that a field holds, as text. kind: its type, "" if unknown. Raises UsageError."""
    answer = row.fields.get(field)
    if not isinstance(answer, str | bool | int | float | list) or answer in ("", []):
        raise UsageError(f"{row.where}: {field!r} must be a text, a number, true or false, or a list")
    reference = str(answer).strip()
    is_list = reference.startswith("[")
    if (is_list or kind.startswith(("integer", "float", "list"))) and None in map(number, _items(reference)):
        raise UsageError(f"{row.where}: {field!r} must hold numbers, not {reference}")
    return reference


def _truth(text: str) -> bool | None:
    """What an answer says, with or without a reason behind it: "False, because ..."."""
    reasoned = TRUTH.match(text)
    return TRUTHS.get((reasoned[1] if reasoned else text.rstrip(".")).lower())


def _items(text: str) -> list[str]:
    """The parts of a list, with or without brackets."""
    answer = read(text, thousands=False)
    if isinstance(answer, Equation):
        answer = answer.value
    if isinstance(answer, Many) and answer.brackets != ":":
        return [part.text for part in answer.parts]
    alone = re.fullmatch(r"[\[(](.*)[\])]", answer.text, re.DOTALL)
    return [alone[1] if alone else answer.text]


def plain_text(text: str) -> str:
    """A text without the commands that set it upright or bold: \\text{True} as True."""
    return _TEXT.sub(r"\1", text).strip()


def value_in(text: str, allowance: Allowance) -> Fraction | None:
    """The number on the last side of an answer, without its unit; None if there is none."""
    side = _last_side(plain_text(text))
    value = number(side)
    if value is None:
        value = number(normal_form(side))
    return value_of(_last_side(text), allowance) if value is None else value


def _last_side(text: str) -> str:
    return re.split(r"=|\\approx|≈", text)[-1].strip()


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
    if len(answers) != len(references):
        return False
    allowance = Allowance(WORKER.timeout_s)
    values = [value for answer in answers if (value := value_in(answer, allowance)) is not None]
    if len(values) != len(answers):
        return False
    wanted = sorted(references, key=lambda text: number(text) or Fraction(0))
    return all(map(_near, sorted(values), wanted))
