"""TreeQuest's AB-MCTS-A on our models: a step of the policy and its score are what it generates at a node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.experiments.peers.packages import load
from bench.tasks.base import Task
from search.limits import LengthLimits
from search.seeds import derive
from search.types import Policy, Problem, Step, StepScorer, Stop, Until
from search.values import AGGREGATES, Aggregate


@dataclass(frozen=True, slots=True)
class Solution:
    """What TreeQuest holds at a node: the steps so far, and the values of their scores."""

    steps: tuple[Step, ...] = ()
    values: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        return "".join(step.text for step in self.steps)

    @property
    def is_open(self) -> bool:
        return not self.steps or self.steps[-1].stop is Stop.STEP


Generate = Callable[[Solution | None], tuple[Solution, float]]


@dataclass
class TreeQuestSearch:
    """Searches each problem in the thread that asks for it; the models run on `loop`.

    TreeQuest refines finished solutions, which this policy cannot: one is returned as it is, at no cost.

    samples: of a problem. batch: 1 is its loop of `step`; more are samples of one `ask_batch`, in threads.
    sampled, scored: calls so far.
    """

    policy: Policy
    scorer: StepScorer
    task: Task
    aggregate: Aggregate
    loop: asyncio.AbstractEventLoop
    samples: int
    batch: int = 1
    sampled: int = 0
    scored: int = 0

    def solve(self, problem: Problem) -> str | None:
        """The answer of the finished solution with the highest score."""
        search, generate = load("treequest", "treequest").ABMCTSA(), partial(self._generate, problem)
        state = search.init_tree()
        if self.batch == 1:
            for _ in range(self.samples):
                state = search.step(state, {"sample": generate})
        else:
            with ThreadPoolExecutor(self.batch) as pool:
                for _ in range(self.samples // self.batch):
                    state = self._step(search, state, generate, pool)
        pairs: list[tuple[Solution, float]] = search.get_state_score_pairs(state)
        finished = [(score, own) for own, score in pairs if own.steps[-1].stop is Stop.END]
        if not finished:
            return None
        return self.task.answers(problem).extract(max(finished, key=lambda pair: pair[0])[1].text)

    def _step(self, search: Any, state: Any, generate: Generate, pool: ThreadPoolExecutor) -> Any:
        state, trials = search.ask_batch(state, self.batch, ["sample"])
        asked = [pool.submit(copy_context().run, generate, trial.parent_state) for trial in trials]
        for trial, result in zip(trials, asked, strict=True):
            state = search.tell(state, trial.trial_id, result.result())
        return state

    def _generate(self, problem: Problem, parent: Solution | None) -> tuple[Solution, float]:
        solution = parent or Solution()
        if solution.is_open:
            sample = self._sample(problem, solution)
            solution = asyncio.run_coroutine_threadsafe(sample, self.loop).result()
        is_dead = not solution.is_open and self.task.answers(problem).extract(solution.text) is None
        return solution, 0.0 if is_dead else AGGREGATES[self.aggregate](solution.values)

    async def _sample(self, problem: Problem, before: Solution) -> Solution:
        self.sampled += 1
        seed = derive(0, problem.id, self.sampled)
        [new] = await self.policy.propose(
            problem, before.steps, until=Until.STEP, max_tokens=LengthLimits().step_tokens, seed=seed
        )
        steps = (*before.steps, new)
        if new.is_blank and before.steps:  # it shares the score of the step before it
            return Solution(steps, before.values)
        self.scored += 1
        scores = await self.scorer.score(problem, steps, num_scored=len(before.values))
        return Solution(steps, (*before.values, *(score.value for score in scores)))
