"""The built-in task: multi-step arithmetic word problems, generated, with exact answers.

Needs no data; see `bench.tasks.generated.problems` for what they look like.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from bench.grading.grade import Grade
from bench.tasks.base import Example, TextTask
from bench.tasks.generated.checker import label_steps
from bench.tasks.generated.problems import PROMPT, generate
from search.errors import UsageError
from search.prompts import Prompt
from search.types import Label, Problem

TEST_SEED = 0
DEFAULT_SIZE = 100
"""Problems of a run without --limit, so that the default run stays short on 2 cores."""

ANSWER = re.compile(r"The answer is (\d{1,18})\.\s*$")


class Builtin(TextTask):
    """The test split, in a fixed order: --limit N takes the first N of them."""

    name = "builtin"
    test_only = True
    checks_steps = True
    prompts: Mapping[str, Prompt] = MappingProxyType(
        {"plain": Prompt(PROMPT), "chat": Prompt("{question}", chat=True)}
    )

    def examples(self, data: Path | None, limit: int | None) -> list[Example]:
        """The first `limit` test problems, grouped by their number of steps. Raises UsageError."""
        if data is not None:
            raise UsageError("the built-in task is generated: it takes no --data")
        problems = list(generate("test", TEST_SEED, DEFAULT_SIZE if limit is None else limit))
        self._problems = {problem.id: problem for problem in problems}
        return [Example(Problem(p.id, p.question), str(p.answer), f"{p.n_steps} steps") for p in problems]

    def step_labels(self, problem: Problem, steps: Sequence[str]) -> list[Label]:
        return [Label(label) for label in label_steps(self._problems[problem.id], steps)]

    def stated(self, text: str) -> str | None:
        """The number of a last line "The answer is N."."""
        found = ANSWER.search(text)
        return found[1] if found else None

    def equal(self, a: str, b: str) -> bool:
        return a.isdecimal() and b.isdecimal() and int(a) == int(b)

    def compare(self, answer: str | None, reference: str) -> Grade:
        return Grade(answer is not None and self.equal(answer, reference), "exact")
