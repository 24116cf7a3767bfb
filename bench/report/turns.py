"""Success at turn k: whether the answer of an episode is right after each of its turns."""

from __future__ import annotations

from collections.abc import Sequence

from bench.tasks.base import Task
from search.types import Problem, Step


def right_turns(
    task: Task, problem: Problem, steps: Sequence[Step], answer: str | None, correct: bool
) -> tuple[bool, ...]:
    """Whether the answer was right after each turn of an episode, had it ended there; () for one of steps.

    A turn that was cut has no answer. answer, correct: of the whole episode, with its grade.
    """
    if all(step.observation is None for step in steps):
        return ()
    answers, right = task.answers(problem), {answer: correct}
    turns = list[bool]()
    for step in steps:
        found = None if step.observation is None else answers.extract(step.observation.read)
        if found not in right:
            right[found] = task.grade(problem, found).correct
        turns.append(right[found])
    return tuple(turns)
