"""What a task is: problems with references, a prompt by model family, and a way to grade.

The reference stays on this side: a strategy sees only `Example.problem`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.grading.grade import Grade
from search.prompts import Prompt
from search.types import Answers, Problem


@dataclass(frozen=True, slots=True)
class Example:
    """A problem and its reference answer, in the form that the task's `grade` takes.

    group: what accuracy is broken down by ("level 3", "4 steps"); "" if the task has no such thing.
    """

    problem: Problem
    reference: str
    group: str = ""


class Task(Answers, Protocol):
    """A benchmark. Also tells the engine how to read answers (`extract`, `equal`)."""

    name: str
    prompts: Mapping[str, Prompt]
    """By model family; the first is for base models, "chat" for models with a chat template."""

    def load(self, data: Path | None, limit: int | None) -> list[Example]:
        """The test problems, from a path or the Hugging Face hub. Raises UsageError."""
        ...

    def grade(self, answer: str | None, reference: str) -> Grade:
        """Grade an extracted answer; None is wrong. Never raises, never hangs."""
        ...
