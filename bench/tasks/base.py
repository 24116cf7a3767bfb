"""What a task is: problems with references, prompts by model family, and how answers are read and graded.

The reference stays on this side: a strategy sees only `Example.problem`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.grading.grade import Grade
from search.prompts import Prompt
from search.types import Answers, Label, Problem, Step, StepScore


@dataclass(frozen=True, slots=True)
class Example:
    """A problem and its reference answer.

    reference: "" where tests decide, not an answer. group: what accuracy is broken down by ("level 3",
        "4 steps"); "" if the task has no such thing.
    """

    problem: Problem
    reference: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a run of a task uses where the request names nothing."""

    policy: str = "builtin"
    prm: str = "builtin"
    segment: str = "newline"


class PublicTests(Protocol):
    """Tests that a question itself shows, run on a partial or finished solution."""

    def score(self, problem: Problem, steps: Sequence[Step]) -> StepScore:
        """The score of the last step, given those before it. Blocks. Raises ScorerError."""
        ...


class Task(ABC):
    """A benchmark.

    prompts: by model family; the first is for base models, "chat" for models with a chat template.
    public_tests: None if answers are not programs. checks_steps: whether `step_labels` tells right steps from
        wrong ones. strict: only an answer that a text states counts. Otherwise one that states none
        falls back to its last mathematics or its last number, where answers are such.
    test_only: its problems are for tests, whatever file they come from; a file of another task may hold
        training problems.
    """

    name: str
    prompts: Mapping[str, Prompt]
    defaults = Defaults()
    checks_steps = False
    strict = False
    test_only = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the problems that were loaded."""
        return ()

    @property
    def public_tests(self) -> PublicTests | None:
        return None

    @abstractmethod
    def load(self, data: Path | None, limit: int | None) -> list[Example]:
        """The first `limit` test problems, from a path or the task's own source; they can be graded then.

        Raises UsageError.
        """

    @abstractmethod
    def answers(self, problem: Problem) -> Answers:
        """How the answers to this problem are read and compared."""

    def falls_back(self, text: str) -> bool:
        """Whether the answer in a solution's text is a guess, because the text states none."""
        return False

    def step_labels(self, problem: Problem, steps: Sequence[str]) -> list[Label]:
        """Exact labels of the steps of a solution to a loaded problem, if `checks_steps`."""
        raise NotImplementedError(f"{self.name} has no checker of steps")

    @abstractmethod
    def grade(self, problem: Problem, answer: str | None) -> Grade:
        """Grade an extracted answer to a loaded problem; None is wrong. Never raises, never hangs."""


class TextTask(Task):
    """A task whose answers are read alike for all problems, and compared with a reference answer.

    It is its own `Answers`.
    """

    def __init__(self) -> None:
        self._references: dict[str, str] = {}

    @abstractmethod
    def examples(self, data: Path | None, limit: int | None) -> list[Example]:
        """As `load`."""

    @abstractmethod
    def stated(self, text: str) -> str | None:
        """The final answer that a solution's text states, None if it states none."""

    def fallback(self, text: str) -> str | None:
        """What a text that states no answer ends on, None if it holds no answer."""
        return None

    def is_bare(self, text: str) -> bool:
        """Whether a text that states no answer is itself one."""
        return True

    def extract(self, text: str) -> str | None:
        """The final answer in a solution's text, None if there is none."""
        return self.stated(text) or (None if self.strict else self.fallback(text))

    def falls_back(self, text: str) -> bool:
        return not self.stated(text) and self.extract(text) is not None

    @abstractmethod
    def equal(self, a: str, b: str) -> bool:
        """True if two extracted answers are the same answer."""

    @abstractmethod
    def compare(self, answer: str | None, reference: str) -> Grade:
        """Grade an answer against a reference answer."""

    def load(self, data: Path | None, limit: int | None) -> list[Example]:
        examples = self.examples(data, limit)
        self.add(examples)
        return examples

    def add(self, examples: Iterable[Example]) -> None:
        """Problems of your own, to be graded by this task's rules."""
        self._references |= {example.problem.id: example.reference for example in examples}

    def answers(self, problem: Problem) -> Answers:
        return self

    def grade(self, problem: Problem, answer: str | None) -> Grade:
        return self.compare(answer, self._references[problem.id])
