"""A scripted tree in, a chosen path out: what the strategies' tests are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from search.tree import Budget, Tree
from search.types import Judgement, Problem, Strategy
from tests.fakes import FractionAnswers, ScriptedPolicy, ScriptedScorer

Q = Problem("q", "1 + 1?")
Script = Mapping[str, Sequence[str]]


class Picture:
    """A strategy run on a script: what was chosen, what was asked, what it cost."""

    def __init__(
        self,
        strategy: Strategy,
        script: Script,
        judgements: Mapping[str, Judgement] | None = None,
        *,
        budget: Budget = Budget(),
        fractions: bool = False,
    ):
        self.policy, self.scorer = ScriptedPolicy(script), ScriptedScorer(judgements or {})
        answers = FractionAnswers() if fractions else None
        self.events: list[str] = []
        self.tree = Tree(
            Q, self.policy, self.scorer, budget=budget, answers=answers,
            watch=lambda event, node: self.events.append(f"{event} {node.text}"),
        )
        self.chosen = asyncio.run(strategy(self.tree))
        self.text, self.usage = self.chosen.text, self.tree.usage

    @property
    def path(self) -> list[str]:
        """What the policy was asked to continue, in order."""
        return [asked.after for asked in self.policy.asked]

    @property
    def temperatures(self) -> list[float | None]:
        return [asked.temperature for asked in self.policy.asked]


def of_value(value: float) -> Judgement:
    return Judgement(1 - value, 0.0, value)
