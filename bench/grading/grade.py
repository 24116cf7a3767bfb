"""Grades of answers that are numbers or mathematical expressions."""

from __future__ import annotations

from dataclasses import dataclass

from bench.grading.equality import How, right_math, same_number


@dataclass(frozen=True, slots=True)
class Grade:
    """Whether an answer is correct, and how that was decided: "exact", "numeric", "math-verify", ..."""

    correct: bool
    how: str


def grade_number(answer: str | None, reference: str) -> Grade:
    """Exact comparison as numbers, for GSM8K. Never raises."""
    return Grade(False, How.NO_ANSWER) if answer is None else Grade(*same_number(answer, reference))


def grade_math(answer: str | None, reference: str) -> Grade:
    """Mathematical equality, for MATH. Bounded in time; see `bench.grading.equality.right_math`."""
    return Grade(False, How.NO_ANSWER) if answer is None else Grade(*right_math(answer, reference))
