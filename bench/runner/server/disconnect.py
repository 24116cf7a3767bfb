"""Noticing that a client has closed its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

from bench.runner.server.errors import Gone

T = TypeVar("T")


async def gone(receive: Receive) -> None:
    """Wait until the client has closed the connection; its body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(result: Awaitable[T], receive: Receive) -> T:
    """The result. If the client goes away meanwhile, it is cancelled, and Gone is raised."""
    work, left = asyncio.ensure_future(result), asyncio.ensure_future(gone(receive))
    try:
        await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Gone
        return work.result()
    finally:
        work.cancel()
        left.cancel()
