"""Execution as a reward: the tests that a question shows, alone or together with a reward model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench.tasks.base import PublicTests
from search.types import Label, Problem, Step, StepScore, StepScorer


class TestsScorer:
    """Scores steps by public tests. With a reward model, the model's score stands unless the tests fail.

    A program that fails is wrong, whatever the model says of it.
    """

    __test__ = False  # not a test of pytest's

    def __init__(self, tests: PublicTests, model: StepScorer | None = None) -> None:
        self._tests, self._model = tests, model

    async def score(
        self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0
    ) -> list[StepScore]:
        """Raises ScorerError for a problem that is not the task's, and what the reward model raises."""
        by_tests = [
            await asyncio.to_thread(self._tests.score, problem, steps[: n + 1])
            for n in range(num_scored, len(steps))
        ]
        if self._model is None:
            return by_tests
        by_model = await self._model.score(problem, steps, num_scored=num_scored)
        return [
            tests if tests.label is Label.NEGATIVE else model
            for tests, model in zip(by_tests, by_model, strict=True)
        ]
