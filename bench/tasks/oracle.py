"""The reference itself as a reward model: an upper bound for every strategy, and no result of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench.tasks.base import Task
from search.types import Label, Problem, Step, StepScore

PREFIX = "oracle_"
"""Of the names of strategies that are guided by the references, e.g. oracle_best_of_n, which is pass@N."""

_SCORES = {
    Label.NEGATIVE: StepScore(1.0, 0.0, 0.0), Label.NEUTRAL: StepScore(0.0, 1.0, 0.0),
    Label.POSITIVE: StepScore(0.0, 0.0, 1.0),
}  # fmt: skip


def is_oracle(name: str) -> bool:
    """Whether the strategy of this name is guided by the references."""
    return name.startswith(PREFIX)


def guided_name(name: str) -> str:
    """The strategy's own name, without the prefix."""
    return name.removeprefix(PREFIX)


class OracleScorer:
    """Scores steps by the task's own checker; where it has none, whole solutions by their answers."""

    def __init__(self, task: Task):
        self._task = task

    async def score(
        self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0
    ) -> list[StepScore]:
        labels = await asyncio.to_thread(self._labels, problem, steps)
        return [_SCORES[label] for label in labels[num_scored:]]

    def _labels(self, problem: Problem, steps: Sequence[Step]) -> list[Label]:
        texts = [step.text for step in steps]
        if self._task.checks_steps:
            return self._task.step_labels(problem, texts)
        answer = self._task.answers(problem).extract("".join(texts))
        right = self._task.grade(problem, answer).correct
        return [Label.POSITIVE] * (len(steps) - 1) + [Label.POSITIVE if right else Label.NEGATIVE]
