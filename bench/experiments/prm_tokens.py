"""Reward-model tokens of every strategy, relative to the distinct tokens of its trees."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.runner.checkpoints import BUILTIN
from bench.tasks.builtin import Builtin
from prm.reading.encoder import Encoder
from prm.reading.layout import read_layout
from prm.scoring.scorers import HFScorer, VLLMScorer
from search.engine import solve
from search.params import make_strategy
from search.policies.stepping import Sampling
from search.strategies import STRATEGIES
from search.tree import Unguided
from search.types import Policy, Problem, Step, StepScore, StepScorer

PRM = str(BUILTIN / "prm")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensRequest:
    """What to measure. limit: number of problems. engines: of the reward model, "hf" or "vllm".

    json: a file for the figures.
    """

    limit: int = 20
    engines: tuple[str, ...] = ("hf", "vllm")
    json: Path | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """computed, distinct: reward-model tokens. calls: to the reward model, each for one or more steps."""

    strategy: str
    engine: str
    calls: int
    computed: int
    distinct: int

    @property
    def ratio(self) -> float:
        """1.0 if each token of the trees was computed once."""
        return self.computed / self.distinct


class Recording:
    """Passes calls on, and keeps what was asked."""

    def __init__(self, scorer: StepScorer):
        self.calls: list[tuple[Problem, tuple[Step, ...]]] = []
        self._scorer = scorer

    async def score(
        self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0
    ) -> list[StepScore]:
        self.calls.append((problem, tuple(steps)))
        return await self._scorer.score(problem, steps, num_scored=num_scored)


def measure(request: TokensRequest) -> None:
    """Print a table in Markdown."""
    rows = asyncio.run(_measure(request))
    print("| strategy | " + " | ".join(f"{engine}: computed, ratio" for engine in request.engines) + " |")
    print("|---|" + "---|" * len(request.engines))
    for name in dict.fromkeys(row.strategy for row in rows):
        cells = [f"{row.computed:,}, {row.ratio:.2f}" for row in rows if row.strategy == name]
        print(f"| `{name}` | " + " | ".join(cells) + " |")
    if request.json is not None:
        figures = [asdict(row) | {"ratio": round(row.ratio, 3)} for row in rows]
        request.json.write_text(json.dumps(figures, indent=1) + "\n")


async def _measure(request: TokensRequest) -> list[Measured]:
    from search.policies.hf import HFPolicy

    problems = [example.problem for example in Builtin().load(None, request.limit)]
    guided = [name for name in STRATEGIES if not isinstance(make_strategy(name), Unguided)]
    policy = HFPolicy(str(BUILTIN / "policy"), prompt=Builtin.prompts["plain"], sampling=Sampling())
    rows = []
    async with policy:
        if "hf" in request.engines:
            for name in guided:
                async with HFScorer(PRM) as scorer:
                    rows.append(await measured(name, "hf", problems, policy, scorer))
        if "vllm" in request.engines:
            async with VLLMScorer(PRM) as served:
                for name in guided:
                    await served.reset()
                    rows.append(await measured(name, "vllm", problems, policy, served))
    return rows


async def measured(
    name: str, engine: str, problems: Sequence[Problem], policy: Policy, scorer: StepScorer
) -> Measured:
    """One strategy with its default parameters. The scorer's caches must be empty."""
    recording, computed = Recording(scorer), 0
    async for outcome in solve(problems, make_strategy(name), policy, recording, answers=Builtin()):
        assert outcome.error is None, outcome.error
        computed += outcome.cost.prm_tokens
    return Measured(name, engine, len(recording.calls), computed, distinct_tokens(recording.calls))


def distinct_tokens(calls: Iterable[tuple[Problem, Sequence[Step]]]) -> int:
    """The number of tokens in the trees: each question and each step after the same steps counts once."""
    from transformers import AutoTokenizer

    encode = Encoder(read_layout(PRM), AutoTokenizer.from_pretrained(PRM))
    seen: dict[tuple[int, ...], int] = {}
    for problem, steps in calls:
        prefix: tuple[int, ...] = ()
        for piece in encode(problem.question, [step.text for step in steps]):
            prefix += tuple(piece)
            seen[prefix] = len(piece)
    return sum(seen.values())
