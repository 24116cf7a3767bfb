"""A scripted tree in, a chosen path out: what the strategies' tests are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from search.limits import LengthLimits
from search.tree import Strategy, Tree
from search.types import Problem, StepScore
from tests.fakes import FractionAnswers, ScriptedPolicy, ScriptedScorer

Q = Problem("q", "1 + 1?")
Script = Mapping[str, Sequence[str]]


class Picture:
    """A strategy run on a script: what was chosen, what was asked, what it cost."""

    def __init__(
        self,
        strategy: Strategy,
        script: Script,
        scores: Mapping[str, StepScore] | None = None,
        *,
        lengths: LengthLimits = LengthLimits(),
        fractions: bool = False,
    ):
        self.policy, self.scorer = ScriptedPolicy(script), ScriptedScorer(scores or {})
        answers = FractionAnswers() if fractions else None
        self.told: list[str] = []
        self.tree = Tree(
            Q, self.policy, self.scorer, lengths=lengths, answers=answers,
            watch=lambda event, node: self.told.append(f"{event} {node.text}"),
        )
        self.chosen = asyncio.run(strategy(self.tree))
        self.text, self.cost, self.events = self.chosen.text, self.tree.cost, self.tree.events
        assert not self.events.failed, self.tree.broken or "a candidate failed"

    @property
    def path(self) -> list[str]:
        """What the policy was asked to continue, in order."""
        return [call.after for call in self.policy.calls]

    @property
    def temperatures(self) -> list[float | None]:
        return [call.temperature for call in self.policy.calls]


def of_value(value: float) -> StepScore:
    return StepScore(1 - value, 0.0, value)
