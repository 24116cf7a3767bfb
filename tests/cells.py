"""Scripted searches of tasks made for it, recorded and read back: the cells that diagnoses are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.grading.grade import Grade
from bench.report.recorded import read_trace
from bench.report.sides import Graders
from bench.report.summary import Graded, Summary
from bench.runner.replaying import replayed_summary
from bench.tasks.base import Example, Task
from search.engine import Outcome, solve
from search.limits import CostLimits, LengthLimits
from search.params import params
from search.prompts import Prompt
from search.strategies import STRATEGIES
from search.trace import Trace
from search.tree import Strategy
from search.types import Answers, Label, Problem, StepScore
from search.values import Aggregate
from tests.fakes import FractionAnswers, ScriptedPolicy, ScriptedScorer
from tests.pictures import Script


class Plain(Task):
    """Problems whose answer is 1/2. A text with "guess" states no answer. Every third problem is hard."""

    name = "plain"
    prompts: Mapping[str, Prompt] = MappingProxyType({})

    def load(self, data: Path | None, limit: int | None) -> list[Example]:
        count = 12 if limit is None else limit
        return [Example(Problem(f"p/{i}", f"Which, {i}?"), "1/2", self.group(i)) for i in range(count)]

    def group(self, number: int) -> str:
        return ""

    def answers(self, problem: Problem) -> Answers:
        return FractionAnswers()

    def falls_back(self, text: str) -> bool:
        return "guess" in text

    def grade(self, problem: Problem, answer: str | None) -> Grade:
        return Grade(answer is not None and FractionAnswers().equal(answer, "1/2"), "exact")


class Checked(Plain):
    """Steps with "bad" in them are wrong; every third problem is hard."""

    name = "checked"
    checks_steps = True

    def group(self, number: int) -> str:
        return "easy" if number % 3 else "hard"

    def step_labels(self, problem: Problem, steps: Sequence[str]) -> list[Label]:
        return [Label.NEGATIVE if "bad" in step else Label.POSITIVE for step in steps]


@dataclass(frozen=True)
class Cell:
    trace: Path
    summary: Summary


class ByProblem:
    """A scripted policy with a script of its own for some problems."""

    def __init__(self, script: Script, others: Mapping[str, Script], seed: int):
        self._usual = ScriptedPolicy(script, seed)
        self._others = {name: ScriptedPolicy(other, seed) for name, other in others.items()}

    async def propose(self, problem: Problem, *args: Any, **how: Any) -> Any:
        return await self._others.get(problem.id, self._usual).propose(problem, *args, **how)


def cell(
    path: Path, strategy: Strategy, script: Script, scores: Mapping[str, StepScore] | None = None, *,
    n: int = 6, task: str = "plain", seed: int = 0, others: Mapping[str, Script] | None = None,
    solution_tokens: int = 1000, samples: int | None = None, aggregate: Aggregate = "product",
    recorded: bool = True, replay: bool = True,
) -> Cell:  # fmt: skip
    """The same script for n problems, searched, recorded, and read back.

    recorded: whether the trace tells the aggregate; old ones do not.
    """
    [name] = [name for name, kind in STRATEGIES.items() if type(strategy) is kind]
    config = {
        "strategy": name, "params": params(strategy), "task": task, "data": "", "seed": seed,
        "limits": [samples, None, None], "lengths": [256, solution_tokens], "policy": "p", "prm": "m",
        **({"aggregate": aggregate} if recorded else {}),
    }  # fmt: skip
    problems = [e.problem for e in {"plain": Plain, "checked": Checked}[task]().load(None, n)]
    policy, scorer = ByProblem(script, others or {}, seed), ScriptedScorer(scores or {})

    async def run() -> list[Outcome]:
        with closing(Trace(path, config)) as trace:
            return [
                outcome
                async for outcome in solve(
                    problems, strategy, policy, scorer, seed=seed, trace=trace, answers=FractionAnswers(),
                    lengths=LengthLimits(256, solution_tokens), limits=CostLimits(samples),
                    aggregate=aggregate,
                )
            ]  # fmt: skip

    outcomes = {outcome.problem.id: outcome for outcome in asyncio.run(run())}
    read = read_trace(path)
    graders = Graders(read)
    if replay:
        return Cell(path, replayed_summary(read, graders))
    graded = [
        Graded(o, graders.grade(p.id, o.answer), "", "guess" in o.text)
        for p in problems
        if (o := outcomes[p.id])
    ]
    return Cell(path, Summary(name, params(strategy), task, seed, "p", "m", "", 1.0, graded))
