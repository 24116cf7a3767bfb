"""The driver of a run on a Ray cluster: engines pull problems from it, and it alone records.

The engines are actors of our own: Ray's vLLM processor waits for ever for GPUs on a cluster that has none.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from bench.runner.job import Job
from bench.runner.ray.engine import Engine, Given, Load, Place, Report, models_of
from bench.runner.ray.ledger import Event, Ledger
from bench.runner.ray.placement import Resources, check_room, load_placed, resources_of
from bench.runner.ray.spec import LOCAL
from bench.runner.request import Run
from search.engine import Outcome, Watch
from search.errors import UnavailableError, UsageError
from search.node import Node, TreeEvent
from search.types import Problem, Step, Stop

DEATHS = 3
"""So many deaths of each engine, with no problem solved in between, end the run: it would go on for ever."""
ROOM_S = 300.0
"""How long the run waits for a node with room for an engine while none is running."""
CLOSE_S = 30.0
"""How long an engine may take to free its models before it is killed."""


@dataclass(eq=False)
class _Slot:
    """One of the engines that the run is to have. actor: None until it is started, and after its death."""

    actor: Any = None
    place: Any = None
    started: Any = None


@dataclass(eq=False)
class _Work:
    """The problems of one strategy that no engine holds. left: how many are not solved."""

    todo: deque[Problem]
    left: int
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def take(self, most: int) -> list[Problem]:
        return [self.todo.popleft() for _ in range(min(most, len(self.todo)))]

    async def more(self) -> bool:
        """Wait for a problem that no engine holds; False once all are solved."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.todo or not self.left)
        return bool(self.todo)

    async def put_back(self, problems: Sequence[Problem]) -> None:
        self.todo.extendleft(reversed(problems))
        async with self.changed:
            self.changed.notify_all()

    async def solved(self, problems: int) -> None:
        self.left -= problems
        async with self.changed:
            self.changed.notify_all()


