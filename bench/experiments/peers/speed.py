"""Problems per second of our strategies and of other packages' searches, with the same models on one engine.

Sampling one step, and scoring one, is the same call of the same engine for all. Seeds differ, so samples do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from bench.experiments.peers import its_hub
from bench.experiments.peers.treequest_search import TreeQuestSearch
from bench.runner.models import Models, load_run
from bench.runner.request import Run, RunRequest
from bench.runner.specs import PolicySpec
from prm.scoring.scorers import VLLMScorer
from search.engine import solve
from search.limits import Cost, metered
from search.policies.vllm import VLLMPolicy
from search.strategies.ab_mcts import ABMCTS
from search.strategies.beam import BeamSearch
from search.strategies.particle import ParticleFilter
from search.tree import Strategy
from search.types import Problem

MANY = 64
"""Problems at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedRequest:
    """What to measure: a strategy and its rivals, on the first `limit` problems of the built-in task.

    particles: of particle filters. n, width: candidates of beam search, and children of a beam. samples: of
        AB-MCTS. max_steps: its_hub's own limit. engine: as in `ModelSpec`.
    """

    strategy: Literal["particle", "beam", "ab_mcts"]
    limit: int = 16
    particles: int = 8
    n: int = 16
    width: int = 4
    samples: int = 16
    max_steps: int = 12
    engine: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One search of all problems. samples: calls of the policy. scored: calls of the reward model."""

    name: str
    seconds: float
    correct: int
    samples: int
    scored: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class Setting:
    """How its_hub is run. marked, keeps_scores: see `its_hub.Adapter`. at_once: problems at a time."""

    name: str
    marked: bool = True
    keeps_scores: bool = True
    at_once: int = 1


ITS_HUB = (
    Setting("as it is, 1 at a time", marked=False, keeps_scores=False),
    Setting("sees ends, 1 at a time", keeps_scores=False),
    Setting("sees ends, scores kept, 1 at a time"),
    Setting(f"sees ends, scores kept, {MANY} at a time", at_once=MANY),
)

Answers = Mapping[str, str | None]


def measure(request: SpeedRequest) -> None:
    """Print a table in Markdown. The third column is the time, divided by that of the first row."""
    strategies: dict[str, Strategy] = {
        "particle": ParticleFilter(n=request.particles),
        "beam": BeamSearch(n=request.n, width=request.width, depth=request.max_steps, choose="best"),
        "ab_mcts": ABMCTS(samples=request.samples),
    }
    run = RunRequest(
        strategies={request.strategy: strategies[request.strategy]}, limit=request.limit,
        policy=PolicySpec(engine=request.engine),
    ).validate()  # fmt: skip
    asyncio.run(_measure(request, run))


async def _measure(request: SpeedRequest, run: Run) -> None:
    async with load_run(run) as models:
        bench = _Bench(request, run, models)
        await bench.ours(MANY)  # warms up
        print("| | problems/s | time | correct | samples | policy tokens | scores | PRM tokens |")
        print("|---|---|---|---|---|---|---|---|")
        fastest = await bench.ours(MANY)
        bench.show(fastest, fastest)
        bench.show(await bench.ours(1), fastest)
        if request.strategy == "ab_mcts":
            bench.show(await bench.treequest(1), fastest)
            bench.show(await bench.treequest(1, batch=4), fastest)
            bench.show(await bench.treequest(MANY), fastest)
        else:
            for setting in ITS_HUB:
                bench.show(await bench.its_hub(setting), fastest)
        bench.show(await bench.ours(MANY), fastest)  # once more: the machine may have been busy


class _Bench:
    def __init__(self, request: SpeedRequest, run: Run, models: Models):
        self._request, self._run, self._models = request, run, models
        [(self._name, self._strategy)] = run.strategies.items()
        self._problems = [example.problem for example in run.examples]

    def show(self, row: Row, fastest: Row) -> None:
        rate, cost = len(self._problems) / row.seconds, row.cost
        counts = (row.samples, cost.policy_tokens, row.scored, cost.prm_tokens)
        print(
            f"| {row.name} | {rate:.2f} | {row.seconds / fastest.seconds:.1f} | {row.correct} |",
            *(f"{n:,} |" for n in counts), flush=True,
        )  # fmt: skip

    async def _empty_caches(self) -> None:
        for model in (self._models.policy, self._models.scorer):
            if isinstance(model, VLLMPolicy | VLLMScorer):
                await model.reset()

    def _correct(self, answers: Answers) -> int:
        grade = self._run.task.grade
        return sum(grade(problem, answers[problem.id]).correct for problem in self._problems)

    async def ours(self, at_once: int) -> Row:
        await self._empty_caches()
        start, cost, answers = perf_counter(), Cost(), dict[str, str | None]()
        async for outcome in solve(
            self._problems, self._strategy, self._models.policy, self._models.scorer,
            answers=self._run.task, aggregate=self._run.aggregate, concurrency=at_once,
        ):  # fmt: skip
            assert outcome.error is None, outcome.error
            answers[outcome.problem.id], cost = outcome.answer, cost + outcome.cost
        seconds, name = perf_counter() - start, f"{self._name}, {at_once} at a time"
        return Row(name, seconds, self._correct(answers), cost.samples, cost.scores, cost)

    async def its_hub(self, setting: Setting) -> Row:
        await self._empty_caches()
        request = self._request
        adapter = its_hub.Adapter(
            self._models.policy, self._models.scorer, {p.question: p for p in self._problems},
            self._run.aggregate, setting.marked, setting.keeps_scores,
        )  # fmt: skip
        searches: dict[str, Callable[[str], Awaitable[str]]] = {
            "particle": lambda question: its_hub.particle_filter(
                adapter, question, particles=request.particles, max_steps=request.max_steps
            ),
            "beam": lambda question: its_hub.beam_search(
                adapter, question, n=request.n, width=request.width, max_steps=request.max_steps
            ),
        }
        free, answers = asyncio.Semaphore(setting.at_once), dict[str, str | None]()

        async def one(problem: Problem) -> None:
            async with free:
                text = await searches[self._name](problem.question)
            answers[problem.id] = self._run.task.answers(problem).extract(text)

        with metered() as cost:
            start = perf_counter()
            await asyncio.gather(*map(one, self._problems))
            seconds = perf_counter() - start
        name = f"its_hub, {setting.name}"
        return Row(name, seconds, self._correct(answers), adapter.completions, adapter.scored, cost)

    async def treequest(self, at_once: int, *, batch: int = 1) -> Row:
        """A thread for each problem, as its search is synchronous."""
        await self._empty_caches()
        loop = asyncio.get_running_loop()
        search = TreeQuestSearch(
            self._models.policy, self._models.scorer, self._run.task, self._run.aggregate, loop,
            self._request.samples, batch,
        )  # fmt: skip
        with metered() as cost, ThreadPoolExecutor(at_once) as pool:
            start = perf_counter()
            running = [
                loop.run_in_executor(pool, copy_context().run, search.solve, p) for p in self._problems
            ]
            answers = dict(zip((p.id for p in self._problems), await asyncio.gather(*running), strict=True))
            seconds = perf_counter() - start
        name = f"TreeQuest, {at_once} at a time" + (f", {batch} samples in a batch" if batch > 1 else "")
        return Row(name, seconds, self._correct(answers), search.sampled, search.scored, cost)
