"""Solutions sampled from the built-in policy and labelled by the exact checker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from bench.runner.checkpoints import choose_engine
from bench.runner.models import load
from bench.runner.resolve import ResolvedPolicy, ResolvedPRM
from bench.tasks.generated.checker import label_steps
from bench.tasks.generated.problems import PROMPT, WordProblem
from prm.data.labels import LabelledSolution, until_first_error
from search import Node, Problem, Strategy, TreeEvent, solve
from search.policies.stepping import Sampling
from search.prompts import Prompt
from search.segment import SEGMENTERS, Segmenter
from search.strategies.cot import ChainOfThought
from search.strategies.hgs import HGS
from search.strategies.mcts import MCTS

TEMPERATURES = (0.6, 0.8, 1.0, 1.2)
SEARCHES = (
    HGS(temperature=0.6, escalation=0.3, max_samples=48),
    MCTS(simulations=8, temperature=1.0),
)
"""Searches that expose a reward model's blind spots: they follow paths whose steps it all scored well."""

Search = tuple[Strategy, Sequence[Problem]]


@dataclass(frozen=True, slots=True)
class Manner:
    """How a policy is prompted, and where the steps of its output end."""

    prompt: Prompt
    segmenter: Segmenter


ARITHMETIC = Manner(Prompt(PROMPT), SEGMENTERS["newline"])


def lines(node: Node) -> list[str]:
    """The steps of a path without their newlines. Blank steps are left out."""
    return [step.text.strip("\n") for step in node.steps if not step.is_blank]


def labelled(problem: WordProblem, steps: Sequence[str], split: str) -> LabelledSolution:
    """A solution labelled by the exact checker, cut after the first error."""
    kept, labels = until_first_error(steps, label_steps(problem, steps))
    return LabelledSolution(problem.question, kept, labels, "builtin", split, "checker")


def written(policy: Path, problems: Sequence[WordProblem], temperature: float) -> list[list[str]]:
    """One solution per problem, as lines, in the order of the problems."""
    return solutions_of(policy, _without_solutions(problems), [temperature], ARITHMETIC)


def sampled(policy: Path, problems: Sequence[WordProblem], split: str) -> list[LabelledSolution]:
    """Labelled solutions sampled from the policy, one per problem, cycling through `TEMPERATURES`."""
    texts = solutions_of(policy, _without_solutions(problems), TEMPERATURES, ARITHMETIC)
    return [labelled(p, steps, split) for p, steps in zip(problems, texts, strict=True) if steps]


def solutions_of(
    policy: Path, problems: Sequence[Problem], temperatures: Sequence[float], manner: Manner
) -> list[list[str]]:
    """The steps of one solution per problem, in the order of the problems, cycling through `temperatures`."""
    steps: dict[str, list[str]] = {}

    def watch(problem: Problem, event: TreeEvent, node: Node) -> None:
        if event is TreeEvent.CHOSEN:
            steps[problem.id] = lines(node)

    every = len(temperatures)
    searches: list[Search] = [
        (ChainOfThought(temperature=temperature), problems[part::every])
        for part, temperature in enumerate(temperatures)
    ]
    asyncio.run(_run(policy, None, searches, watch, manner))
    return [steps[problem.id] for problem in problems]


def searched(policy: Path, prm: Path, problems: Sequence[WordProblem], split: str) -> list[LabelledSolution]:
    """The labelled paths that searches with a reward model explore, its mistakes included, each once."""
    by_id = {problem.id: problem for problem in problems}
    paths: dict[tuple[str, ...], LabelledSolution] = {}

    def watch(problem: Problem, event: TreeEvent, node: Node) -> None:
        if event is TreeEvent.SCORE and (steps := lines(node)):
            paths.pop((problem.id, *steps[:-1]), None)  # of a path and its prefixes, only the path is kept
            paths[problem.id, *steps] = labelled(by_id[problem.id], steps, split)

    searches = [(strategy, _without_solutions(problems)) for strategy in SEARCHES]
    asyncio.run(_run(policy, prm, searches, watch, ARITHMETIC))
    return list(paths.values())


def _without_solutions(problems: Sequence[WordProblem]) -> list[Problem]:
    return [Problem(problem.id, problem.question) for problem in problems]


async def _run(
    policy: Path,
    prm: Path | None,
    searches: Sequence[Search],
    watch: Callable[[Problem, TreeEvent, Node], None],
    manner: Manner,
) -> None:
    """Run the searches one after another. Raises RuntimeError if a problem fails."""
    engine = choose_engine(None, servers=False)
    resolved = ResolvedPolicy(
        name=str(policy), path=str(policy), engine=engine, dtype="auto", tokenizer=str(policy), servers=(),
        prompt=manner.prompt, segmenter=manner.segmenter, sampling=Sampling(), seeded=True,
    )
    scores = None if prm is None else ResolvedPRM(
        name=str(prm), model=str(prm), engine="vllm" if engine == "vllm" else "hf", dtype="auto",
        public_tests=False,
    )  # fmt: skip
    async with load(resolved, scores) as models:
        with Progress() as progress:
            for strategy, problems in searches:
                bar = progress.add_task(type(strategy).__name__, total=len(problems))
                async for outcome in solve(problems, strategy, models.policy, models.scorer, watch=watch):
                    if outcome.error:
                        raise RuntimeError(f"{outcome.problem.id}: {outcome.error}")
                    progress.advance(bar)
