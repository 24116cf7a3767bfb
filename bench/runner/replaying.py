"""A recorded search, run again from its trace without models: as it was, or with another neutral policy."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from bench.report.recorded import RecordedRun, RecordedTree, Sample
from bench.report.sides import Graders
from bench.report.solutions import Nothing
from bench.report.summary import Graded, Summary
from bench.runner.budget import Plan
from bench.tasks.oracle import guided_name
from search.engine import Outcome, solve
from search.errors import PolicyError, ScorerError, UsageError
from search.limits import CostLimits, LengthLimits, charge
from search.node import Node
from search.params import make_strategy, with_params
from search.seeds import derive
from search.trace import Trace
from search.tree import Strategy
from search.types import Policy, Problem, Step, StepScore, StepScorer, Until

Neutral = Literal["defer", "accept", "reject"]


def replayed_summary(run: RecordedRun, graders: Graders) -> Summary:
    """The results of a trace, with what its search counted. Problems without an end are left out.

    Raises UsageError if no problem is at its end, or if the search cannot be run again.
    """
    ended = {name: tree for name, tree in run.trees.items() if tree.chosen is not None}
    if not ended:
        raise UsageError(f"{run.path}: no problem is at its end")
    strategy = _strategy(run, {})
    with TemporaryDirectory() as folder:  # a trace is opened to be written, and this one must not change
        copy = Path(folder) / run.path.name
        shutil.copyfile(run.path, copy)
        with closing(Trace(copy, run.config)) as trace:
            outcomes = asyncio.run(_solved(run, graders, list(ended), strategy, Nothing(), Nothing(), trace))
    graded = []
    for outcome in outcomes:
        name = outcome.problem.id
        if outcome.error is not None:
            raise UsageError(f"{run.path}: the search of {name} cannot be run again: {outcome.error}")
        # Where a limit ended the search, the replay of an old trace may choose another leaf: it does not tell
        # how the reward model's step values make a solution's value.
        answer, leaf = ended[name].answer, ended[name].chosen
        assert leaf is not None
        fallback = answer is not None and graders.task.falls_back(leaf.answer_text)
        discarded = ended[name].cost.policy_tokens_discarded
        cost = replace(outcome.cost, policy_tokens_discarded=discarded)
        events = replace(outcome.events, replayed=max(1, outcome.events.replayed))  # its seconds do not count
        graded.append(
            Graded(
                replace(
                    outcome, steps=(), answer=answer, value=leaf.value if leaf.score else None, cost=cost,
                    events=events, finished=leaf.is_finished,
                ),
                graders.grade(name, answer), graders.examples[name].group, fallback,
            )
        )  # fmt: skip
    config = run.config
    return Summary(
        run.strategy, dict(config.get("params", {})), graders.task.name, int(config.get("seed", 0)),
        str(config.get("policy")), config.get("prm"), "", 0.0, graded,
    )  # fmt: skip


def with_neutral(run: RecordedRun, graders: Graders, neutral: Neutral) -> dict[str, str | None]:
    """The answers of an HGS search with another neutral policy, by problem.

    A problem is left out if that search asks for a sample or a score that is not recorded.
    Raises UsageError if the trace is not one of HGS.
    """
    if guided_name(run.strategy) != "hgs":
        raise UsageError(f"{run.path}: --neutral is for traces of hgs, not of {run.strategy}")
    ended = {name: tree for name, tree in run.trees.items() if tree.chosen is not None and not tree.late}
    models = _Recorded(int(run.config.get("seed", 0)), ended)
    strategy = _strategy(run, {"neutral": neutral})
    outcomes = asyncio.run(_solved(run, graders, list(ended), strategy, models, models, Trace()))
    return {
        outcome.problem.id: outcome.answer
        for outcome in outcomes
        if outcome.error is None and outcome.problem.id not in models.missing
    }


def _strategy(run: RecordedRun, changed: Mapping[str, Any]) -> Strategy:
    """The strategy of a trace, bounded by its budget. Raises UsageError if this code has none like it."""
    config, name = run.config, run.strategy
    try:
        strategy = with_params(make_strategy(guided_name(name)), {**config.get("params", {}), **changed})
    except (UsageError, TypeError, ValueError) as error:
        raise UsageError(f"{run.path}: its search cannot be run again: {error}") from error
    if config.get("budget_tokens") is None:
        return strategy
    plan = Plan(
        str(config["cost_budget"]), config["budget_tokens"], None, config["prm_weight"],
        config["greedy_tokens"], {},
    )  # fmt: skip
    return plan.bounded(name, strategy)


async def _solved(
    run: RecordedRun, graders: Graders, names: Sequence[str], strategy: Strategy, policy: Policy,
    scorer: StepScorer, trace: Trace,
) -> list[Outcome]:  # fmt: skip
    config = run.config
    samples, policy_tokens, scores = config.get("limits", (None, None, None))
    limits = CostLimits(samples, policy_tokens, scores, total_tokens=config.get("budget_tokens"))
    lengths = LengthLimits(*config["lengths"]) if "lengths" in config else LengthLimits()
    outcomes = solve(
        [graders.examples[name].problem for name in names], strategy, policy, scorer,
        seed=int(config.get("seed", 0)), limits=limits, lengths=lengths, answers=graders.task,
        outcome=any(tree.is_outcome for tree in run.trees.values()), prm_weight=config.get("prm_weight"),
        aggregate=config.get("aggregate", "product"), trace=trace,
    )  # fmt: skip
    return [outcome async for outcome in outcomes]


@dataclass
class _Recorded:
    """The recorded samples and scores of a step-by-step search, as a policy and a reward model.

    Seeds are by address, so the seed of a call tells which sample it is for.
    missing: problems that asked for something that is not recorded.
    """

    seed: int
    trees: Mapping[str, RecordedTree]
    missing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._samples: dict[int, tuple[Sample, Until]] = {}
        self._failed: dict[int, Node] = {}
        self._nodes: dict[tuple[str, tuple[str, ...]], Node] = {}
        for problem, tree in self.trees.items():
            for sample in tree.samples:
                own = sample.leaf.path[len(sample.parent.path)]
                self._samples[derive(self.seed, problem, *own.address)] = sample, _until(tree, sample)
            for node in tree.nodes:
                if node.step is None:
                    self._failed[derive(self.seed, problem, *node.address)] = node
                else:
                    self._nodes.setdefault((problem, tuple(step.text for step in node.steps)), node)

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, max_tokens: int, seed: int,
        temperature: float | None = None,
    ) -> list[Step]:  # fmt: skip
        if seed in self._failed:
            raise PolicyError(self._failed[seed].failed)
        sample, how = self._samples.get(seed, (None, until))
        if sample is None or how is not until or sample.spent.policy_tokens > max_tokens:
            self.missing.add(problem.id)
            raise PolicyError("not recorded")
        charge(**{name: n for name, n in asdict(sample.spent).items() if n and name != "samples"})
        return sample.leaf.steps[len(sample.parent.path) :]

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        texts = tuple(step.text for step in steps)
        scores = list[StepScore]()
        for depth in range(num_scored + 1, len(steps) + 1):
            node = self._nodes.get((problem.id, texts[:depth]))
            if node is not None and node.failed is not None:
                raise ScorerError(node.failed)
            if node is None or node.score is None:
                self.missing.add(problem.id)
                raise ScorerError("not recorded")
            scores.append(node.score)
        return scores


def _until(tree: RecordedTree, sample: Sample) -> Until:
    """Whether a sample of HGS is a step, or the greedy end of a search that found no solution.

    Steps that are entered are scored, and no duplicates.
    """
    leaf = sample.leaf
    completed = leaf is tree.chosen and (leaf.score is None or leaf.duplicate_of is not None)
    return Until.END if completed or leaf.parent is not sample.parent else Until.STEP
