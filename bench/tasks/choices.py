"""Multiple choice: the options of a question, and which of them an answer names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_lowercase

from bench.grading.equality import How, right_math
from bench.grading.grade import Grade
from bench.tasks.theoremqa import plain_text

LEAD = "Options:"
MARK = re.compile(r"(?:^|\s,)\s*([A-Za-z]) ?\)\s")
"""What stands before an option."""
MARKS = "*$\"'` "
NAMED = re.compile(
    r"(?:(?:option|choice|answer)\b:?\s*)?(?:\(\s*([a-z])\s*\)|([a-z])(?:\s*\)|[.:](?!\w)|\s*$))"
    r"(?!\s*(?:,|/|&|or\b|and\b)\s*\(?[a-z]\b)",
    re.IGNORECASE,
)
"""An option in brackets, or a letter with nothing behind it but a mark; no second letter follows."""


def options_of(question: str) -> dict[str, str]:
    """The options of a question that ends with "Options: A ) 6 , B ) 121", by their letters in small type.

    Letters are those of the alphabet, in its order. Empty if there are no options.
    """
    _, lead, listed = question.rpartition(LEAD)
    marks: list[re.Match[str]] = []
    for mark in MARK.finditer(listed if lead else ""):
        if ascii_lowercase[len(marks) :].startswith(mark[1].lower()):
            marks.append(mark)
    ends = [*(mark.start() for mark in marks[1:]), len(listed)]
    return {mark[1].lower(): listed[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=False)}


@dataclass(frozen=True, slots=True)
class Choices:
    """How answers to one question are compared. options: letters and texts, in order; see `options_of`.

    An answer names an option by its letter ("c", "(C)", "option C", "c ) 121"), whatever text follows it, or
    by a text that is mathematically this option and no other.
    """

    options: tuple[tuple[str, str], ...]

    def named(self, answer: str) -> str | None:
        """The letter of the option that an answer names; None if it names none or several."""
        return _named(answer, self.options)

    def equal(self, a: str, b: str) -> bool:
        """True if both name the same option, or none and are the same text."""
        named = self.named(a)
        return named == self.named(b) and (named is not None or _text(a).casefold() == _text(b).casefold())

    def compare(self, answer: str | None, reference: str) -> Grade:
        """Whether an answer names the option that the reference names. Bounded in time; never raises."""
        if answer is None:
            return Grade(False, How.NO_ANSWER)
        return Grade(self.named(answer) == self.named(reference) is not None, How.EXACT)


@lru_cache(4096)
def _named(answer: str, options: tuple[tuple[str, str], ...]) -> str | None:
    answer = _text(plain_text(answer))
    if found := NAMED.match(answer):
        letter = (found[1] or found[2]).lower()
        if letter in dict(options):
            return letter
    for same in (_same_text, _same_words, _same_value):
        equal = [letter for letter, option in options if same(answer, option)]
        if equal:
            return equal[0] if len(equal) == 1 else None
    return None


def _text(text: str) -> str:
    """A text without the marks around it."""
    return " ".join(text.split()).lstrip(MARKS).rstrip(MARKS + ".?")


def _same_text(answer: str, option: str) -> bool:
    return answer == _text(option) != ""


def _same_words(answer: str, option: str) -> bool:
    return answer.casefold() == _text(option).casefold() != ""


def _same_value(answer: str, option: str) -> bool:
    return right_math(answer, option)[0]
