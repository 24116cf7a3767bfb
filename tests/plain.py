"""What slow references of strategies are written on: trees of addresses, without `Tree`; a lossy world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from search.errors import PolicyError
from search.limits import LengthLimits
from search.node import Node
from search.seeds import derive
from search.types import Address, Problem, Step, Stop, Until
from tests.fakes import FractionAnswers, RandomWorld

LENGTHS = LengthLimits(step_tokens=12, solution_tokens=40)


class Lossy(RandomWorld):
    """Loses one sample in `every`."""

    def __init__(self, every: int | None, jitter: int | None = None):
        super().__init__(jitter)
        self.every = every

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        if self.every and how["seed"] % self.every == 0:
            raise PolicyError("lost")
        return await super().propose(problem, steps, **how)


def all_nodes(top: Node) -> list[Node]:
    return [top, *(node for child in top.children for node in all_nodes(child))]


class PlainTree:
    """said: the step at each address. A candidate that failed has none."""

    def __init__(self, world: Any, problem: Problem, seed: int):
        self.world, self.problem, self.seed = world, problem, seed
        self.said: dict[Address, Step] = {}
        self.given: Counter[Address] = Counter()

    def steps(self, at: Address) -> list[Step]:
        return [self.said[at[:i]] for i in range(1, len(at) + 1)]

    async def grow(
        self, at: Address, *, until: Until = Until.STEP, temperature: float | None = None
    ) -> Address:
        """Sample the next child, or a solution that begins with it. Returns where it ends."""
        own = (*at, self.given[at])
        self.given[at] += 1
        left = LENGTHS.solution_tokens - sum(s.n_tokens for s in self.steps(at))
        try:
            new = await self.world.propose(
                self.problem, self.steps(at), until=until, seed=derive(self.seed, self.problem.id, *own),
                max_tokens=left if until is Until.END else min(left, LENGTHS.step_tokens),
                temperature=temperature,
            )  # fmt: skip
        except Exception:
            return own
        if new[-1].stop is Stop.STEP and sum(s.n_tokens for s in new) >= left:
            new[-1] = replace(new[-1], stop=Stop.LENGTH)
        for i, step in enumerate(new):
            if i:
                own = (*own, self.given[own])
                self.given[own[:-1]] += 1
            self.said[own] = step
        return own

    def first(self, at: Address) -> Address:
        """The first sibling with the same text."""
        same = (self.said[at].text, self.said[at].stop)
        siblings = [(*at[:-1], i) for i in range(at[-1] + 1) if (*at[:-1], i) in self.said]
        return next(other for other in siblings if (self.said[other].text, self.said[other].stop) == same)

    def ended(self, at: Address) -> bool:
        return at != () and self.said[at].stop is not Stop.STEP

    def answer(self, at: Address) -> str | None:
        text = "".join(s.text for s in self.steps(at))
        return FractionAnswers().extract(text) if self.said[at].stop is Stop.END else None

    def is_dead(self, at: Address) -> bool:
        return self.ended(at) and self.answer(at) is None

    async def value(self, at: Address, how: str) -> float:
        """Of at least one step; a blank one is as good as the step before it, and not counted again."""
        steps = self.steps(at)
        while len(steps) > 1 and not steps[-1].text.strip():
            steps.pop()
        if not steps[-1].text.strip():
            return 0.0
        values = [score.value for score in await self.world.score(self.problem, steps)]
        return {"last": values[-1], "min": min(values), "product": prod(values)}[how]
