"""The built-in code task: small functions, generated, graded by running their tests in the sandbox.

Needs no data; see `bench.tasks.generated.programs` for what they look like.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from bench.tasks.base import Defaults, Example
from bench.tasks.code import SANDBOX, CodeCase, CodeTask
from bench.tasks.generated.programs import ProgramProblem, generate_programs
from mutation.sandbox.verdict import Suite
from search.errors import UsageError
from search.prompts import Prompt
from search.segment import SEGMENTERS
from search.types import Problem

PROMPT = Prompt("{question}\n")
SEGMENTER = SEGMENTERS["python"]
TEST_SEED = 0
DEFAULT_SIZE = 100
PROVIDES = ("f",)


class BuiltinCode(CodeTask):
    """The test split, in a fixed order: --limit N takes the first N of them."""

    name = "builtin-code"
    test_only = True
    defaults = Defaults("builtin-code", "builtin-code", "python")
    prompts: Mapping[str, Prompt] = MappingProxyType(
        {"plain": PROMPT, "chat": Prompt("{question}", chat=True)}
    )

    def load(self, data: Path | None, limit: int | None) -> list[Example]:
        """The first `limit` test problems, grouped by the reference's steps. Raises UsageError."""
        if data is not None:
            raise UsageError("the built-in code task is generated: it takes no --data")
        SANDBOX.get()  # refused now rather than at the first grade
        problems = generate_programs("test", TEST_SEED, DEFAULT_SIZE if limit is None else limit)
        self.cases |= {problem.id: case_of(problem) for problem in problems}
        return [Example(Problem(p.id, p.question), "", f"{p.n_steps} steps") for p in problems]


def case_of(problem: ProgramProblem) -> CodeCase:
    """A problem as its tests see it."""
    shown, kept = problem.tests(problem.public), problem.tests(problem.hidden)
    examples = tuple((xs, n) for (xs, n), _ in problem.public)
    return CodeCase(
        problem.id, "", "f", PROVIDES, {"": Suite(shown + kept, PROVIDES)}, Suite(shown, PROVIDES), examples
    )
