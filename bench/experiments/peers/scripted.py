"""Random trees as a policy and a reward model: children and scores are drawn from hashes of addresses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from search.limits import charge
from search.seeds import derive
from search.types import Address, Problem, Step, StepScore, Stop, Until

GRID = 16
"""Rewards are multiples of 1/16: sums of them have no rounding errors, whatever their order."""


@dataclass
class RandomTree:
    """All nodes of one depth or less have `width` different children; solutions end at random, or there.

    Every solution has an answer, its own text. asked: the addresses sampled, in order.

    ends: how probable it is that a node is the end of a solution.
    """

    number: int
    width: int
    depth: int
    ends: float = 0.2
    asked: list[Address] = field(default_factory=list)

    @property
    def problem(self) -> Problem:
        return Problem(f"tree{self.number}", "?")

    def reward(self, at: Address) -> float:
        return self._draw("reward", at).randrange(GRID + 1) / GRID

    def is_end(self, at: Address) -> bool:
        return len(at) == self.depth or self._draw("end", at).random() < self.ends

    def children(self, at: Address) -> list[Address]:
        return [] if at and self.is_end(at) else [(*at, child) for child in range(self.width)]

    def _draw(self, *what: object) -> random.Random:
        return random.Random(derive(self.number, *what))

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, max_tokens: int, seed: int,
        temperature: float | None = None,
    ) -> list[Step]:  # fmt: skip
        charge(policy_tokens=1)
        above = tuple(int(step.text.rstrip(",.")) for step in steps)
        seeds = [derive(0, problem.id, *child) for child in self.children(above)]
        own = (*above, seeds.index(seed))
        self.asked.append(own)
        end = self.is_end(own)
        return [Step(f"{own[-1]}{'.' if end else ','}", (own[-1],), -1.0, Stop.END if end else Stop.STEP)]

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        path = tuple(int(step.text.rstrip(",.")) for step in steps)
        rewards = [self.reward(path[: i + 1]) for i in range(num_scored, len(path))]
        return [StepScore(1 - reward, 0.0, reward) for reward in rewards]
