"""Ray in this process: actors are objects whose methods run as tasks, until they are killed."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any


class RayActorError(Exception):
    pass


class ObjectLostError(Exception):
    pass


class Ref:
    """The value of a call, as soon as it is there."""

    def __init__(self) -> None:
        self.value: Future[Any] = Future()

    def future(self) -> Future[Any]:
        """One that may be cancelled: others still wait for the value."""
        copy: Future[Any] = Future()

        def arrive(value: Future[Any]) -> None:
            if not copy.cancelled():
                error = value.exception()
                copy.set_result(value.result()) if error is None else copy.set_exception(error)

        self.value.add_done_callback(arrive)
        return copy


class Actor:
    """killed: from now on calls fail, and what a call in flight returns is lost."""

    def __init__(self, inner: Any):
        self.inner, self.killed = inner, False
        self._tasks: set[asyncio.Task[None]] = set()

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *args: self._call(getattr(self.inner, name), args))

    def _call(self, method: Callable[..., Any], args: Any) -> Ref:
        ref = Ref()

        async def run() -> None:
            await asyncio.sleep(0)
            try:
                if self.killed:
                    raise RayActorError("it was dead")
                result = method(*args)
                result = await result if inspect.isawaitable(result) else result
                if self.killed:
                    raise RayActorError("it died")
                ref.value.set_result(result)
            except Exception as error:
                ref.value.set_exception(error)

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        return ref


class FakeRay:
    """actors: all that were started, in order."""

    exceptions = SimpleNamespace(RayActorError=RayActorError, ObjectLostError=ObjectLostError)

    def __init__(self) -> None:
        self.actors: list[Actor] = []

    def put(self, value: Any) -> Any:
        return value

    def remote(self, made: Callable[..., Any]) -> Any:
        def start(*args: Any) -> Actor:
            self.actors.append(Actor(made(*args)))
            return self.actors[-1]

        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=start))

    def wait(self, refs: list[Ref], timeout: float) -> tuple[list[Ref], list[Ref]]:
        return refs, []

    def kill(self, actor: Actor) -> None:
        actor.killed = True
