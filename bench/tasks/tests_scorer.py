"""Execution as a reward: the examples in the question's own text, run against each finished program.

The hidden tests are never run, and nothing of them is seen. A program that is not finished is not judged by
its tests: it is neutral if it can still become a program, negative if it cannot.
"""

from __future__ import annotations

import asyncio
import codeop
from collections.abc import Sequence

from bench.tasks.code import SANDBOX, CodeCase, CodeTask, program_of
from search.errors import ScorerError
from search.types import Problem, Step, StepScore, StepScorer, Stop

PASSED = StepScore(0.0, 0.0, 1.0)
OPEN = StepScore(0.0, 1.0, 0.0)
FAILED = StepScore(1.0, 0.0, 0.0)


class TestsScorer:
    """The public tests of a code task's problems, alone or together with a reward model.

    With a reward model, its word is taken wherever the tests have none: a finished program that fails is
    wrong, whatever the model says of it.
    """

    __test__ = False  # not a test of pytest's

    def __init__(self, task: CodeTask, model: StepScorer | None = None) -> None:
        self._task, self._model = task, model

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        """Raises ScorerError for a problem that is not the task's, and what the reward model raises."""
        case = self._task.cases.get(problem.id)
        if case is None:
            raise ScorerError(f"{problem.id} is no problem of the task {self._task.name}: no tests to run")
        by_tests = [
            await asyncio.to_thread(self._score_one, case, steps[: n + 1])
            for n in range(num_scored, len(steps))
        ]
        if self._model is None:
            return by_tests
        by_model = await self._model.score(problem, steps, num_scored=num_scored)
        return [FAILED if tests is FAILED else model for tests, model in zip(by_tests, by_model, strict=True)]

    def _score_one(self, case: CodeCase, steps: Sequence[Step]) -> StepScore:
        """The last step, given those before it."""
        text = "".join(step.text for step in steps)
        if steps[-1].stop is not Stop.END:
            return OPEN if _can_go_on(case, text) else FAILED
        program = program_of(case, text)
        if program is None:
            return FAILED
        if case.public is None:
            return OPEN
        return PASSED if SANDBOX.get().run(program, case.public).passed else FAILED


def _can_go_on(case: CodeCase, text: str) -> bool:
    """Whether what is there so far is the beginning of a program; prose around a block always may be."""
    source = case.preamble + text
    if "```" in text or f"def {case.entry_point}" not in source:
        return True
    try:
        codeop.compile_command(source, symbol="exec")  # not an error if more is to come
    except (SyntaxError, ValueError, OverflowError):
        return False
    return True
