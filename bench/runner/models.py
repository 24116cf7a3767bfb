"""Loads the models of a run, for as long as a block lasts."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    closing,
    contextmanager,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.runner.checkpoints import failing, quiet_transformers
from bench.runner.job import Job
from bench.runner.request import Run
from bench.runner.resolve import ResolvedPolicy, ResolvedPRM
from bench.tasks.base import PublicTests
from bench.tasks.tests_scorer import TestsScorer
from prm.reading.size import prm_bytes, weight_bytes
from search.devices import WHOLE, DeviceShare
from search.engine import Outcome, Watch
from search.errors import ScorerError
from search.policies.stepping import SteppingPolicy
from search.types import Policy, Problem, Step, StepScore, StepScorer


class Solver(Protocol):
    """What solves the problems of a run: loaded models, or engines elsewhere."""

    def solve(self, run: Run, job: Job, watch: Watch) -> AsyncGenerator[Outcome, None]:
        """The outcomes of all problems, as they end; recorded in the job's trace, and resumed from there."""
        ...


@dataclass(frozen=True, slots=True)
class Models:
    """Loaded models."""

    policy: Policy
    scorer: StepScorer

    async def solve(self, run: Run, job: Job, watch: Watch) -> AsyncGenerator[Outcome, None]:
        """See `Solver`."""
        problems = [example.problem for example in run.examples]
        with closing(run.trace(job.name)) as trace:
            outcomes = job.solve(problems, self.policy, self.scorer, run.task, trace=trace, watch=watch)
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    yield outcome


class NoScorer:
    """In place of a reward model, where no strategy uses one."""

    async def score(
        self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0
    ) -> list[StepScore]:
        raise ScorerError("this run was started without a reward model")


def load_run(run: Run) -> AbstractAsyncContextManager[Models]:
    """The models of a run. See `load`."""
    return load(run.policy, run.prm, run.task.public_tests, concurrency=run.request.concurrency)


@asynccontextmanager
async def load(
    policy: ResolvedPolicy, prm: ResolvedPRM | None, tests: PublicTests | None = None, *,
    concurrency: int = 64, share: DeviceShare = WHOLE,
) -> AsyncIterator[Models]:  # fmt: skip
    """Models, ready on the running event loop, and freed at the end. Raises UsageError.

    Engines that run side by side divide the machine: a CPU's cores equally, a GPU's memory by the sizes of
    their weights. tests: of the task, for a PRM with public tests. concurrency: as for `load_policy`.
    share: of the machine, for both.
    """
    quiet_transformers()
    first = second = share
    if policy.engine == "vllm" and prm is not None and prm.model is not None:
        first, second = share.split(2, (weight_bytes(policy.path), prm_bytes(prm.model)))
    async with AsyncExitStack() as stack:
        loaded = await stack.enter_async_context(load_policy(policy, first, concurrency=concurrency))
        scorer = await stack.enter_async_context(load_scorer(prm, tests, second))
        with _passed_over():
            yield Models(loaded, scorer)


@contextmanager
def _passed_over() -> Iterator[None]:
    """Keep the garbage collector from what is there at the start, modules and models.

    To look at all of that stops the event loop for most of a second, again and again.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@asynccontextmanager
async def load_policy(
    resolved: ResolvedPolicy, share: DeviceShare = WHOLE, *, concurrency: int = 64
) -> AsyncIterator[Policy]:
    """A policy, for the running event loop. Raises UsageError.

    share: of the machine, for vLLM. concurrency: requests in flight, for servers.
    """
    with failing("--policy", resolved.name):
        policy = _policy(resolved, share, concurrency)
    async with policy:
        yield policy


@asynccontextmanager
async def load_scorer(
    resolved: ResolvedPRM | None, tests: PublicTests | None = None, share: DeviceShare = WHOLE
) -> AsyncIterator[StepScorer]:
    """What scores steps: a reward model, public tests, both, or nothing. Raises UsageError."""
    from prm.scoring.remote import load_remote_scorer
    from prm.scoring.scorers import load_scorer as load_reward_model

    tests = tests if resolved is not None and resolved.public_tests else None
    if resolved is None or not resolved.has_model:
        yield NoScorer() if tests is None else TestsScorer(tests)
        return
    with failing("--prm", resolved.model_name):
        if resolved.served is not None:
            loaded = load_remote_scorer(resolved.served)
        else:
            assert resolved.model is not None
            loaded = load_reward_model(
                resolved.model, resolved.engine, dtype=resolved.dtype, share=share,
                settings=resolved.engine_args,
            )
    async with loaded as scorer:
        yield scorer if tests is None else TestsScorer(tests, scorer)


def _policy(resolved: ResolvedPolicy, share: DeviceShare, concurrency: int) -> SteppingPolicy:
    prompt, segmenter, sampling = resolved.prompt, resolved.segmenter, resolved.sampling
    if resolved.engine == "vllm":
        from search.policies.vllm import VLLMPolicy

        return VLLMPolicy(
            resolved.path, prompt=prompt, segmenter=segmenter, sampling=sampling, seeded=resolved.seeded,
            share=share, dtype=resolved.dtype, **resolved.engine_args,
        )
    if resolved.engine == "server":
        from search.policies.openai_client import OpenAIPolicy

        here = Path(resolved.path).is_dir()  # then its name on the server is another
        return OpenAIPolicy(
            resolved.servers, model="" if here else resolved.path, tokenizer=resolved.tokenizer or "",
            prompt=prompt, segmenter=segmenter, sampling=sampling, seeded=resolved.seeded,
            concurrency=concurrency,
        )
    from search.policies.hf import HFPolicy

    return HFPolicy(
        resolved.path, prompt=prompt, segmenter=segmenter, sampling=sampling, dtype=resolved.dtype
    )
