"""Runs of one policy with several reward models and strategies, recorded as by `python -m search.run`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from bench.report.summary import Summary
from bench.runner.cli.display import ProgressLines, progress
from bench.runner.execute import execute_strategy, replay
from bench.runner.models import Models, NoScorer, load_policy
from bench.runner.request import Run, RunRequest
from bench.runner.specs import PolicySpec, PRMSpec
from prm.scoring.scorers import HFScorer
from search.limits import Cost, charge, metered
from search.params import make_strategy
from search.types import Policy, Problem, Step, StepScore, StepScorer, Until


class RememberingPolicy:
    """Samples once per distinct call. A repeated call returns the same result and charges the same cost."""

    def __init__(self, policy: Policy):
        self._policy = policy
        self._sampled: dict[tuple[object, ...], tuple[list[Step], Cost]] = {}

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, max_tokens: int, seed: int,
        temperature: float | None = None,
    ) -> list[Step]:
        key = (problem.id, *_key(steps), until, max_tokens, seed, temperature)
        if key not in self._sampled:
            with metered() as spent:
                sampled = await self._policy.propose(
                    problem, steps, until=until, max_tokens=max_tokens, seed=seed, temperature=temperature
                )
            self._sampled[key] = sampled, spent
        sampled, spent = self._sampled[key]
        charge(**asdict(spent))
        return sampled


Scored = dict[tuple[object, ...], tuple[list[StepScore], Cost]]


class RememberingScorer:
    """Scores once per distinct call, as `RememberingPolicy` samples. scores: the remembered calls."""

    def __init__(self, scorer: StepScorer, scores: Scored):
        self._scorer, self._scores = scorer, scores

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        key = (problem.id, *_key(steps), num_scored)
        if key not in self._scores:
            with metered() as spent:
                result = await self._scorer.score(problem, steps, num_scored=num_scored)
            self._scores[key] = result, spent
        result, spent = self._scores[key]
        charge(**asdict(spent))
        return result


def _key(steps: Sequence[Step]) -> list[tuple[str, tuple[int, ...]]]:
    """Text and tokens: a model may continue the same text differently if it is tokenized differently."""
    return [(step.text, tuple(step.token_ids)) for step in steps]


class Cells:
    """The runs of one policy, recorded in `work`.

    The policy is loaded at the first run that is not fully recorded, and closed with `stack`. Reward models
    run on transformers: these small ones load in a second and are as fast as on vLLM's CPU engine.
    """

    def __init__(self, policy: str, work: Path, notes: Console, stack: AsyncExitStack):
        self._policy, self._work, self._notes, self._stack = policy, work, notes, stack
        self._remembering: RememberingPolicy | None = None
        self._scored: dict[str, Scored] = {}

    async def run(self, strategy: str, n_problems: int, prm: str | None = None, **params: object) -> Summary:
        """Run one strategy on the first `n_problems` test problems.

        prm: a path or a name, as `PRMSpec` takes it. params: parameters of the strategy.
        """
        prm_name = "none" if prm is None else Path(prm).name
        name = "-".join([strategy, *(f"{param}={value}" for param, value in params.items())])
        out = self._work / prm_name / name
        settings = {param: str(value) for param, value in params.items()}
        run = RunRequest(
            strategies={strategy: make_strategy(strategy, settings)},
            limit=n_problems,
            policy=PolicySpec(name=self._policy),
            prm=PRMSpec(name=prm),
            fitted_thresholds=settings.keys().isdisjoint(("accept", "reject")),
            out=out,
            resume=out.is_dir(),
        ).validate()
        if out.is_dir() and (recorded := await replay(run, keep_steps=True)):
            return recorded[0]
        self._notes.print(f"{self._policy}, reward model {prm_name}: {name}")
        if self._remembering is None:
            policy = await self._stack.enter_async_context(load_policy(run.policy))
            self._remembering = RememberingPolicy(policy)
        if run.prm is None or run.prm.model is None:
            return await self._execute(run, strategy, NoScorer())
        scores = self._scored.setdefault(run.prm.model, {})
        # Each run gets a new scorer, so that runs do not share its cache.
        async with HFScorer(run.prm.model, dtype=run.prm.dtype) as scorer:
            return await self._execute(run, strategy, RememberingScorer(scorer, scores))

    async def _execute(self, run: Run, strategy: str, scorer: StepScorer) -> Summary:
        assert self._remembering is not None
        with progress(self._notes) as shown:
            return await execute_strategy(
                run, Models(self._remembering, scorer), strategy, ProgressLines(shown), keep_steps=True
            )
