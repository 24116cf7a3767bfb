"""Kills engines, nodes and the driver of runs on a Ray cluster at random moments, and compares results.

The cluster is two nodes on this machine with one engine each; models are made up, and slow enough that a run
takes seconds. A moment is a number of lines in the trace.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Literal

from bench.runner.execute import RunWatch, execute
from bench.runner.merging import merge
from bench.runner.models import Models
from bench.runner.ray.cluster import Engines, connected, load_engines
from bench.runner.ray.spec import ClusterSpec
from bench.runner.request import Run, RunRequest
from bench.runner.resolve import ResolvedPolicy
from bench.tasks.builtin import Builtin
from search.limits import charge
from search.policies.stepping import Sampling
from search.prompts import Prompt
from search.seeds import derive
from search.segment import SEGMENTERS
from search.strategies.hgs import HGS
from search.types import Problem, Step, StepScore, Stop, Until

Victim = Literal["engine", "node", "driver"]
VICTIMS: tuple[Victim, ...] = ("engine", "node", "driver")
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class RayFaultsRequest:
    """moments: at which something is killed, each in a run of its own. seed: of the moments.

    problems: of a run. pause: seconds that each call of a model takes.
    """

    moments: int = 10
    problems: int = 40
    pause: float = 0.01
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What was killed, when `line` of `lines` were recorded, and whether results and trace were equal."""

    victim: Victim
    line: int
    lines: int
    equal: bool
    seconds: float


class _World:
    """A policy and a reward model whose results are hashes of what they are asked."""

    def __init__(self, pause_s: float):
        self._pause_s = pause_s

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, max_tokens: int, seed: int,
        temperature: float | None = None,
    ) -> list[Step]:  # fmt: skip
        await asyncio.sleep(self._pause_s)
        made = list[Step]()
        while True:
            rng = random.Random(derive(seed, len(made)))
            ends = len(steps) + len(made) >= 5 or rng.random() < 0.1
            text = f"The answer is {rng.randrange(9)}." if ends else f"That makes {rng.randrange(99)}.\n"
            made.append(Step(text, (rng.randrange(999),), 0.0, Stop.END if ends else Stop.STEP))
            charge(policy_tokens=1)
            if ends or until is Until.STEP:
                return made

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        await asyncio.sleep(self._pause_s)
        texts = [step.text for step in steps]
        values = [derive(problem.id, *texts[: n + 1]) % 101 / 100 for n in range(num_scored, len(texts))]
        return [StepScore(1 - value, 0.0, value) for value in values]


@asynccontextmanager
async def load_world(run: Run) -> AsyncIterator[Models]:
    """Models of a run whose policy is named after its pause."""
    world = _World(float(run.policy.name))
    yield Models(world, world)


def _run(request: RayFaultsRequest, out: Path, address: str | None) -> Run:
    task, strategies = Builtin(), {"hgs": HGS(width=3, max_samples=30)}
    policy = ResolvedPolicy(
        name=str(request.pause), path="", engine="server", dtype="auto", tokenizer=None, servers=(),
        prompt=Prompt("{question}"), segmenter=SEGMENTERS["newline"], sampling=Sampling(), seeded=True,
    )  # fmt: skip
    cluster = None if address is None else ClusterSpec(address=address, engines=2)
    return Run(
        request=RunRequest(strategies=strategies, out=out, concurrency=4, cluster=cluster),
        strategies=strategies, task=task, examples=task.load(None, request.problems), policy=policy, prm=None,
        out=out,
    )  # fmt: skip


class Nodes:
    """A cluster's head and another node, each with room for one engine; the other is replaced if killed."""

    def __init__(self, cluster: Any):
        self.address: str = cluster.address
        self._cluster, self._other = cluster, cluster.add_node(num_cpus=1)

    def kill(self) -> None:
        self._cluster.remove_node(self._other, allow_graceful=False)
        self._other = self._cluster.add_node(num_cpus=1)


@contextmanager
def started() -> Iterator[Nodes]:
    """A cluster on this machine, which soon sees that a node is lost."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": settings}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield Nodes(cluster)
    finally:
        cluster.shutdown()


def measure(request: RayFaultsRequest, told: Callable[[Fault], None]) -> list[Fault]:
    """Kill at random moments; `told` of each. Engines, nodes and the driver take turns."""
    rng, faults = random.Random(request.seed), list[Fault]()
    with TemporaryDirectory() as folder, started() as nodes, connected(nodes.address):
        expected, lines = _solved(_run(request, Path(folder) / "whole", None))
        for number in range(request.moments):
            victim, start = VICTIMS[number % len(VICTIMS)], perf_counter()
            line = rng.randrange(2, lines)
            run = _run(request, Path(folder) / str(number), nodes.address)
            if victim == "driver":
                _drive_and_kill(request, run, line)
                found, _ = _solved(run)
            else:
                found, _ = _solved(run, (victim, line, nodes, rng.randrange(2)))
            equal = found == expected
            faults.append(Fault(victim, line, lines, equal, perf_counter() - start))
            told(faults[-1])
    return faults


def _solved(run: Run, fault: tuple[Victim, int, Nodes, int] | None = None) -> tuple[Any, int]:
    """Results and trace of a run, without what is measured, and the length of the trace."""
    summaries = asyncio.run(_execute(run, fault))
    ordered = run.out / "ordered.jsonl"
    ids = [example.problem.id for example in run.examples]
    merge([run.trace_path("hgs")], ids, ordered, lambda done: None)
    lines = sorted(ordered.read_bytes().splitlines())
    results = {
        graded.outcome.problem.id: replace(
            graded.outcome, seconds=0.0, events=replace(graded.outcome.events, replayed=0)
        )
        for graded in summaries[0].graded
    }
    return (results, lines), len(lines)


async def _execute(run: Run, fault: tuple[Victim, int, Nodes, int] | None) -> Any:
    if run.request.cluster is None:
        async with load_world(run) as models:
            return await execute(run, models, RunWatch())
    async with load_engines(run, load_world) as engines:
        killing = asyncio.create_task(_kill(run, engines, fault)) if fault is not None else None
        try:
            return await execute(run, engines, RunWatch())
        finally:
            if killing is not None:
                await killing


async def _kill(run: Run, engines: Engines, fault: tuple[Victim, int, Nodes, int]) -> None:
    victim, line, nodes, number = fault
    while _lines(run) < line:
        await asyncio.sleep(POLL_S)
    if victim == "node":
        nodes.kill()  # in this thread, for the driver to wait: Ray starts nodes in the main one alone
        return
    places = await engines.places()
    with suppress(ProcessLookupError):
        os.kill(places[number % len(places)].pid, signal.SIGKILL)


def _drive_and_kill(request: RayFaultsRequest, run: Run, line: int) -> None:
    """Start a run in a process of its own, and kill it there."""
    assert run.request.cluster is not None
    driver = get_context("spawn").Process(target=_drive, args=(request, run.out, run.request.cluster.address))
    driver.start()
    while driver.is_alive() and _lines(run) < line:
        driver.join(POLL_S)
    driver.kill()
    driver.join()


def _drive(request: RayFaultsRequest, out: Path, address: str) -> None:
    asyncio.run(_execute(_run(request, out, address), None))


def _lines(run: Run) -> int:
    path = run.trace_path("hgs")
    return path.read_bytes().count(b"\n") if path.exists() else 0
