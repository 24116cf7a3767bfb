"""Turns a function of a batch into an awaitable function of one item."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Out = TypeVar("Out")


class Microbatcher(Generic[Item, Out]):
    """Calls `run` in one worker thread, each time on all items that arrived during the previous call.

    There are no timers: an idle batcher starts at once, a busy one lets the next batch fill up.

    run: [n] items -> [n] results; blocking (a forward pass). Never called concurrently. An exception
        that it raises is raised to every caller of that batch.
    max_cost: upper bound on the sum of `cost` over a batch, e.g. in tokens. An item that costs more is
        run alone.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Out]],
        *,
        max_cost: int,
        cost: Callable[[Item], int] = lambda item: 1,
    ):
        self._run, self._max_cost, self._cost = run, max_cost, cost
        self._queue: deque[tuple[Item, asyncio.Future[Out]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Out:
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        await asyncio.sleep(0)  # let every ready coroutine enqueue first
        while batch := self._take():
            items, futures = [item for item, _ in batch], [future for _, future in batch]
            try:
                outs = await asyncio.to_thread(self._run, items)
                if len(outs) != len(items):
                    raise ValueError(f"{len(items)} items went in, {len(outs)} results came out")
            except Exception as error:  # fails the calls in this batch, not the batches after it
                for future in futures:
                    if not future.done():
                        future.set_exception(error)
            else:
                for future, out in zip(futures, outs, strict=True):
                    if not future.done():  # done: its caller was cancelled
                        future.set_result(out)

    def _take(self) -> list[tuple[Item, asyncio.Future[Out]]]:
        batch: list[tuple[Item, asyncio.Future[Out]]] = []
        total = 0
        while self._queue:
            item, future = self._queue[0]
            if future.done():  # cancelled while it was queued: spend nothing on it
                self._queue.popleft()
                continue
            total += self._cost(item)
            if batch and total > self._max_cost:
                break
            batch.append(self._queue.popleft())
        return batch
