"""Whole solutions are drawn and scored once for all strategies of a run.

Strategies that sample whole solutions ask for the same ones: a sample depends on the problem, the place in
the tree and the temperature. Each strategy is charged what it would cost alone, so costs stay comparable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import asdict
from typing import Any, Generic, TypeVar

from search.environments.episode import answered
from search.limits import Cost, charge, metered
from search.types import (
    BoundedScorer,
    Observation,
    Policy,
    Problem,
    Step,
    StepScore,
    StepScorer,
    Until,
    texts_read,
)

T = TypeVar("T")


class _Memo(Generic[T]):
    """Results of calls with what they cost. saved: what calls would have cost that were not made again."""

    def __init__(self) -> None:
        self.saved = Cost()
        self._results: dict[Hashable, tuple[T, Cost]] = {}

    async def get(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        if key in self._results:
            result, spent = self._results[key]
            self.saved += spent
        else:
            spent = Cost()
            try:
                with metered(spent):
                    result = await call()
            except BaseException:
                charge(**asdict(spent))
                raise
            self._results[key] = result, spent
        charge(**asdict(spent))
        return result


class PooledPolicy:
    """A policy that draws each whole solution once. Steps are drawn as they are asked for."""

    def __init__(self, policy: Policy):
        self.memo: _Memo[list[Step]] = _Memo()
        self._policy = policy

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, **how: Any
    ) -> list[Step]:
        async def draw() -> list[Step]:
            return await self._policy.propose(problem, steps, until=until, **how)

        if until is Until.STEP:
            return await draw()
        texts = tuple((step.token_ids or step.text, step.observation) for step in steps)
        return await self.memo.get((problem.id, texts, *sorted(how.items())), draw)

    def answered(self, problem: Problem, turn: Step, observation: Observation) -> Step:
        """See `search.environments.episode.Conversing`."""
        return answered(self._policy, problem, turn, observation)


class PooledScorer:
    """A reward model that scores each whole solution once. Steps are scored as they are asked for."""

    def __init__(self, scorer: StepScorer):
        self.memo: _Memo[list[StepScore]] = _Memo()
        self._scorer = scorer

    async def score(
        self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0
    ) -> list[StepScore]:
        async def score() -> list[StepScore]:
            return await self._scorer.score(problem, steps, num_scored=num_scored)

        if num_scored:
            return await score()
        return await self.memo.get((problem.id, *texts_read(steps)), score)


class BoundedPooledScorer(PooledScorer):
    """The same for a scorer that says what a call may cost (`search.types.BoundedScorer`)."""

    def __init__(self, scorer: StepScorer, bound: BoundedScorer):
        super().__init__(scorer)
        self.max_tokens = bound.max_tokens
