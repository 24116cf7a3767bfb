"""What a run costs besides its models, and how that grows: by workers, and by problems up to a million.

Measured: shares of the problems in processes of their own, with a policy that answers at once, and the merge.
Simulated: the driver of a Ray run as it is, with engines that are not there. They return what a problem's
events and outcome would be, so what is measured is the driver's own work: giving out problems, recording.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from types import SimpleNamespace
from typing import Any

from bench.experiments.memory import TOKENS, FakePolicy, peak_mib
from bench.runner.execute import RunWatch, execute
from bench.runner.job import Job, job_of
from bench.runner.merging import merge
from bench.runner.models import Models, NoScorer
from bench.runner.ray.cluster import Engines
from bench.runner.ray.engine import Given, Place, Report
from bench.runner.ray.placement import Resources
from bench.runner.request import BASELINE, Run, RunRequest, greedy_baseline
from bench.runner.resolve import ResolvedPolicy
from bench.runner.shards import Shard, folder_of
from bench.tasks.base import Example
from bench.tasks.builtin import Builtin
from search.engine import Outcome
from search.limits import Cost, Events
from search.policies.stepping import Sampling
from search.prompts import Prompt
from search.segment import SEGMENTERS
from search.types import Problem, Step, Stop


@dataclass(frozen=True, slots=True)
class ScaleRequest:
    """problems: for each number of workers. simulated: problems of the simulation; 0 simulates nothing."""

    problems: int = 10_000
    simulated: int = 1_000_000
    engines: int = 8


@dataclass(frozen=True, slots=True)
class Worker:
    """One process. start: seconds from the command to the first problem. cpu: seconds for all its problems.

    mib: the most memory it had.
    """

    problems: int
    start: float
    cpu: float
    mib: float


@dataclass(frozen=True, slots=True)
class Merge:
    """The merge of the workers' traces: its seconds of this process, and the bytes of the merged trace."""

    cpu: float
    size: int


@dataclass(frozen=True, slots=True)
class Progress:
    """The driver after so many problems: CPU seconds since it began, and the memory it has, in MiB."""

    problems: int
    cpu: float
    mib: float


def _run(examples: list[Example], task: Builtin, out: Path, shard: Shard | None) -> Run:
    """Greedy decoding by a policy that is not looked up."""
    policy = ResolvedPolicy(
        name="fake", path="", engine="server", dtype="auto", tokenizer=None, servers=(),
        prompt=Prompt("{question}"), segmenter=SEGMENTERS["newline"], sampling=Sampling(), seeded=True,
    )  # fmt: skip
    return Run(
        request=RunRequest(strategies=greedy_baseline(), out=out, shard=shard), strategies=greedy_baseline(),
        task=task, examples=examples if shard is None else shard.share(examples), policy=policy, prm=None,
        out=folder_of(out, shard),
    )  # fmt: skip


def measure_workers(problems: int, workers: int) -> tuple[list[Worker], Merge]:
    """Solve shares of the problems side by side, then merge their traces."""
    with TemporaryDirectory() as folder, ProcessPoolExecutor(workers, get_context("spawn")) as processes:
        out, began = Path(folder), perf_counter()
        shards = [Shard(i, workers) for i in range(1, workers + 1)]
        started = [processes.submit(_work, problems, shard, out, began) for shard in shards]
        done = [process.result() for process in started]
        ids = [example.problem.id for example in Builtin().load(None, problems)]
        name, cpu = f"{BASELINE}.jsonl", process_time()
        merged = merge([shard.folder(out) / name for shard in shards], ids, out / name, lambda done: None)
        return done, Merge(process_time() - cpu, merged.path.stat().st_size)


def _work(problems: int, shard: Shard, out: Path, began: float) -> Worker:
    """began: by the clock of the machine, which its processes share."""
    task = Builtin()
    run = _run(task.load(None, problems), task, out, shard)
    start, cpu = perf_counter(), process_time()
    asyncio.run(execute(run, Models(FakePolicy(), NoScorer()), RunWatch()))
    return Worker(len(run.examples), start - began, process_time() - cpu, peak_mib())


def simulate(request: ScaleRequest) -> tuple[float, list[Progress]]:
    """The driver of a run on engines that are not there.

    Returns the memory in MiB before it begins, the problems included, and how it was after the first
    hundredth of them and at the end.
    """
    task = Builtin()
    problems = (Problem(f"simulated/{i}", f"How many is {i}?") for i in range(request.simulated))
    examples = [Example(problem, "7") for problem in problems]
    with TemporaryDirectory() as folder:
        run = _run(examples, task, Path(folder), None)
        return _mib(), asyncio.run(_simulated(run, request))


async def _simulated(run: Run, request: ScaleRequest) -> list[Progress]:
    engines = Engines(_NoRay(), run, request.engines, lambda run: _nothing(), Resources(1, 0, 0))
    await engines.start()
    found, done, cpu = list[Progress](), 0, process_time()
    marks = {max(1, request.simulated // 100), request.simulated}
    async for _ in engines.solve(run, job_of(run, BASELINE), RunWatch().event):
        done += 1
        if done in marks:
            found.append(Progress(done, process_time() - cpu, _mib()))
    return found


def _nothing() -> Any:
    raise NotImplementedError("simulated engines load no models")


class _NoRay:
    """Ray with engines that return at once what a problem's events and outcome would be."""

    exceptions = SimpleNamespace(RayActorError=ConnectionError, ObjectLostError=ConnectionError)

    def put(self, value: Any) -> Any:
        return value

    def remote(self, made: Any) -> Any:
        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=lambda *args: _Simulated()))

    def wait(self, refs: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return refs, []


class _Simulated:
    def __init__(self) -> None:
        self.place = SimpleNamespace(remote=lambda: _value(Place("nowhere", 0)))
        self.start = SimpleNamespace(remote=lambda models: _value(None))
        self.advance = SimpleNamespace(remote=lambda job, given: _value(_report(job, given)))


def _value(value: Any) -> Any:
    future: Future[Any] = Future()
    future.set_result(value)
    return SimpleNamespace(future=lambda: future)


def _report(job: Job, given: Sequence[Given]) -> Report:
    events, outcomes = list[dict[str, Any]](), list[Outcome]()
    for number, one in enumerate(given):
        problem, ids = one.problem, tuple(range(number, number + TOKENS))
        ends = [Stop.STEP] * 4 + [Stop.END]
        steps = tuple(Step(f"For number {n}: 7.\n", ids, 0.0, stop) for n, stop in enumerate(ends))
        parts = [(step.text, step.token_ids, step.logprob, step.stop, step.n_tokens) for step in steps]
        named = {"problem": problem.id}
        events += [
            {"event": "problem", **named, "digest": "0" * 16},
            {"event": "sample", **named, "at": (0,), "steps": parts, "spent": {"policy_tokens": 5 * TOKENS}},
            {"event": "chosen", **named, "at": (0,) * 5, "answer": "7"},
        ]
        outcomes.append(Outcome(problem, steps, "7", None, Cost(policy_tokens=5 * TOKENS), Events(), 0.0))
    return Report(events, outcomes)


def _mib() -> float:
    """The memory that this process has now; where that is not to be had, the most that it has had."""
    if sys.platform != "linux":
        return peak_mib()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)