class Engines:
    """The engines of a run, which solve what `bench.runner.execute` gives them.

    An engine that dies, with its node or alone, is started again where there is room. Its problems go on
    elsewhere, from what is recorded of them.

    ray: the module, connected. engines: how many there are to be. load: what loads their models.
    """

    def __init__(self, ray: Any, run: Run, engines: int, load: Load, resources: Resources):
        self._ray = ray
        self._lost = (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError)
        self._slots = [_Slot() for _ in range(engines)]
        self._resources, self._deaths = resources, 0
        self._models = models_of(run)
        # A job's problems come one by one; those of the task stay, because it grades and guides by them.
        self._engine = (ray.put(replace(run, examples=[])), load, len(run.strategies) > 1)

    async def start(self) -> None:
        """Start all engines, and wait for the first. Raises UsageError, UnavailableError."""
        ready = [asyncio.create_task(self._ready(slot)) for slot in self._slots]
        try:
            await next(asyncio.as_completed(ready))
        except self._lost as error:
            raise UnavailableError(f"an engine died while it loaded its models: {error}") from error
        finally:
            for waiting in ready:
                waiting.cancel()
            await asyncio.gather(*ready, return_exceptions=True)

    async def places(self) -> list[Place]:
        """Where the engines are that are running."""
        found = []
        for slot in self._slots:
            with suppress(TimeoutError, *self._lost):
                if slot.place is not None:
                    found.append(await asyncio.wait_for(_waited(slot.place), 1.0))
        return found

    async def solve(self, run: Run, job: Job, watch: Watch) -> AsyncGenerator[Outcome, None]:
        """As `bench.runner.models.Models.solve`."""
        run.out.mkdir(parents=True, exist_ok=True)
        problems = [example.problem for example in run.examples]
        most = min(job.concurrency, -(-len(problems) // len(self._slots)))
        with closing(Ledger(run.trace_path(job.name), run.recorded_identity(job.name))) as ledger:
            work = _Work(deque(problems), len(problems))
            news: asyncio.Queue[Outcome | BaseException] = asyncio.Queue()
            serving = [
                asyncio.create_task(self._serve(slot, job, most, work, ledger, news, watch))
                for slot in self._slots
            ]
            try:
                for _ in problems:
                    outcome = await news.get()
                    if isinstance(outcome, BaseException):
                        raise outcome
                    yield outcome
            finally:
                for task in serving:
                    task.cancel()
                await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(
        self, slot: _Slot, job: Job, most: int, work: _Work, ledger: Ledger,
        news: asyncio.Queue[Outcome | BaseException], watch: Watch,
    ) -> None:  # fmt: skip
        """Give problems to one engine as it has room for them, and start it again when it dies."""
        by_id = dict[str, Problem]()
        while await work.more():
            try:
                await self._ready(slot)
                while work.todo or by_id:
                    taken = work.take(most - len(by_id))
                    by_id |= {problem.id: problem for problem in taken}
                    given = [Given(problem, ledger.recorded(problem.id)) for problem in taken]
                    report: Report = await _waited(slot.actor.advance.remote(job, given))
                    ledger.append(report.events)
                    for seen in _seen(report.events):
                        watch(by_id[seen[0]], *seen[1:])
                    for outcome in report.outcomes:
                        ledger.finish(by_id.pop(outcome.problem.id).id)
                        news.put_nowait(outcome)
                        self._deaths = 0
                    await work.solved(len(report.outcomes))
                    if report.error is not None:
                        raise report.error
            except self._lost as error:
                self._forget(slot)
                await work.put_back(list(by_id.values()))
                by_id.clear()
                self._deaths += 1
                if self._deaths >= DEATHS * len(self._slots):
                    news.put_nowait(UnavailableError(
                        f"engines died {self._deaths} times with no problem solved in between, the last: "
                        f"{' '.join(str(error).split())[:300]}"
                    ))  # fmt: skip
                    return
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                news.put_nowait(error)
                return

    async def _ready(self, slot: _Slot) -> None:
        """Wait until the engine has loaded its models; it is started if it is not running."""
        if slot.actor is None:
            actor = self._ray.remote(Engine).options(**self._resources.as_options, max_restarts=0)
            slot.actor = actor.remote(*self._engine)
            slot.place = slot.actor.place.remote()
            slot.started = slot.actor.start.remote(self._models)
        waited = 0.0
        while not self._is_placed(slot):
            await asyncio.sleep(0.1)
            waited = 0.0 if any(map(self._is_placed, self._slots)) else waited + 0.1
            if waited > ROOM_S:
                raise UnavailableError(
                    f"no node of the cluster has had room for an engine ({self._resources}) for "
                    f"{ROOM_S:.0f} s"
                )
        if (error := await _waited(slot.started)) is not None:
            raise error

    def _is_placed(self, slot: _Slot) -> bool:
        """Whether the engine's process is running, or has ended."""
        return slot.place is not None and bool(self._ray.wait([slot.place], timeout=0)[0])

    def _forget(self, slot: _Slot) -> None:
        with suppress(Exception):  # it may only be out of reach: it must not go on
            self._ray.kill(slot.actor)
        slot.actor = slot.place = slot.started = None

    async def close(self) -> None:
        """Free the models and end the engines."""
        placed = [slot for slot in self._slots if slot.actor is not None and self._is_placed(slot)]
        closing_ = [asyncio.ensure_future(_waited(slot.actor.close.remote())) for slot in placed]
        if closing_:
            await asyncio.wait(closing_, timeout=CLOSE_S)
        for done in closing_:
            done.cancel()
        await asyncio.gather(*closing_, return_exceptions=True)
        for slot in self._slots:
            if slot.actor is not None:
                self._forget(slot)


async def _waited(ref: Any) -> Any:
    """The value of an object that is being made. To stop waiting for it stops nothing else."""
    return await asyncio.wrap_future(ref.future())


def _seen(events: Sequence[Event]) -> Iterator[tuple[str, TreeEvent, Node]]:
    """What a watcher is told of events elsewhere: samples and backtracks, without their tree."""
    for event in events:
        if event["event"] == "sample":
            for text, ids, logprob, stop, n_tokens in event["steps"]:
                step = Step(text, tuple(ids), logprob, Stop(stop), n_tokens)
                yield event["problem"], TreeEvent.SAMPLE, Node(tuple(event["at"]), None, step)
        elif event["event"] == "backtrack":
            yield event["problem"], TreeEvent.BACKTRACK, Node(tuple(event["at"]), None, None)


@asynccontextmanager
async def load_engines(run: Run, load: Load | None = None) -> AsyncIterator[Engines]:
    """The engines of a run, at least one of them ready, and ended with the block. Raises UsageError.

    load: loads the models on an engine's node; by default those of the run.
    """
    spec = run.request.cluster
    assert spec is not None
    with connected(spec.address) as ray:
        resources = resources_of(spec, run, ray.nodes())
        check_room(resources, spec.engines, ray.nodes())
        engines = Engines(ray, run, spec.engines, load or load_placed(resources), resources)
        try:
            await engines.start()
            yield engines
        finally:
            await engines.close()


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster. What is printed in the block goes to stderr. Raises UsageError."""
    import ray

    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": bool(os.environ.get("PRM_SEARCH_DEBUG"))}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options["include_dashboard"] = False
    try:
        ray.init(address=address, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--ray {address}: no Ray cluster answers there ({reason})") from error
    try:
        with redirect_stdout(sys.stderr):  # Ray prints there what dies, whatever `log_to_driver` is
            yield ray
    finally:
        ray.shutdown()
