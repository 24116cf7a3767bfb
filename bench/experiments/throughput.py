"""Tokens per second of `cot` through `solve`, compared with vLLM's own `LLM.generate`."""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import pstats
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench.runner.checkpoints import BUILTIN
from bench.runner.models import NoScorer
from bench.tasks.builtin import Builtin
from search.engine import solve
from search.limits import LengthLimits
from search.policies.stepping import Sampling
from search.seeds import derive
from search.strategies.cot import ChainOfThought
from search.types import Problem

MAX_TOKENS = 256
"""The longest solution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputRequest:
    """What to measure.

    policy: a path or hub id. limit: number of problems. temperature: 0 is greedy.
    seeded: each request of both engines has its own seed. rounds: per engine; the fastest counts.
    json: a file for the figures. profile: also profile the last round of `solve`.
    """

    policy: str = str(BUILTIN / "policy")
    limit: int = 500
    temperature: float = 0.8
    seeded: bool = True
    rounds: int = 3
    json: Path | None = None
    profile: bool = False


def run(request: ThroughputRequest) -> None:
    """Measure both engines, and print the figures as JSON."""
    problems = [example.problem for example in Builtin().load(None, request.limit)]
    generate_rate = _measure_generate(request, problems)
    solve_rate, profile = asyncio.run(_measure_solve(request, problems))
    result = {
        "problems": len(problems),
        "temperature": request.temperature,
        "seeded": request.seeded,
        "generate_tokens_per_s": round(generate_rate),
        "solve_tokens_per_s": round(solve_rate),
        "ratio": round(solve_rate / generate_rate, 3),
    }
    print(json.dumps(result, indent=2))
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)
    if request.json is not None:
        request.json.write_text(json.dumps(result) + "\n")


def _measure_generate(request: ThroughputRequest, problems: list[Problem]) -> float:
    """Tokens per second of `LLM.generate` in the fastest round."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt

    llm = LLM(
        request.policy, enforce_eager=True, enable_prefix_caching=True, enable_chunked_prefill=False, seed=0
    )
    tokenizer = llm.get_tokenizer()
    filled = [Builtin.prompts["plain"].fill(problem.question) for problem in problems]
    prompts = [TokensPrompt(prompt_token_ids=tokenizer(text).input_ids) for text in filled]
    seeded = request.seeded and request.temperature > 0
    params = [
        SamplingParams(
            temperature=request.temperature,
            max_tokens=MAX_TOKENS,
            logprobs=0,
            seed=derive(0, p.id, 0) if seeded else None,
        )
        for p in problems
    ]
    rates = []
    for _ in range(request.rounds):
        llm.reset_prefix_cache()
        start = perf_counter()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        rates.append(sum(len(o.outputs[0].token_ids) for o in outputs) / (perf_counter() - start))
    del llm  # ends its engine, before the next one starts
    return max(rates)


async def _measure_solve(
    request: ThroughputRequest, problems: list[Problem]
) -> tuple[float, cProfile.Profile | None]:
    """Tokens per second of `cot` through `solve` in the fastest round, and the profile if requested."""
    from search.policies.vllm import VLLMPolicy

    strategy = ChainOfThought(temperature=request.temperature)
    rates = []
    profile = cProfile.Profile() if request.profile else None
    async with VLLMPolicy(
        request.policy,
        prompt=Builtin.prompts["plain"],
        sampling=Sampling(request.temperature),
        seeded=request.seeded,
    ) as policy:
        for number in range(request.rounds):
            await policy.reset()
            if profile is not None and number == request.rounds - 1:
                profile.enable()
            start, tokens = perf_counter(), 0
            outcomes = solve(
                problems,
                strategy,
                policy,
                NoScorer(),
                lengths=LengthLimits(solution_tokens=MAX_TOKENS),
                answers=Builtin(),
                concurrency=256,
            )
            async for outcome in outcomes:
                assert outcome.error is None, outcome.error
                tokens += outcome.cost.policy_tokens
            rates.append(tokens / (perf_counter() - start))
        if profile is not None:
            profile.disable()
    return max(rates), profile
