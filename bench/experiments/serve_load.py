"""Load on a server: errors, throughput against `solve`, latencies, memory, deadlines."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any

import httpx

from bench.runner.models import Models, load_run
from bench.runner.request import Run, RunRequest
from bench.runner.server.searching import ID, ServerLimits
from bench.runner.specs import PolicySpec
from bench.tasks.builtin import Builtin
from search.engine import solve
from search.errors import UsageError
from search.params import make_strategy
from search.types import Problem

WARM_UP = 0.2
"""The share of the requests after which memory is first looked at: caches have filled by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """What to measure, with the built-in models and problems.

    clients: requests at a time. requests: in all. seconds: no request is begun after them. problems:
        different ones, asked in turn. deadline: of the requests that measure how deadlines are kept, one per
        client.
    """

    strategy: str = "hgs"
    engine: str | None = None
    clients: int = 64
    requests: int = 1000
    seconds: float = 300.0
    problems: int = 200
    deadline: float = 1.0
    json: Path | None = None


@dataclass(slots=True)
class _Load:
    """What the clients saw. texts: by problem."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    texts: dict[int, set[str]] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)
    wall_s: float = 0.0


def run(request: LoadRequest) -> int:
    """Measure, and print the figures as JSON. Returns 1 if there was an error. Raises UsageError."""
    for name in ("clients", "requests", "problems"):
        if getattr(request, name) < 1:
            raise UsageError(f"--{name} must be at least 1")
    strategy = make_strategy(request.strategy)
    policy = PolicySpec(engine=request.engine)
    checked = RunRequest(
        strategies={request.strategy: strategy}, policy=policy, question="?", concurrency=request.clients
    ).validate()
    figures = asyncio.run(_measure(request, checked))
    text = json.dumps(figures, indent=2)
    print(text)
    if request.json is not None:
        request.json.write_text(text + "\n", encoding="utf-8")
    return int(bool(figures["errors"]))


async def _measure(request: LoadRequest, run: Run) -> dict[str, Any]:
    questions = [example.problem.question for example in Builtin().load(None, request.problems)]
    async with load_run(run) as models:
        await _solved(run, models, questions[: request.clients], request.clients)  # warms up
        direct_s, outcomes = await _solved(run, models, questions, request.clients)
        async with _served(run, models, request) as url:
            with ProcessPoolExecutor(1, get_context("spawn")) as clients:  # not in the server's event loop
                asked = clients.submit(_clients, url, request, questions, os.getpid())
                load, late = await asyncio.wrap_future(asked)
    rate, direct = len(load.seconds) / load.wall_s, len(questions) / direct_s
    cuts = quantiles(load.seconds, n=20) if len(load.seconds) > 1 else [0.0] * 19
    return {
        "strategy": request.strategy, "engine": run.policy.engine, "clients": request.clients,
        "requests": len(load.seconds), "seconds": round(load.wall_s, 1),
        "errors": len(load.errors), "first_errors": load.errors[:3],
        "problems_answered_in_several_ways": sum(len(texts) > 1 for texts in load.texts.values()),
        "problems_answered_otherwise_than_by_solve": sum(
            texts != {outcomes[i]} for i, texts in load.texts.items()
        ),
        "served_per_s": round(rate, 3), "solve_per_s": round(direct, 3), "ratio": round(rate / direct, 3),
        "p50_s": round(cuts[9], 3), "p95_s": round(cuts[18], 3),
        "memory_mb": [round(load.memory[0] / 1e6), round(load.memory[-1] / 1e6)],
        "memory_growth": round(load.memory[-1] / load.memory[0] - 1, 4),
        "deadline_s": request.deadline, "slowest_with_deadline_s": round(max(late), 3),
    }  # fmt: skip


async def _solved(
    run: Run, models: Models, questions: Sequence[str], at_once: int
) -> tuple[float, dict[int, str]]:
    """The seconds that `solve` takes, and its texts; each problem has the id that the server gives it."""
    [strategy] = run.strategies.values()
    slots = asyncio.Semaphore(at_once)

    async def one(i: int) -> str:
        async with slots:
            outcomes = solve(
                [Problem(ID, questions[i])], strategy, models.policy, models.scorer, answers=run.task,
                aggregate=run.aggregate, outcome=run.is_outcome,
            )
            [outcome] = [outcome async for outcome in outcomes]
            return outcome.text

    begin = perf_counter()
    texts = await asyncio.gather(*(one(i) for i in range(len(questions))))
    return perf_counter() - begin, dict(enumerate(texts))


@asynccontextmanager
async def _served(run: Run, models: Models, request: LoadRequest) -> AsyncIterator[str]:
    import uvicorn

    from bench.runner.server.app import create_app

    limits = replace(ServerLimits(), searches=request.clients, requests=4 * request.clients)
    config = uvicorn.Config(
        create_app(run, models, limits=limits), lifespan="off", log_level="warning", access_log=False
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/chat/completions"
        finally:
            server.should_exit = True
            await serving


def _clients(
    url: str, request: LoadRequest, questions: Sequence[str], server: int
) -> tuple[_Load, list[float]]:
    """What clients in this process see. server: the process whose memory is looked at."""

    async def ask() -> tuple[_Load, list[float]]:
        return await _asked(url, request, questions, server), await _deadlines(url, request, questions)

    return asyncio.run(ask())


async def _asked(url: str, request: LoadRequest, questions: Sequence[str], server: int) -> _Load:
    load, numbers = _Load(), iter(range(request.requests))
    begin = perf_counter()

    async def ask_on(client: httpx.AsyncClient) -> None:
        for number in numbers:
            if perf_counter() - begin > request.seconds:
                return
            problem, sent = number % len(questions), perf_counter()
            try:
                text = await _ask(client, url, questions[problem])
            except (httpx.HTTPError, KeyError, ValueError) as error:
                load.errors.append(f"{type(error).__name__}: {error}")
                continue
            load.seconds.append(perf_counter() - sent)
            load.texts.setdefault(problem, set()).add(text)
            if len(load.seconds) >= WARM_UP * request.requests:
                load.memory.append(_resident(server))

    async with _client(request) as client:
        await asyncio.gather(*(ask_on(client) for _ in range(request.clients)))
    load.wall_s = perf_counter() - begin
    load.memory.append(_resident(server))
    return load


async def _deadlines(url: str, request: LoadRequest, questions: Sequence[str]) -> list[float]:
    """The seconds of one request per client, all at once, each with the deadline."""

    async def timed(client: httpx.AsyncClient, i: int) -> float:
        sent = perf_counter()
        await _ask(client, url, questions[i % len(questions)], deadline_s=request.deadline)
        return perf_counter() - sent

    async with _client(request) as client:
        return await asyncio.gather(*(timed(client, i) for i in range(request.clients)))


def _client(request: LoadRequest) -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=request.clients))


async def _ask(client: httpx.AsyncClient, url: str, question: str, **more: Any) -> str:
    body = {"model": "default", "messages": [{"role": "user", "content": question}], **more}
    reply = await client.post(url, json=body)
    reply.raise_for_status()
    return str(reply.json()["choices"][0]["message"]["content"])


def _resident(process: int) -> int:
    """Bytes of memory that a process holds, its engines' processes not included."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
