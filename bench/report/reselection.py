"""Other ways to choose among the solutions that a run sampled, evaluated without sampling again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bench.report.recorded import RecordedRun
from bench.report.resampling import bootstrap
from bench.report.sides import Graders
from bench.report.solutions import Solutions
from bench.report.stats import Paired, holm, mcnemar, wilson
from search.errors import UsageError
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


def reselect(run: RecordedRun, selectors: Sequence[Selector], graders: Graders | None = None) -> Reselection:
    """Evaluate the selectors over the finished solutions of every problem that the run ended.

    graders: of the run, if they are there already. Raises UsageError if no problem is at its end, or if a
    selector needs scores and the trace has none.
    """
    trees = [tree for tree in run.trees.values() if tree.chosen is not None]
    if not trees:
        raise UsageError(f"{run.path}: no problem is at its end")
    graders = graders or Graders(run)
    readers = [graders.solutions(tree) for tree in trees]
    if not any(reader.scored for reader in readers):
        selectors = [selector for selector in selectors if selector.choose == "vote"]
        if not selectors:
            raise UsageError(f"{run.path}: its solutions have no scores: only --choose vote is possible")

    correct = graders.grade
    recorded = [correct(tree.problem, tree.answer) for tree in trees]
    chosen = asyncio.run(_choose(readers, selectors))
    results = [
        [correct(tree.problem, answer) for tree, answer in zip(trees, answers, strict=True)]
        for answers in chosen
    ]
    oracle = [any(correct(reader.tree.problem, answer) for answer in reader.answers) for reader in readers]
    return Reselection(
        [tree.problem for tree in trees],
        recorded,
        compared({s.name: result for s, result in zip(selectors, results, strict=True)}, recorded),
        oracle,
        fmean(len(tree.solutions) for tree in trees),
        sum(len(reader.answered) - len(reader.scored) for reader in readers),
    )


def compared(results: Mapping[str, Sequence[bool]], recorded: Sequence[bool]) -> list[Reselected]:
    """Results by name, each against what the run chose on the same problems."""
    pairs = [mcnemar(result, recorded) for result in results.values()]
    adjusted = holm([paired.p for paired in pairs])
    return [
        Reselected(name, result, paired, _points(result, recorded), p)
        for (name, result), paired, p in zip(results.items(), pairs, adjusted, strict=True)
    ]


def _points(ours: Sequence[bool], theirs: Sequence[bool]) -> tuple[float, float]:
    low, high = bootstrap([float(a) - float(b) for a, b in zip(ours, theirs, strict=True)])
    return 100 * low, 100 * high


async def _choose(readers: Sequence[Solutions], selectors: Sequence[Selector]) -> list[list[str | None]]:
    return [[await reader.choose(s.choose, s.aggregate) for reader in readers] for s in selectors]
