"""How much memory a run holds on to: peak memory after its first thousand problems, and at its end."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.report.summary import Graded
from bench.runner.execute import RunWatch, execute
from bench.runner.models import Models, NoScorer
from bench.runner.request import RunRequest, greedy_baseline
from bench.runner.resolve import ResolvedPolicy
from bench.runner.rollouts import RolloutsRequest, label_problems
from bench.runner.specs import PolicySpec
from search.limits import charge
from search.types import Policy, Problem, Step, Stop, Until

TOKENS = 23
"""Of each step, as the built-in policy's steps have them."""


@dataclass(frozen=True, slots=True)
class MemoryRequest:
    """problems: of the built-in task. first: how many of them make the memory that is compared with."""

    problems: int = 10_000
    first: int = 1_000


@dataclass(frozen=True, slots=True)
class Growth:
    """Peak memory in MiB after the first problems, and at the end."""

    first_mib: float
    last_mib: float

    @property
    def share(self) -> float:
        return self.last_mib / self.first_mib - 1


class FakePolicy:
    """Writes four numbered steps and an answer, at once."""

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, max_tokens: int, seed: int,
        temperature: float | None = None,
    ) -> list[Step]:  # fmt: skip
        made = [
            Step(f"For number {n} of {problem.id}: seed {seed + n}.\n", self._ids(seed + n), 0.0, Stop.STEP)
            for n in range(len(steps), 4)
        ]
        made.append(Step("The answer is 7.", self._ids(seed), 0.0, Stop.END))
        charge(policy_tokens=TOKENS * len(made), prompt_tokens=80)
        return made[:1] if until is Until.STEP else made

    @staticmethod
    def _ids(seed: int) -> tuple[int, ...]:
        return tuple((seed + i) % 32_000 for i in range(TOKENS))


class _Peak(RunWatch):
    def __init__(self, first: int):
        self._first, self._done = first, 0
        self.first_mib = 0.0

    def graded(self, graded: Graded) -> None:
        self._done += 1
        if self._done == self._first:
            self.first_mib = peak_mib()


def peak_mib() -> float:
    """The most memory that this process has had, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


class _Counting(FakePolicy):
    """Notes the peak memory when the first problems are over: they are begun in order."""

    def __init__(self, first: int):
        self._first, self._seen = first, set[str]()
        self.first_mib = 0.0

    async def propose(self, problem: Problem, *args: Any, **how: Any) -> list[Step]:
        if self.first_mib == 0:
            self._seen.add(problem.id)
            if len(self._seen) > self._first:
                self.first_mib = peak_mib()
        return await super().propose(problem, *args, **how)


def measure_rollouts(request: MemoryRequest) -> Growth:
    """`prm.rollouts` with a fake policy on the built-in problems: four prefixes each, with four rollouts."""
    policy = _Counting(request.first)

    @asynccontextmanager
    async def load(resolved: ResolvedPolicy) -> AsyncIterator[Policy]:
        yield policy

    with TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        label_problems(
            RolloutsRequest(
                out=Path(folder) / "labels.jsonl", resume=False, how="estimate", rollouts=4, solutions=1,
                searches=1, task="builtin", problems=None, limit=request.problems,
                policy=PolicySpec(engine="hf"), seed=0,
            ),
            load,
        )  # fmt: skip
    return Growth(policy.first_mib, peak_mib())


def measure_run(request: MemoryRequest) -> Growth:
    """`cot` with a fake policy over the built-in problems, as `search.run` runs it."""
    with TemporaryDirectory() as folder:
        run = RunRequest(
            strategies=greedy_baseline(), limit=request.problems, policy=PolicySpec(engine="hf"), prm=None,
            out=Path(folder) / "run",
        ).validate()
        watch = _Peak(request.first)
        asyncio.run(execute(run, Models(FakePolicy(), NoScorer()), watch))
        return Growth(watch.first_mib, peak_mib())
