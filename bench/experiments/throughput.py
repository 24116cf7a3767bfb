"""python -m bench.throughput: `cot` through `solve` beside vLLM's own `LLM.generate`.

Same policy, prompts and sampling, in one run, each engine alone on all cores; both are warmed up
first. Prints the ratio of tokens per second, and where the rest goes.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
from pathlib import Path
from time import perf_counter

from bench.runner.checkpoints import BUILTIN
from bench.runner.models import NoScorer
from bench.tasks.builtin import Builtin
from search.engine import solve
from search.policies.stepping import Sampling
from search.seeds import derive
from search.strategies.cot import ChainOfThought
from search.types import Problem

MAX_TOKENS = 256


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=__doc__)
    parser.add_argument(
        "--policy", metavar="PATH_OR_ID", default=str(BUILTIN / "policy"), help="default: the built-in one"
    )
    parser.add_argument("--limit", metavar="N", type=int, default=500, help="problems (default 500)")
    parser.add_argument(
        "--temperature", metavar="T", type=float, default=0.8, help="default 0.8; 0 is greedy"
    )
    parser.add_argument("--no-seeded", action="store_true", help="neither side seeds its requests")
    parser.add_argument(
        "--rounds", metavar="N", type=int, default=3, help="each side runs so often, in turn (default 3)"
    )
    parser.add_argument("--json", metavar="PATH", type=Path, help="write the figures there too")
    parser.add_argument(
        "--profile", action="store_true", help="show where this process spends its time in `solve`"
    )
    asked = parser.parse_args()
    problems = [example.problem for example in Builtin().load(None, asked.limit)]
    theirs = _generate(asked, problems)
    ours, profile = asyncio.run(_solve(asked, problems))
    result = {
        "problems": len(problems),
        "temperature": asked.temperature,
        "seeded": not asked.no_seeded,
        "generate_tokens_per_s": round(theirs),
        "solve_tokens_per_s": round(ours),
        "ratio": round(ours / theirs, 3),
    }
    print(json.dumps(result, indent=2))
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)
    if asked.json is not None:
        asked.json.write_text(json.dumps(result) + "\n")


def _generate(asked: argparse.Namespace, problems: list[Problem]) -> float:
    """Tokens a second of `LLM.generate`, best of the rounds."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt

    llm = LLM(
        asked.policy, enforce_eager=True, enable_prefix_caching=True, enable_chunked_prefill=False, seed=0
    )
    tokenizer = llm.get_tokenizer()
    filled = [Builtin.prompts["plain"].fill(problem.question) for problem in problems]
    prompts = [TokensPrompt(prompt_token_ids=tokenizer(text).input_ids) for text in filled]
    seeded = not asked.no_seeded and asked.temperature > 0
    params = [
        SamplingParams(
            temperature=asked.temperature,
            max_tokens=MAX_TOKENS,
            logprobs=0,
            seed=derive(0, p.id, 0) if seeded else None,
        )
        for p in problems
    ]
    rates = []
    for _ in range(asked.rounds):
        llm.reset_prefix_cache()
        start = perf_counter()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        rates.append(sum(len(o.outputs[0].token_ids) for o in outputs) / (perf_counter() - start))
    del llm
    return max(rates)


async def _solve(asked: argparse.Namespace, problems: list[Problem]) -> tuple[float, cProfile.Profile | None]:
    """Tokens a second of `cot` through `solve`, best of the rounds."""
    from search.limits import LengthLimits
    from search.policies.vllm import VLLMPolicy

    policy = VLLMPolicy(
        asked.policy,
        prompt=Builtin.prompts["plain"],
        sampling=Sampling(asked.temperature),
        seeded=not asked.no_seeded,
    )
    strategy = ChainOfThought(temperature=asked.temperature)
    rates = []
    profile = cProfile.Profile() if asked.profile else None
    try:
        for number in range(asked.rounds):
            await policy.reset()
            if profile is not None and number == asked.rounds - 1:
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
    finally:
        await policy.close()
    return max(rates), profile


if __name__ == "__main__":
    main()
