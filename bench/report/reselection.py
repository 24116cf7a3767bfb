"""Other ways to choose among the solutions that a run sampled, evaluated without sampling again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any

from bench.report.recorded import RecordedRun, RecordedTree
from bench.report.resampling import bootstrap
from bench.report.sides import Graders
from bench.report.stats import Paired, holm, mcnemar, wilson
from search.errors import PolicyError, UsageError
from search.node import Node
from search.tree import Tree
from search.types import Answers, Problem, Step, StepScore
from search.values import Aggregate, Choice


@dataclass(frozen=True, slots=True)
class Selector:
    """A way to choose. aggregate: of step values, None for a vote, which uses none."""

    choose: Choice
    aggregate: Aggregate | None

    @property
    def name(self) -> str:
        return self.choose if self.aggregate is None else f"{self.choose} {self.aggregate}"


@dataclass(frozen=True, slots=True)
class Reselected:
    """A selector's results. correct: by problem. versus: what the run itself chose.

    interval: of the difference, in points, 95 %. adjusted: p after Holm, over all selectors.
    """

    name: str
    correct: Sequence[bool]
    versus: Paired
    interval: tuple[float, float]
    adjusted: float

    def as_json(self) -> dict[str, Any]:
        n = len(self.correct)
        return {
            "selector": self.name, "accuracy": sum(self.correct) / n, "ci95": wilson(sum(self.correct), n),
            "points": self.versus.points, "points_ci95": self.interval, "won": self.versus.won,
            "lost": self.versus.lost, "p": self.versus.p, "p_holm": self.adjusted,
            "within_noise": self.adjusted >= 0.05,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reselection:
    """problems: their ids. recorded: whether the run's own choice is correct, by problem.

    selected: by selector. oracle: whether any solution is correct, by problem.
    solutions: finished ones of a problem, on average. unscored: solutions with an answer and without a
        score, which are left to the vote.
    """

    problems: Sequence[str]
    recorded: Sequence[bool]
    selected: Sequence[Reselected]
    oracle: Sequence[bool]
    solutions: float
    unscored: int

    def as_json(self) -> dict[str, Any]:
        n = len(self.problems)
        return {
            "problems": n, "solutions_per_problem": self.solutions, "unscored_solutions": self.unscored,
            "recorded": {"accuracy": sum(self.recorded) / n, "ci95": wilson(sum(self.recorded), n)},
            "selectors": [selected.as_json() for selected in self.selected],
            "oracle": sum(self.oracle) / n,
        }  # fmt: skip


def reselect(run: RecordedRun, selectors: Sequence[Selector]) -> Reselection:
    """Evaluate the selectors over the finished solutions of every problem that the run ended.

    Raises UsageError if there is none, or if a selector needs scores and the trace has none.
    """
    trees = [tree for tree in run.trees.values() if tree.chosen is not None]
    if not trees:
        raise UsageError(f"{run.path}: no problem is at its end")
    graders = Graders(run)
    readers = [_Reader(tree, graders.examples[tree.problem].problem, graders.task.answers) for tree in trees]
    if not any(reader.scored for reader in readers):
        selectors = [selector for selector in selectors if selector.choose == "vote"]
        if not selectors:
            raise UsageError(f"{run.path}: its solutions have no scores: only --choose vote is possible")

    @cache
    def correct(problem: str, answer: str | None) -> bool:
        return answer is not None and graders.grade(problem, answer)

    recorded = [correct(tree.problem, tree.answer) for tree in trees]
    chosen = asyncio.run(_choose(readers, selectors))
    results = [
        [correct(tree.problem, answer) for tree, answer in zip(trees, answers, strict=True)]
        for answers in chosen
    ]
    pairs = [mcnemar(result, recorded) for result in results]
    oracle = [any(correct(reader.tree.problem, answer) for answer in reader.answers) for reader in readers]
    return Reselection(
        [tree.problem for tree in trees],
        recorded,
        [
            Reselected(selector.name, result, paired, _points(result, recorded), adjusted)
            for selector, result, paired, adjusted in zip(
                selectors, results, pairs, holm([paired.p for paired in pairs]), strict=True
            )
        ],
        oracle,
        fmean(len(tree.solutions) for tree in trees),
        sum(len(reader.answered) - len(reader.scored) for reader in readers),
    )


def _points(ours: Sequence[bool], theirs: Sequence[bool]) -> tuple[float, float]:
    low, high = bootstrap([float(a) - float(b) for a, b in zip(ours, theirs, strict=True)])
    return 100 * low, 100 * high


async def _choose(readers: Sequence[_Reader], selectors: Sequence[Selector]) -> list[list[str | None]]:
    return [[await reader.choose(selector) for reader in readers] for selector in selectors]


class _Reader:
    """The solutions of one problem, in a tree of the engine, so that they are chosen as a search would.

    answered: solutions with an answer. scored: those of them that have a value.
    """

    def __init__(self, tree: RecordedTree, problem: Problem, answers: Any):
        self.tree = tree
        own = _Remembered(answers(problem))
        self._engine = Tree(problem, _Nothing(), _Nothing(), answers=own, outcome=tree.is_outcome)
        self.answered = [node for node in tree.solutions if self._engine.answer(node) is not None]
        self.scored = [node for node in self.answered if self._has_value(node)]
        self.answers = [self._engine.answer(node) for node in self.answered]

    def _has_value(self, node: Node) -> bool:
        return node.score is not None and (
            self.tree.is_outcome or all(n.score is not None for n in node.path)
        )

    async def choose(self, selector: Selector) -> str | None:
        """The answer that the selector gives; None if there is none. Without any score it is the vote's."""
        if not self.answered:
            return None
        if selector.choose == "vote" or not self.scored:
            leaf = await self._engine.choose(self.answered, "vote")
        else:
            leaf = await self._engine.choose(self.scored, selector.choose, selector.aggregate)
        return self._engine.answer(leaf)


class _Remembered:
    """Answers that are read and compared once, however many selectors ask."""

    def __init__(self, answers: Answers):
        self.extract = cache(answers.extract)
        self.equal = cache(answers.equal)


class _Nothing:
    """In place of the models: whatever is not recorded is an error."""

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        raise PolicyError("not recorded")

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        raise PolicyError("not recorded")
