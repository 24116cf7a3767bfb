"""A server on a thread of its own, with a random world in place of the models."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import openai
import uvicorn

from bench.runner.models import Models
from bench.runner.request import Run, RunRequest
from bench.runner.resolve import ResolvedPolicy
from bench.runner.server.app import create_app
from bench.runner.server.searching import ServerLimits
from bench.tasks.base import Example
from bench.tasks.builtin import Builtin
from search.policies.stepping import Sampling
from search.prompts import Prompt
from search.segment import SEGMENTERS
from search.strategies import STRATEGIES
from search.tree import Strategy
from search.types import Problem
from tests.fakes import RandomWorld


class World(RandomWorld):
    """A random world that depends on the question, where that of the tests of searches has ids."""

    async def propose(self, problem: Problem, *args: Any, **how: Any) -> Any:
        return await super().propose(Problem(problem.question, problem.question), *args, **how)

    async def score(self, problem: Problem, *args: Any, **how: Any) -> Any:
        return await super().score(Problem(problem.question, problem.question), *args, **how)


def a_run(strategy: str = "best_of_n", *, chat: bool = True, **fields: Any) -> Run:
    """A run without models: nothing of it is looked up."""
    chosen: dict[str, Strategy] = {strategy: STRATEGIES[strategy]()}
    request = RunRequest(strategies=chosen, question="?", **fields)
    policy = ResolvedPolicy(
        name="world", path="", engine="hf", dtype="auto", tokenizer=None, servers=(),
        prompt=Prompt("{question}", chat=chat), segmenter=SEGMENTERS["newline"], sampling=Sampling(),
        seeded=True,
    )  # fmt: skip
    return Run(
        request=request, strategies=request.with_defaults_of(None), task=Builtin(),
        examples=[Example(Problem("question", "?"), "")], policy=policy, prm=None, out=Path("runs"),
    )  # fmt: skip


@dataclass
class Served:
    url: str
    world: RandomWorld

    @cached_property
    def usual(self) -> openai.OpenAI:
        """A client, made once: that takes longer than a request."""
        return self.client()

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(**{"base_url": f"{self.url}/v1", "api_key": "k", "max_retries": 0, **options})

    def asynchronous(self, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            **{"base_url": f"{self.url}/v1", "api_key": "k", "max_retries": 0, **options}
        )


@contextmanager
def serving(
    run: Run | None = None, world: RandomWorld | None = None, *, models: Models | None = None,
    limits: ServerLimits = ServerLimits(), api_key: str | None = None,
) -> Iterator[Served]:  # fmt: skip
    world = world or World()
    app = create_app(run or a_run(), models or Models(world, world), limits=limits, api_key=api_key)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", world)
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(20)
