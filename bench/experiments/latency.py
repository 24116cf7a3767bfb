"""Seconds that a problem takes, with and without what is drawn ahead, several problems at a time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from bench.runner.models import Models, load_run
from bench.runner.request import Run, RunRequest
from prm.scoring.scorers import VLLMScorer
from search.engine import Outcome, solve
from search.policies.vllm import VLLMPolicy
from search.speculation import Speculate
from search.strategies.cot import ChainOfThought
from search.tree import Strategy
from search.types import Problem, Step, StepScore


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRequest:
    """What to measure: a strategy on the first problems of the built-in task, at each concurrency.

    json: a file for the figures.
    """

    strategy: Strategy
    limit: int = 40
    concurrency: tuple[int, ...] = (1, 8, 64)
    json: Path | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One round. seconds: of all of it. typical, slow: of a problem, the median and the 95th percentile.

    tokens: of the policy, those included that were drawn ahead and not used.
    policy, both, prm: seconds in which calls are in flight to the policy alone, to both models, and to the
        reward model alone.
    """

    name: str
    concurrency: int
    seconds: float
    typical: float
    slow: float
    tokens: int
    prm_tokens: int
    policy: float
    both: float
    prm: float
    answers: Mapping[str, str | None]


@dataclass(slots=True)
class InFlight:
    """Passes calls on to the models, and measures how long some are in flight.

    seconds: by whether calls to the policy, and to the reward model, are.
    """

    models: Models
    seconds: dict[tuple[bool, bool], float] = field(default_factory=lambda: defaultdict(float))
    _calls: Counter[str] = field(default_factory=Counter)
    _since: float = field(default_factory=perf_counter)

    @contextmanager
    def _call(self, model: str) -> Iterator[None]:
        self._count(model, 1)
        try:
            yield
        finally:
            self._count(model, -1)

    def _count(self, model: str, change: int) -> None:
        now = perf_counter()
        self.seconds[self._calls["policy"] > 0, self._calls["prm"] > 0] += now - self._since
        self._since = now
        self._calls[model] += change

    async def propose(self, problem: Problem, steps: Sequence[Step], **options: Any) -> list[Step]:
        with self._call("policy"):
            return await self.models.policy.propose(problem, steps, **options)

    async def score(
        self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0
    ) -> list[StepScore]:
        with self._call("prm"):
            return await self.models.scorer.score(problem, steps, num_scored=num_scored)


def measure(request: LatencyRequest) -> None:
    """Print a table in Markdown: greedy decoding, the strategy, and the strategy with `speculate="auto"`."""
    asked = RunRequest(strategies={"searched": request.strategy}, limit=request.limit)
    rows = asyncio.run(_measure(asked.validate(), request.concurrency))
    print(
        "| at a time | | seconds | a problem: median, 95th percentile | policy tokens | PRM tokens | "
        "policy alone, both, PRM alone |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.concurrency} | {row.name} | {row.seconds:.1f} | {row.typical:.2f}, {row.slow:.2f} | "
            f"{row.tokens:,} | {row.prm_tokens:,} | {row.policy:.1f}, {row.both:.1f}, {row.prm:.1f} |"
        )
    for plain, ahead in zip(rows[1::3], rows[2::3], strict=True):
        same = "the same answers" if plain.answers == ahead.answers else "OTHER ANSWERS"
        print(
            f"\n{plain.concurrency} at a time, drawing ahead: {ahead.seconds / plain.seconds:.2f} of the "
            f"time, {ahead.tokens / plain.tokens:.2f} of the policy tokens, {same}"
        )
    if request.json is not None:
        figures = [{n: getattr(row, n) for n in Measured.__slots__ if n != "answers"} for row in rows]
        request.json.write_text(json.dumps(figures, indent=1) + "\n")


async def _measure(run: Run, at_a_time: Sequence[int]) -> list[Measured]:
    rounds: dict[str, tuple[Strategy, Speculate]] = {
        "greedy": (ChainOfThought(), 0),
        "search": (run.strategies["searched"], 0),
        "search, drawing ahead": (run.strategies["searched"], "auto"),
    }
    async with load_run(run) as models:
        await _round(run, models, "warm-up", 8, ChainOfThought(), 0)
        return [
            await _round(run, models, name, concurrency, strategy, speculate)
            for concurrency in at_a_time
            for name, (strategy, speculate) in rounds.items()
        ]


async def _round(
    run: Run, models: Models, name: str, concurrency: int, strategy: Strategy, speculate: Speculate
) -> Measured:
    for model in (models.policy, models.scorer):
        if isinstance(model, VLLMPolicy | VLLMScorer):
            await model.reset()
    start, outcomes, watched = perf_counter(), list[Outcome](), InFlight(models)
    async for outcome in solve(
        [example.problem for example in run.examples], strategy, watched, watched,
        answers=run.task, aggregate=run.aggregate, concurrency=concurrency, speculate=speculate,
    ):  # fmt: skip
        assert outcome.error is None, outcome.error
        outcomes.append(outcome)
    seconds = sorted(outcome.seconds for outcome in outcomes)
    return Measured(
        name, concurrency, perf_counter() - start, median(seconds), seconds[int(0.95 * (len(seconds) - 1))],
        sum(outcome.cost.policy_tokens for outcome in outcomes),
        sum(outcome.cost.prm_tokens for outcome in outcomes),
        watched.seconds[True, False], watched.seconds[True, True], watched.seconds[False, True],
        {outcome.problem.id: outcome.answer for outcome in outcomes},
    )
