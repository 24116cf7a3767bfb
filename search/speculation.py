"""Calls that are made before the strategy asks for them, while it waits for something else.

A sample depends on its address alone, so it can be drawn early. What the strategy comes to ask for is taken
over; the rest is stopped, and its cost counted. The tree is the same, only cost and time change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from search.limits import Cost, metered
from search.node import Node, num_scored
from search.trace import Recorder
from search.types import Address, Ahead, Step, StepScore, Stop

T = TypeVar("T")

Speculate = int | Literal["auto"]
"""How many samples of one problem may be drawn ahead at a time; "auto": as many as keep the policy busy."""

BUSY = 48
"""Calls of the policy in flight, of all problems, from which on "auto" draws nothing ahead."""
SOON_S = 1.0
"""How long the end of a problem waits for scores that were drawn ahead, to know what they cost."""
EAGERNESS = 7
"""Siblings that are drawn ahead for each one that was turned down before."""


@dataclass(slots=True)
class Load:
    """How busy the policy is. calls: in flight, of all problems of a run."""

    calls: int = 0


@dataclass(slots=True, eq=False)
class Early(Generic[T]):
    """A call that was made ahead. at: the address that its cost is recorded with. spent: so far.

    flow: the branch of the strategy that it was made for.
    """

    at: Address
    task: asyncio.Task[T]
    spent: Cost
    flow: asyncio.Task[Any] | None = None


class Speculation:
    """The calls of one problem that were made ahead and are not used yet.

    sample: draws the child of a node at an address and a temperature. score: scores a step after a node.
    """

    def __init__(
        self,
        limit: Speculate,
        load: Load,
        recorder: Recorder,
        sample: Callable[[Node, Address, float | None], Coroutine[Any, Any, list[Step]]],
        score: Callable[[Node, Step], Coroutine[Any, Any, list[StepScore]]],
    ):
        self._limit, self._load, self._recorder = limit, load, recorder
        self._sample, self._score = sample, score
        self._samples: dict[tuple[Address, float | None], Early[list[Step]]] = {}
        self._scores: dict[tuple[Address, str, Stop], Early[list[StepScore]]] = {}
        self._stopped: list[Early[list[Step]]] = []

    def expect(
        self, parent: Node, asked_for: Sequence[Address], temperature: float | None, ahead: Ahead
    ) -> None:
        """Draw siblings of what is asked for, and stop what was drawn for other nodes and not asked for.

        asked_for: the children of `parent` that are sampled next.
        """
        last = asked_for[-1][-1]
        further = [(*parent.address, last + 1 + i) for i in range(EAGERNESS * last)]
        siblings = list(zip(further, ahead.siblings, strict=False))
        flow = asyncio.current_task()
        self._stop_all_but({*((address, temperature) for address in asked_for), *siblings}, flow)
        for address, own in siblings:
            self._start(parent, address, own, flow)

    def children(self, node: Node, ahead: Ahead, flow: asyncio.Task[Any] | None) -> None:
        """Draw the first children of a new node. flow: the branch of the strategy that asked for it."""
        for index, temperature in enumerate(ahead.children):
            self._start(node, (*node.address, index), temperature, flow)

    def take_sample(self, address: Address, temperature: float | None) -> Early[list[Step]] | None:
        """The call for this child, now the caller's; None if there is none."""
        return self._samples.pop((address, temperature), None)

    def take_score(self, node: Node) -> Early[list[StepScore]] | None:
        """The call that scores this node, now the caller's; None if there is none."""
        assert node.parent is not None and node.step is not None
        return self._scores.pop((node.parent.address, node.step.text, node.step.stop), None)

    async def close(self) -> list[Early[Any]]:
        """Stop everything. Returns the calls that were not used."""
        samples = [*self._stopped, *self._samples.values()]
        for early in samples:
            early.task.cancel()
        await asyncio.gather(*(early.task for early in samples), return_exceptions=True)
        scores = list(self._scores.values())
        if scoring := [early.task for early in scores]:
            await asyncio.wait(scoring, timeout=SOON_S)
            for task in scoring:
                task.cancel()
            await asyncio.gather(*scoring, return_exceptions=True)
        return [*samples, *scores]

    def _start(
        self, parent: Node, address: Address, temperature: float | None, flow: asyncio.Task[Any] | None
    ) -> None:
        key = address, temperature
        if key in self._samples or not self._has_room or self._recorder.holds(address):
            return
        spent = Cost()
        task = asyncio.create_task(self._draw(parent, address, temperature, spent))
        self._samples[key] = Early(address, task, spent, flow)

    @property
    def _has_room(self) -> bool:
        if self._recorder.is_complete:
            return False
        if self._limit == "auto":
            return self._load.calls < BUSY
        return sum(not early.task.done() for early in self._samples.values()) < self._limit

    async def _draw(
        self, parent: Node, address: Address, temperature: float | None, spent: Cost
    ) -> list[Step]:
        with metered(spent):
            steps = await self._sample(parent, address, temperature)
        self._read(parent, address, steps[0])
        return steps

    def _read(self, parent: Node, address: Address, step: Step) -> None:
        """Score a step that follows a scored node, unless an equal one is scored already."""
        key = parent.address, step.text, step.stop
        siblings = [child.step for child in parent.children if child.step is not None]
        if (
            step.is_blank
            or key in self._scores
            or any((other.text, other.stop) == key[1:] for other in siblings)
            or num_scored(parent) < len(parent.path)
        ):
            return
        spent = Cost()
        self._scores[key] = Early(address, asyncio.create_task(self._scored(parent, step, spent)), spent)

    async def _scored(self, parent: Node, step: Step, spent: Cost) -> list[StepScore]:
        with metered(spent):
            return await self._score(parent, step)

    def _stop_all_but(
        self, wanted: Collection[tuple[Address, float | None]], flow: asyncio.Task[Any] | None
    ) -> None:
        """Stop the samples of this branch that are still being drawn, but for these."""
        for key, early in list(self._samples.items()):
            if key not in wanted and early.flow is flow and not early.task.done():
                early.task.cancel()
                self._stopped.append(self._samples.pop(key))
