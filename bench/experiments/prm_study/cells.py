"""Runs of one policy with several judges and strategies, each recorded as `search.run` records it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from bench.report.summary import Summary
from bench.runner.cli.run import replay, solve_with
from bench.runner.models import Models, NoScorer, load_models
from bench.runner.request import check
from prm.scoring.scorers import HFScorer
from search.limits import Cost, charge, metered
from search.types import Policy, Problem, Step, StepScore, StepScorer, Until


class RememberingPolicy:
    """Samples each call once. Asked again, it says the same and charges the same, for it would have."""

    def __init__(self, policy: Policy):
        self._policy = policy
        self._known: dict[tuple[object, ...], tuple[list[Step], Cost]] = {}

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, max_tokens: int, seed: int,
        temperature: float | None = None,
    ) -> list[Step]:
        key = (problem.id, *_said(steps), until, max_tokens, seed, temperature)
        if key not in self._known:
            with metered() as spent:
                said = await self._policy.propose(
                    problem, steps, until=until, max_tokens=max_tokens, seed=seed, temperature=temperature
                )
            self._known[key] = said, spent
        said, spent = self._known[key]
        charge(**asdict(spent))
        return said


Judged = dict[tuple[object, ...], tuple[list[StepScore], Cost]]


class RememberingScorer:
    """Judges each call once, as `RememberingPolicy` samples. known: what it remembers."""

    def __init__(self, scorer: StepScorer, known: Judged):
        self._scorer, self._known = scorer, known

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        key = (problem.id, *_said(steps), num_scored)
        if key not in self._known:
            with metered() as spent:
                said = await self._scorer.score(problem, steps, num_scored=num_scored)
            self._known[key] = said, spent
        said, spent = self._known[key]
        charge(**asdict(spent))
        return said


def _said(steps: Sequence[Step]) -> list[tuple[str, tuple[int, ...]]]:
    """One text may be of two sequences of tokens, which a model goes on from in two ways."""
    return [(step.text, tuple(step.token_ids)) for step in steps]


class Cells:
    """The runs of one policy, in `work`. The policy is loaded when a run is not recorded in full.

    Judges run on transformers: they are loaded in a second, and judge as fast as on vLLM's CPU engine.
    """

    def __init__(self, policy: str, work: Path, notes: Console):
        self._policy, self._work, self._notes = policy, work, notes
        self._loaded: Models | None = None
        self._remembering: RememberingPolicy | None = None
        self._judged: dict[str, Judged] = {}

    async def run(self, strategy: str, n_problems: int, prm: str | None = None, **params: object) -> Summary:
        """One strategy on the first test problems; prm: a path or a name, as `search.run` takes it."""
        prm_name = "none" if prm is None else Path(prm).name
        name = "-".join([strategy, *(f"{param}={value}" for param, value in params.items())])
        out = self._work / prm_name / name
        words = ["--strategy", strategy, "--no-baseline", "--policy", self._policy, "--out", str(out)]
        words += ["--limit", str(n_problems)]
        words += [] if prm is None else ["--prm", prm]
        words += ["--set", *(f"{param}={value}" for param, value in params.items())] if params else []
        run = check([*words, "--resume"] if out.is_dir() else words)
        if out.is_dir() and (recorded := await replay(run)):
            return recorded[0]
        self._notes.print(f"{self._policy}, reward model {prm_name}: {name}")
        if self._remembering is None:
            self._loaded = await load_models(replace(run.models, prm=None))
            self._remembering = RememberingPolicy(self._loaded.policy)
        scorer: StepScorer = NoScorer()
        if run.models.prm is not None:  # a new one each time, so that its cache is this run's own
            known = self._judged.setdefault(run.models.prm, {})
            scorer = RememberingScorer(HFScorer(run.models.prm, dtype=run.models.dtype), known)
        return await solve_with(Models(self._remembering, scorer), run, strategy, self._notes)

    async def close(self) -> None:
        if self._loaded is not None:
            await self._loaded.close()
