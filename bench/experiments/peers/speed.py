"""Problems per second of our strategies and of other packages' searches, with the same models on one engine.

Sampling one step, and scoring one, is the same call of the same engine for all. Seeds differ, so samples do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from itertools import count
from time import perf_counter
from typing import Any

from bench.experiments.peers import its_hub
from bench.experiments.peers.packages import load
from bench.runner.models import Models, load_run
from bench.runner.request import Run, RunRequest
from bench.runner.specs import PolicySpec
from prm.scoring.scorers import VLLMScorer
from search.engine import solve
from search.limits import Cost, LengthLimits, metered
from search.policies.vllm import VLLMPolicy
from search.seeds import derive
from search.strategies.ab_mcts import ABMCTS
from search.strategies.particle import ParticleFilter
from search.tree import Strategy
from search.types import Problem, Step, Stop, Until
from search.values import AGGREGATES

MANY = 64
"""Problems at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedRequest:
    """What to measure: the first `limit` problems of the built-in task.

    particles, beams, width, samples: of particle filters, beam search and AB-MCTS. max_steps: its_hub's own
        limit. engine: as in `ModelSpec`.
    """

    limit: int = 24
    particles: int = 8
    beams: int = 4
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
    Setting("as it is", marked=False, keeps_scores=False),
    Setting("sees ends", keeps_scores=False),
    Setting("sees ends, scores kept"),
    Setting(f"sees ends, scores kept, {MANY} at a time", at_once=MANY),
)

Answers = Mapping[str, str | None]


def measure(request: SpeedRequest) -> None:
    """Print a table in Markdown."""
    strategies: dict[str, Strategy] = {
        "particle": ParticleFilter(n=request.particles),
        "ab_mcts": ABMCTS(samples=request.samples),
    }
    run = RunRequest(
        strategies=strategies, limit=request.limit, policy=PolicySpec(engine=request.engine)
    ).validate()
    asyncio.run(_measure(request, run))


async def _measure(request: SpeedRequest, run: Run) -> None:
    async with load_run(run) as models:
        bench = _Bench(request, run, models)
        await bench.ours("warm-up", "particle", MANY)
        print("| | problems/s | | correct | samples | policy tokens | scores | PRM tokens |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for strategy in ("particle",):
            fastest = await bench.ours(strategy, strategy, MANY)
            bench.show(fastest, fastest)
            bench.show(await bench.ours(f"{strategy}, 1 at a time", strategy, 1), fastest)
            for setting in ITS_HUB:
                bench.show(await bench.its_hub(strategy, setting), fastest)
        fastest = await bench.ours("ab_mcts", "ab_mcts", MANY)
        bench.show(fastest, fastest)
        bench.show(await bench.ours("ab_mcts, 1 at a time", "ab_mcts", 1), fastest)
        bench.show(await bench.treequest("TreeQuest", 1), fastest)
        bench.show(await bench.treequest(f"TreeQuest, {MANY} threads", MANY), fastest)


@dataclass(frozen=True, slots=True)
class Solution:
    """What TreeQuest holds at a node: steps, and the values of their scores."""

    steps: tuple[Step, ...] = ()
    values: tuple[float, ...] = ()


class _Bench:
    def __init__(self, request: SpeedRequest, run: Run, models: Models):
        self._request, self._run, self._models = request, run, models
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

    async def ours(self, name: str, strategy: str, at_once: int) -> Row:
        await self._empty_caches()
        start, cost, answers = perf_counter(), Cost(), dict[str, str | None]()
        async for outcome in solve(
            self._problems, self._run.strategies[strategy], self._models.policy, self._models.scorer,
            answers=self._run.task, aggregate=self._run.aggregate, concurrency=at_once,
        ):  # fmt: skip
            assert outcome.error is None, outcome.error
            answers[outcome.problem.id], cost = outcome.answer, cost + outcome.cost
        return Row(name, perf_counter() - start, self._correct(answers), cost.samples, cost.scores, cost)

    async def its_hub(self, search: str, setting: Setting) -> Row:
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
                adapter, question, beams=request.beams, width=request.width, max_steps=request.max_steps
            ),
        }
        free, answers = asyncio.Semaphore(setting.at_once), dict[str, str | None]()

        async def one(problem: Problem) -> None:
            async with free:
                text = await searches[search](problem.question)
            answers[problem.id] = self._run.task.answers(problem).extract(text)

        with metered() as cost:
            start = perf_counter()
            await asyncio.gather(*map(one, self._problems))
            seconds = perf_counter() - start
        name = f"its_hub {search}, {setting.name}"
        return Row(name, seconds, self._correct(answers), adapter.completions, adapter.scored, cost)

    async def treequest(self, name: str, threads: int) -> Row:
        """Its own loop of `step`, a problem in each thread."""
        await self._empty_caches()
        loop, seeds, calls = asyncio.get_running_loop(), count(), count()
        package = load("treequest", "treequest")
        models, lengths, combine = self._models, LengthLimits(), AGGREGATES[self._run.aggregate]

        async def sample(problem: Problem, before: Solution) -> Solution:
            [new] = await models.policy.propose(
                problem, before.steps, until=Until.STEP, seed=derive(0, problem.id, next(seeds)),
                max_tokens=lengths.step_tokens,
            )  # fmt: skip
            next(calls)
            if new.is_blank and before.steps:  # as for ours: it shares the score of the step before it
                return Solution((*before.steps, new), before.values)
            steps = (*before.steps, new)
            scores = await models.scorer.score(problem, steps, num_scored=len(before.values))
            return Solution(steps, (*before.values, *(score.value for score in scores)))

        def generate(problem: Problem, parent: Solution | None) -> tuple[Solution, float]:
            """A finished solution is continued by itself: that costs nothing."""
            state = parent or Solution()
            if not state.steps or state.steps[-1].stop is Stop.STEP:
                state = asyncio.run_coroutine_threadsafe(sample(problem, state), loop).result()
            answers = self._run.task.answers(problem)
            ended = state.steps[-1].stop is not Stop.STEP
            is_dead = ended and answers.extract("".join(step.text for step in state.steps)) is None
            return state, 0.0 if is_dead else combine(state.values)

        def one(problem: Problem) -> str | None:
            search, actions = package.ABMCTSA(), {"sample": partial(generate, problem)}
            state = search.init_tree()
            for _ in range(self._request.samples):
                state = search.step(state, actions)
            ended: list[tuple[Any, float]] = [
                (solution, score) for solution, score in search.get_state_score_pairs(state)
                if solution.steps[-1].stop is Stop.END
            ]  # fmt: skip
            if not ended:
                return None
            best, _ = max(ended, key=lambda pair: pair[1])
            return self._run.task.answers(problem).extract("".join(step.text for step in best.steps))

        with metered() as cost, ThreadPoolExecutor(threads) as pool:
            start = perf_counter()
            texts = await asyncio.gather(
                *(loop.run_in_executor(pool, copy_context().run, one, problem) for problem in self._problems)
            )
            seconds = perf_counter() - start
        answers = {problem.id: text for problem, text in zip(self._problems, texts, strict=True)}
        return Row(name, seconds, self._correct(answers), next(calls), next(seeds), cost)
