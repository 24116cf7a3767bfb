"""Rows of training problems: GSM8K's, MATH's, and those of a file of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.grading.extract import boxed_answer, reference_answer
from search.errors import UsageError


def question_and_answer(row: Mapping[str, Any]) -> tuple[str, str]:
    """{"problem" or "question", "answer"}; without an answer, it is what the first solution boxes.

    The answer is read as the task `jsonl` reads it. Raises UsageError, or KeyError for a field.
    """
    question = row["problem"] if "problem" in row else row["question"]
    if "answer" not in row and (worked := solutions(row)):
        answer = boxed_answer(worked[0]) or ""
    else:
        answer = "" if row["answer"] is None else reference_answer(str(row["answer"]))
    if not isinstance(question, str) or not question.strip() or not answer:
        raise UsageError("a problem needs a question and an answer")
    return question, answer


def solutions(row: Mapping[str, Any]) -> list[str]:
    """The worked solutions in "solutions" or "solution". Raises UsageError."""
    found = row.get("solutions", [row["solution"]] if "solution" in row else [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise UsageError("'solutions' must be a list of texts")
    return found
