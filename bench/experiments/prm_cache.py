"""Reward-model tokens that scorers compute for recorded trees, relative to the trees' distinct tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from bench.experiments.prm_tokens import distinct_tokens
from bench.runner.checkpoints import BUILTIN
from bench.tasks.builtin import Builtin
from prm.scoring.scorers import HFScorer, ManagedScorer, VLLMScorer
from search.engine import solve
from search.limits import metered
from search.node import Node, TreeEvent
from search.policies.stepping import Sampling
from search.strategies.hgs import HGS
from search.types import Problem, Step

ALONE = 50
"""Number of calls that are also timed one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRequest:
    """What to measure. limit: number of problems. blocks: sizes of vLLM's cache blocks, in tokens.

    json: a file for the figures.
    """

    limit: int = 100
    blocks: tuple[int, ...] = (32, 64, 128)
    json: Path | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A recorded call to the reward model: to score the last of these steps."""

    problem: Problem
    steps: tuple[Step, ...]


def run(request: CacheRequest) -> None:
    """Measure all scorers, and print one JSON object for each."""
    problems = [example.problem for example in Builtin().load(None, request.limit)]
    calls = asyncio.run(_record(problems))
    distinct = distinct_tokens((call.problem, call.steps) for call in calls)
    rows = []
    prm = str(BUILTIN / "prm")
    scorers: list[tuple[str, Callable[[], ManagedScorer]]] = [
        ("transformers, tree cache", lambda: HFScorer(prm))
    ]
    for block in request.blocks:
        scorers.append((f"vLLM, block {block}", partial(VLLMScorer, prm, block_size=block)))
    scorers.append(("vLLM, caching off", lambda: VLLMScorer(prm, enable_prefix_caching=False)))
    for name, load in scorers:
        rows.append({"scorer": name, **asyncio.run(_measure(load, calls, distinct))})
        print(json.dumps(rows[-1]), flush=True)
    if request.json is not None:
        request.json.write_text(
            json.dumps({"problems": request.limit, "distinct_tokens": distinct, "rows": rows}) + "\n"
        )


async def _record(problems: list[Problem]) -> list[Call]:
    """The calls of HGS-PRM to the reward model, in order, on transformers."""
    from search.policies.hf import HFPolicy

    calls: list[Call] = []

    def watch(problem: Problem, event: TreeEvent, node: Node) -> None:
        has_text = node.step is not None and not node.step.is_blank
        if event is TreeEvent.SCORE and node.duplicate_of is None and has_text:
            calls.append(Call(problem, tuple(node.steps)))

    async with (
        HFPolicy(str(BUILTIN / "policy"), prompt=Builtin.prompts["plain"], sampling=Sampling()) as policy,
        HFScorer(str(BUILTIN / "prm")) as scorer,
    ):
        async for outcome in solve(problems, HGS(), policy, scorer, answers=Builtin(), watch=watch):
            assert outcome.error is None, outcome.error
    return calls


async def _measure(load: Callable[[], ManagedScorer], calls: list[Call], distinct: int) -> dict[str, Any]:
    """Repeat the recorded calls: those of one problem in order, all problems concurrently.

    The first `ALONE` calls are then repeated one at a time, to measure the latency of a single call.
    """
    by_problem: dict[str, list[Call]] = {}
    for call in calls:
        by_problem.setdefault(call.problem.id, []).append(call)
    worst = 0
    totals: list[tuple[int, int]] = []
    alone: list[float] = []

    async with load() as scorer:

        async def repeat(own: list[Call]) -> None:
            nonlocal worst
            for number, call in enumerate(own):
                with metered() as spent:
                    await scorer.score(call.problem, call.steps, num_scored=len(call.steps) - 1)
                totals.append((spent.prm_tokens, spent.prm_tokens_cached))
                if number:  # the first call of a problem has no cached prefix
                    worst = max(worst, spent.prm_tokens - len(call.steps[-1].token_ids))

        await scorer.score(calls[0].problem, calls[0].steps[:1])  # warm up
        start = perf_counter()
        await asyncio.gather(*(repeat(own) for own in by_problem.values()))
        seconds = perf_counter() - start
        for call in calls[:ALONE]:
            start = perf_counter()
            await scorer.score(call.problem, call.steps, num_scored=len(call.steps) - 1)
            alone.append(1000 * (perf_counter() - start))
    computed = sum(c for c, _ in totals)
    return {
        "judgements": len(totals),
        "computed": computed,
        "cached": sum(c for _, c in totals),
        "computed_over_distinct": round(computed / distinct, 3),
        "most_computed_beyond_the_new_step": worst,
        "judgements_per_s": round(len(totals) / seconds),
        "alone_ms": round(median(alone), 1),
        "slowest_alone_ms": round(max(alone), 1),
    }
