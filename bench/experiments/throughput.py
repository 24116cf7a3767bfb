"""Tokens per second of `cot` through `solve`, compared with the engine asked directly."""

from __future__ import annotations

import asyncio
import cProfile
import json
import pstats
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter

from bench.runner.checkpoints import BUILTIN
from bench.runner.models import NoScorer
from bench.tasks.builtin import Builtin
from search.engine import solve
from search.errors import PolicyError
from search.limits import LengthLimits
from search.policies.stepping import Sampling
from search.seeds import derive
from search.strategies.cot import ChainOfThought
from search.types import Problem
from search.vllm_engine import final, start_engine

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
    generate_rate, unseeded, without_logprobs = asyncio.run(_measure_generate(request, problems))
    solve_rate, profile = asyncio.run(_measure_solve(request, problems))
    result = {
        "problems": len(problems),
        "temperature": request.temperature,
        "seeded": request.seeded,
        "generate_tokens_per_s": round(generate_rate),
        "solve_tokens_per_s": round(solve_rate),
        "ratio": round(solve_rate / generate_rate, 3),
        "generate_without_seeds": round(unseeded / generate_rate, 3),
        "generate_without_logprobs": round(without_logprobs / generate_rate, 3),
    }
    print(json.dumps(result, indent=2))
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)
    if request.json is not None:
        request.json.write_text(json.dumps(result) + "\n")


async def _measure_generate(
    request: ThroughputRequest, problems: list[Problem]
) -> tuple[float, float, float]:
    """Tokens per second of the engine in the fastest round: asked as `VLLMPolicy` asks, without seeds, and
    without log-probabilities. The three take turns.
    """
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt
    from vllm.sampling_params import RequestOutputKind

    engine = start_engine(request.policy)
    tokenizer = engine.get_tokenizer()
    filled = [Builtin.prompts["plain"].fill(problem.question) for problem in problems]
    prompts = [TokensPrompt(prompt_token_ids=tokenizer(text).input_ids) for text in filled]
    seeded = request.seeded and request.temperature > 0
    numbers = count()

    async def sampled(problem: Problem, prompt: TokensPrompt, seeded: bool, logprobs: int | None) -> int:
        params = SamplingParams(
            temperature=request.temperature,
            max_tokens=MAX_TOKENS,
            logprobs=logprobs,
            seed=derive(0, problem.id, 0) if seeded else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output = await final(engine.generate(prompt, params, str(next(numbers))), PolicyError)
        return len(output.outputs[0].token_ids)

    variants: list[tuple[bool, int | None]] = [(seeded, 0), (False, 0), (seeded, None)]
    fastest = [0.0] * len(variants)
    for _ in range(request.rounds):
        for index, variant in enumerate(variants):
            await engine.reset_prefix_cache()
            start = perf_counter()
            pairs = zip(problems, prompts, strict=True)
            tokens = sum(await asyncio.gather(*(sampled(*pair, *variant) for pair in pairs)))
            fastest[index] = max(fastest[index], tokens / (perf_counter() - start))
    engine.shutdown()  # before the next one starts
    asked, unseeded, without_logprobs = fastest
    return asked, unseeded, without_logprobs


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
