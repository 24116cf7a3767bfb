"""What runs on an engine's node: an actor that holds a policy with its reward model, and solves problems.

It keeps nothing that the driver does not get within `INTERVAL_S`, so little is lost with it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from bench.runner.execute import pooled
from bench.runner.job import Job
from bench.runner.models import Models
from bench.runner.ray.ledger import Event
from bench.runner.request import Run
from search.engine import Outcome
from search.errors import SearchError, UsageError
from search.trace import RemoteTrace, differences
from search.types import Problem

INTERVAL_S = 0.5
"""How long an engine works on without a report."""

Load = Callable[[Run], AbstractAsyncContextManager[Models]]
"""Loads the models of a run. Pickled by its name: the engine's node imports it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine is."""

    node: str
    pid: int


@dataclass(frozen=True, slots=True)
class Given:
    """A problem for an engine, and what is recorded of it already."""

    problem: Problem
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Report:
    """What an engine did since its last report. events: to be recorded, before outcomes are believed.

    error: why the run cannot go on; none of its outcomes is lost.
    """

    events: Sequence[Event] = ()
    outcomes: Sequence[Outcome] = ()
    error: SearchError | None = None


@dataclass
class Engine:
    """An actor. Errors that explain themselves are returned: Ray would wrap what is raised.

    run: without its examples. several: whether what strategies sample alike is sampled once.
    """

    run: Run
    load: Load
    several: bool
    _trace: RemoteTrace = field(default_factory=RemoteTrace)
    _running: set[asyncio.Task[Outcome]] = field(default_factory=set)

    def place(self) -> Place:
        import ray

        return Place(ray.get_runtime_context().get_node_id(), os.getpid())

    async def start(self, models: dict[str, Any]) -> SearchError | None:
        """Load the models, and check that they are those of the driver.

        models: what identifies them there.
        """
        self._closing = asyncio.Event()
        loaded: asyncio.Future[Models] = asyncio.get_running_loop().create_future()
        self._holding = asyncio.create_task(self._hold(loaded))
        try:
            if found := differences(models, models_of(self.run)):
                raise UsageError(f"node {os.uname().nodename} has other models: {'; '.join(found)}")
            self._models = pooled(await loaded) if self.several else await loaded
        except SearchError as error:
            return error
        return None

    async def _hold(self, loaded: asyncio.Future[Models]) -> None:
        """Keep the models until the end, in one task: what is entered in a task must be left in it."""
        try:
            async with self.load(self.run) as models:
                loaded.set_result(models)
                await self._closing.wait()
        except Exception as error:
            if loaded.done():
                raise
            loaded.set_exception(error)

    async def advance(self, job: Job, given: Sequence[Given]) -> Report:
        """Take up problems, and report as soon as one is solved, or after `INTERVAL_S`."""
        self._running |= {asyncio.create_task(self._solve(job, one)) for one in given}
        if not self._running:
            return Report()
        done, self._running = await asyncio.wait(
            self._running, timeout=INTERVAL_S, return_when=asyncio.FIRST_COMPLETED
        )
        error, outcomes = None, list[Outcome]()
        for task in done:
            try:
                outcomes.append(task.result())
            except SearchError as failure:
                error = failure
        events, self._trace.written = self._trace.written, []
        return Report(events, outcomes, error)

    async def _solve(self, job: Job, given: Given) -> Outcome:
        self._trace.take(given.events)
        outcomes = job.solve(
            [given.problem], self._models.policy, self._models.scorer, self.run.task,
            trace=self._trace, watch=lambda problem, event, node: None,
        )  # fmt: skip
        [outcome] = [outcome async for outcome in outcomes]
        return outcome

    async def close(self) -> None:
        """Stop solving and free the models."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._closing.set()
        await asyncio.gather(self._holding, return_exceptions=True)


def models_of(run: Run) -> dict[str, Any]:
    """What identifies the models of a run on this machine."""
    return run.policy.identity() | ({} if run.prm is None else run.prm.identity())
