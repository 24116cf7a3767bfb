"""python -m bench.prm_cache: reward-model tokens computed, over the distinct tokens of the trees.

1.0 means that each token of the trees was computed once. HGS-PRM runs on the built-in problems with
its trees recorded; their judgements are then asked again of each scorer, in the recorded order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from bench.runner.checkpoints import BUILTIN
from bench.tasks.builtin import Builtin
from prm.reading.encoder import Encoder
from prm.reading.layout import read_layout
from prm.scoring.scorers import HFScorer, VLLMScorer
from search.engine import solve
from search.limits import metered
from search.node import Node
from search.policies.stepping import Sampling
from search.strategies.hgs import HGS
from search.tree import TreeEvent
from search.types import Problem, Step, StepScorer

ALONE = 50
"""Judgements that are timed one by one."""


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded question to the reward model: judge the last of these steps."""

    problem: Problem
    steps: tuple[Step, ...]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.prm_cache", description=__doc__)
    parser.add_argument("--limit", metavar="N", type=int, default=100, help="problems (default 100)")
    parser.add_argument(
        "--blocks", metavar="N", type=int, nargs="+", default=[32, 64, 128], help="vLLM block sizes"
    )
    parser.add_argument("--json", metavar="PATH", type=Path, help="write the figures there too")
    asked = parser.parse_args()
    problems = [example.problem for example in Builtin().load(None, asked.limit)]
    calls = asyncio.run(_record(problems))
    distinct = _distinct_tokens(calls)
    rows = []
    prm = str(BUILTIN / "prm")
    scorers: list[tuple[str, Callable[[], Any]]] = [("transformers, tree cache", lambda: HFScorer(prm))]
    for block in asked.blocks:
        scorers.append((f"vLLM, block {block}", partial(VLLMScorer, prm, block_size=block)))
    scorers.append(("vLLM, caching off", lambda: VLLMScorer(prm, enable_prefix_caching=False)))
    for name, make in scorers:
        rows.append({"scorer": name, **asyncio.run(_measure(make, calls, distinct))})
        print(json.dumps(rows[-1]), flush=True)
    if asked.json is not None:
        asked.json.write_text(
            json.dumps({"problems": asked.limit, "distinct_tokens": distinct, "rows": rows}) + "\n"
        )


async def _record(problems: list[Problem]) -> list[Call]:
    """The judgements that HGS-PRM asks for, in order, on transformers."""
    from search.policies.hf import HFPolicy

    calls: list[Call] = []

    def watch(problem: Problem, event: TreeEvent, node: Node) -> None:
        said = node.step is not None and not node.step.is_blank
        if event is TreeEvent.SCORE and node.duplicate_of is None and said:
            calls.append(Call(problem, tuple(node.steps)))

    policy = HFPolicy(str(BUILTIN / "policy"), prompt=Builtin.prompts["plain"], sampling=Sampling())
    scorer = HFScorer(str(BUILTIN / "prm"))
    async for outcome in solve(problems, HGS(), policy, scorer, answers=Builtin(), watch=watch):
        assert outcome.error is None, outcome.error
    return calls


def _distinct_tokens(calls: list[Call]) -> int:
    """Tokens of the trees: each question once, each step once."""
    from transformers import AutoTokenizer

    prm = str(BUILTIN / "prm")
    encode = Encoder(read_layout(prm), AutoTokenizer.from_pretrained(prm))
    seen: dict[tuple[int, ...], int] = {}
    for call in calls:
        prefix: tuple[int, ...] = ()
        for piece in encode(call.problem.question, [step.text for step in call.steps]):
            prefix += tuple(piece)
            seen[prefix] = len(piece)
    return sum(seen.values())


async def _measure(make: Callable[[], Any], calls: list[Call], distinct: int) -> dict[str, Any]:
    """Ask the recorded calls: those of one problem one after the other, problems side by side.

    Then some of them again, one at a time, for how long a judgement takes that nothing else waits with.
    """
    scorer = make()
    by_problem: dict[str, list[Call]] = {}
    for call in calls:
        by_problem.setdefault(call.problem.id, []).append(call)
    worst = 0

    async def one(asked: list[Call], scorer: StepScorer) -> None:
        nonlocal worst
        for number, call in enumerate(asked):
            with metered() as spent:
                await scorer.score(call.problem, call.steps, num_scored=len(call.steps) - 1)
            total.append((spent.prm_tokens, spent.prm_tokens_cached))
            if number:  # the first one has no prefix to read
                worst = max(worst, spent.prm_tokens - len(call.steps[-1].token_ids))

    total: list[tuple[int, int]] = []
    alone: list[float] = []
    try:
        await scorer.score(calls[0].problem, calls[0].steps[:1])  # warm up
        start = perf_counter()
        await asyncio.gather(*(one(asked, scorer) for asked in by_problem.values()))
        seconds = perf_counter() - start
        for call in calls[:ALONE]:
            start = perf_counter()
            await scorer.score(call.problem, call.steps, num_scored=len(call.steps) - 1)
            alone.append(1000 * (perf_counter() - start))
    finally:
        if hasattr(scorer, "shutdown"):
            scorer.shutdown()
    computed = sum(c for c, _ in total)
    return {
        "judgements": len(total),
        "computed": computed,
        "cached": sum(c for _, c in total),
        "computed_over_distinct": round(computed / distinct, 3),
        "most_computed_beyond_the_new_step": worst,
        "judgements_per_s": round(len(total) / seconds),
        "alone_ms": round(median(alone), 1),
        "slowest_alone_ms": round(max(alone), 1),
    }


if __name__ == "__main__":
    main()
