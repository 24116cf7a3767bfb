"""Limits in force, by branch: what each has left, and what calls in flight were promised."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from search.limits import Cost, CostLimits, Events, LimitReached, Scope

_SCOPES: ContextVar[tuple[tuple[Limited, Scope], ...]] = ContextVar("scopes", default=())
"""Limits entered by the running branch, innermost last. A task inherits those of the task that started it."""


class Limited:
    """Something that spends within limits.

    cost, events: what was spent and what happened so far. prm_weight: what scoring a token costs, in sampled
    tokens; None counts no `total_tokens`.
    """

    def __init__(self, limits: CostLimits, prm_weight: float | None = None):
        self.cost = Cost()
        self.events = Events()
        self._own = Scope(limits)
        self._prm_weight = prm_weight
        self._waiting: list[asyncio.Future[None]] = []  # calls that wait for a promise to be released

    @property
    def _scopes(self) -> tuple[Scope, ...]:
        """The limits in force for the running branch, the problem's own first."""
        return self._own, *(scope for owner, scope in _SCOPES.get() if owner is self)

    @contextmanager
    def _entered(self, scope: Scope) -> Iterator[None]:
        token = _SCOPES.set((*_SCOPES.get(), (self, scope)))
        try:
            yield
        finally:
            _SCOPES.reset(token)

    def _reach(self, scope: Scope) -> None:
        if not scope.reached:
            scope.reached = True
            self.events.exhausted += 1

    def _refuse(self, scope: Scope, name: str, need: int) -> LimitReached:
        self._reach(scope)
        return scope.refusal(name, need)

    def _promise(self, scopes: Iterable[Scope], promise: Cost) -> None:
        for scope in scopes:
            scope.promised += promise

    def _release(self, scopes: Iterable[Scope], promise: Cost) -> None:
        for scope in scopes:
            scope.promised -= promise
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _released(self) -> None:
        """Wait until some call has ended and released what it was promised."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _spend(self, scopes: Iterable[Scope], spent: Cost) -> None:
        if self._prm_weight is not None:
            spent = spent + Cost(total_tokens=spent.policy_tokens)
        self.cost += spent
        for scope in scopes:
            scope.spent += spent

    async def _all(self, calls: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Run calls concurrently, all to their end; then raise the first error, if any."""
        for error in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(error, BaseException):
                raise error
