"""its_hub's search on our models: its language-model and reward-model interfaces over a policy and a PRM."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.experiments.peers.packages import load
from search.limits import LengthLimits
from search.seeds import derive
from search.types import Policy, Problem, Step, StepScore, StepScorer, Stop, Until
from search.values import AGGREGATES, Aggregate

END = "<|end|>"
"""Stands in the text of a step that ends a solution: its_hub knows no other sign of the end."""


@dataclass
class Adapter:
    """A policy and a PRM as its_hub's `AbstractLanguageModel` and `AbstractProcessRewardModel`.

    its_hub passes texts: the steps that they stand for are looked up here, so that prefixes are sent as
    tokens, as ours are, and both use the engines' prefix caches alike.

    marked: a step that ends a solution is marked, for its_hub's `stop_token`. keeps_scores: scores of earlier
    steps are kept here and only the new step is scored; its interface asks for whole texts.
    completions, scored: calls so far.
    """

    policy: Policy
    scorer: StepScorer
    problems: Mapping[str, Problem]
    aggregate: Aggregate
    marked: bool = True
    keeps_scores: bool = True
    completions: int = 0
    scored: int = 0
    _steps: dict[tuple[str, str], list[Step]] = field(default_factory=dict)
    _scores: dict[tuple[str, str], list[StepScore]] = field(default_factory=dict)

    async def agenerate(self, messages: Sequence[Sequence[Any]], **how: Any) -> list[dict[str, str]]:
        """The next step of each conversation: the question, and the steps so far if there are any."""
        steps = [self._next(*(message.content for message in own)) for own in messages]
        return [{"role": "assistant", "content": text} for text in await asyncio.gather(*steps)]

    async def _next(self, question: str, text: str = "") -> str:
        problem = self.problems[question]
        before = self._steps.get((question, text), [])
        used, lengths = sum(step.n_tokens for step in before), LengthLimits()
        self.completions += 1
        [new] = await self.policy.propose(
            problem, before, until=Until.STEP, seed=derive(0, problem.id, self.completions),
            max_tokens=max(1, min(lengths.step_tokens, lengths.solution_tokens - used)),
        )  # fmt: skip
        is_last = new.stop is not Stop.STEP
        if is_last and new.stop is Stop.END:  # texts have no end-of-turn token
            new = replace(new, token_ids=new.token_ids[:-1], n_tokens=-1)
        self._steps[question, text + new.text] = [*before, new]
        return new.text + END if is_last and self.marked else new.text

    async def ascore(self, question: str, texts: Sequence[str]) -> list[float]:
        return list(await asyncio.gather(*(self._score(question, text) for text in texts)))

    async def _score(self, question: str, text: str) -> float:
        steps = self._steps[question, text]
        while len(steps) > 1 and steps[-1].is_blank:
            steps = steps[:-1]
        above = "".join(step.text for step in steps[:-1])
        known = self._scores.get((question, above), []) if self.keeps_scores else []
        self.scored += 1
        new = await self.scorer.score(self.problems[question], steps, num_scored=len(known))
        self._scores[question, text] = [*known, *new]
        return AGGREGATES[self.aggregate]([score.value for score in [*known, *new]])


def step_generation(adapter: Adapter, max_steps: int) -> Any:
    package = load("its_hub", "its_hub.core.lms.step_generation")
    stop = END if adapter.marked else None
    return package.StepGeneration(max_steps, "\n", stop, include_stop_str_in_output=True)


async def particle_filter(adapter: Adapter, question: str, *, particles: int, max_steps: int) -> str:
    package = load("its_hub", "its_hub.core.algorithms.particle_gibbs")
    search = package.ParticleFiltering(step_generation(adapter, max_steps), adapter)
    answer = await search.ainfer(adapter, question, particles)
    return str(answer["content"]).removesuffix(END)


async def beam_search(adapter: Adapter, question: str, *, n: int, width: int, max_steps: int) -> str:
    """`width` children of each of the best n / width candidates; the first level has `width` in all."""
    package = load("its_hub", "its_hub.core.algorithms.beam_search")
    search = package.BeamSearch(step_generation(adapter, max_steps), adapter, beam_width=n // width)
    answer = await search.ainfer(adapter, question, n)
    return str(answer["content"]).removesuffix(END)
