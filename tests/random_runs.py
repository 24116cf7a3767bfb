"""Runs in the random world, recorded in traces, and a task that grades them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

from bench.grading.grade import Grade
from bench.report.recorded import RecordedRun, read_trace
from bench.tasks.base import Example, Task
from search.engine import Outcome, solve
from search.limits import LengthLimits
from search.prompts import Prompt
from search.trace import Trace
from search.tree import Strategy
from search.types import Answers, Problem
from tests.fakes import FractionAnswers, RandomWorld

PROBLEMS = [Problem(f"w/{i}", f"Which way, {i}?") for i in range(15)]


class Fractions(Task):
    """The random world's problems; all of them have the answer 1/2."""

    name = "fractions"
    prompts: Mapping[str, Prompt] = MappingProxyType({})

    def load(self, data: Path | None, limit: int | None) -> list[Example]:
        return [Example(problem, "1/2") for problem in PROBLEMS[:limit]]

    def answers(self, problem: Problem) -> Answers:
        return FractionAnswers()

    def grade(self, problem: Problem, answer: str | None) -> Grade:
        return Grade(answer is not None and FractionAnswers().equal(answer, "1/2"), "exact")


async def recorded(
    path: Path, strategy: Strategy, *, n_problems: int = len(PROBLEMS), outcome: bool = False
) -> tuple[RecordedRun, list[Outcome]]:
    world = RandomWorld(jitter=2)
    with closing(Trace(path, {"strategy": "it", "task": "fractions", "data": ""})) as trace:
        outcomes = [
            result
            async for result in solve(
                PROBLEMS[:n_problems], strategy, world, world, seed=5, trace=trace, answers=FractionAnswers(),
                lengths=LengthLimits(step_tokens=12, solution_tokens=40), outcome=outcome,
                aggregate="last" if outcome else "product",
            )
        ]  # fmt: skip
    return read_trace(path), outcomes
