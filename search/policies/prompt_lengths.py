"""How many tokens prompts take that are sent to a server as text."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

_ADDED = 2
"""Tokens that a server may put before a text: that of its beginning, and a space."""
_KEPT = 4096


class PromptLengths:
    """The lengths that a server has reported, and what follows from them for other prompts."""

    def __init__(self) -> None:
        self._lengths: OrderedDict[str, int] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._reported = True

    def note(self, text: str, tokens: int) -> None:
        """Record what the server reported; 0 is nothing."""
        if tokens:
            self._lengths[text] = tokens
            self._lengths.move_to_end(text)
            if len(self._lengths) > _KEPT:
                self._lengths.popitem(last=False)

    def fits(self, text: str, room: int) -> bool:
        """Whether a prompt surely takes at most `room` tokens: no token is shorter than a byte."""
        if text in self._lengths:
            return self._lengths[text] <= room
        if _bytes(text) + _ADDED <= room:
            return True
        known = max((begin for begin in self._lengths if text.startswith(begin)), key=len, default="")
        return self._lengths.get(known, 0) + _bytes(text[len(known) :]) + _ADDED <= room

    async def count(self, text: str, ask: Callable[[str], Awaitable[int]]) -> int | None:
        """The tokens of a prompt; None if the server does not report them.

        ask: returns what the server reports; called once for a prompt, whoever else waits for it.
        """
        lock = self._locks.setdefault(text, asyncio.Lock())
        async with lock:
            if text not in self._lengths and self._reported:
                self._reported = bool(tokens := await ask(text))
                self.note(text, tokens)
        return self._lengths.get(text)


def _bytes(text: str) -> int:
    return len(text.encode(errors="replace"))
