"""The finished solutions of a recorded tree, read and chosen from as a search would."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from bench.report.recorded import RecordedTree
from search.errors import PolicyError
from search.node import Node
from search.tree import Tree
from search.types import Answers, Problem, Step, StepScore
from search.values import Aggregate, Choice


class Solutions:
    """The finished solutions of one problem.

    answered: those with an answer. scored: those of them that have a value.
    """

    def __init__(self, tree: RecordedTree, problem: Problem, answers: Answers):
        self.tree, self._is_outcome = tree, tree.is_outcome  # which looks at every solution
        self._engine = Tree(
            problem, Nothing(), Nothing(), answers=_Remembered(answers), outcome=self._is_outcome
        )
        self.answered = [node for node in tree.solutions if self.answer(node) is not None]
        self.scored = [node for node in self.answered if self._has_value(node)]
        self.answers = [self.answer(node) for node in self.answered]

    def answer(self, node: Node) -> str | None:
        """The answer of a solution, None if it is unfinished or states none."""
        return self._engine.answer(node)

    def value(self, node: Node, aggregate: Aggregate | None = None) -> float | None:
        """The value of a solution, None without a score. aggregate: of step values; None is the product."""
        return self._engine.value(node, aggregate) if self._has_value(node) else None

    def _has_value(self, node: Node) -> bool:
        return node.score is not None and (
            self._is_outcome or all(n.score is not None for n in node.path)
        )

    async def choose(self, choose: Choice, aggregate: Aggregate | None) -> str | None:
        """The answer that is chosen; None if there is none. Without any score it is the vote's."""
        if not self.answered:
            return None
        if choose == "vote" or not self.scored:
            leaf = await self._engine.choose(self.answered, "vote")
        else:
            leaf = await self._engine.choose(self.scored, choose, aggregate)
        return self._engine.answer(leaf)


class _Remembered:
    """Answers that are read and compared once, however many selectors ask."""

    def __init__(self, answers: Answers):
        self.extract = cache(answers.extract)
        self.equal = cache(answers.equal)


class Nothing:
    """In place of the models: whatever is not recorded is an error."""

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        raise PolicyError("not recorded")

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        raise PolicyError("not recorded")
