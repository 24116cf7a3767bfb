"""Server-sent events: the steps of a search, each as soon as it is settled."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from bench.runner.server.disconnect import gone, unless_gone
from bench.runner.server.errors import ApiError, Gone
from bench.runner.server.replies import Reply, unsent
from bench.runner.server.searching import Job
from search.engine import Outcome
from search.types import Step

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 5.0
"""Seconds without a chunk after which a comment is sent, so that no proxy takes the server for dead."""


async def result(job: Job, receive: Receive) -> list[Outcome]:
    """The outcomes of a job. Cancels it and raises Gone if the client goes away meanwhile."""
    try:
        return await unless_gone(job.result(), receive)
    finally:
        job.cancel()


class Stream(StreamingResponse):
    """Streams a job's reply, and cancels the job at its end, whatever the end is."""

    def __init__(self, job: Job, reply: Reply, receive: Receive):
        self._job = job
        super().__init__(
            _encoded(job, reply, receive), media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.cancel()


async def _encoded(job: Job, reply: Reply, receive: Receive) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(_chunks(job, reply, receive)) as chunks:
            async for chunk in chunks:
                yield b": searching\n\n" if chunk is None else _event(chunk)
        yield b"data: [DONE]\n\n"
    except Gone:
        return
    except ApiError as error:
        yield _event(error.body)
    except Exception as error:
        log.exception("a stream failed")
        yield _event(ApiError(500, f"{type(error).__name__}: {error}", kind="server_error").body)


async def _chunks(job: Job, reply: Reply, receive: Receive) -> AsyncGenerator[dict[str, Any] | None, None]:
    """The chunks of a reply, and None where there has been none for a while. Raises Gone, ApiError."""
    sent: list[list[Step]] = [[] for _ in job.searches]
    left = asyncio.ensure_future(gone(receive))
    news = asyncio.ensure_future(job.news.get())
    try:
        for chunk in reply.opening():
            yield chunk
        while True:
            done, _ = await asyncio.wait(
                {news, left}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED
            )
            if left in done:
                raise Gone
            if not done:
                yield None
                continue
            if (item := news.result()) is None:
                break
            choice, what = item
            if isinstance(what, Outcome):
                for step in unsent(sent[choice], what):
                    yield reply.step(choice, step)
                yield reply.ending(choice, what)
            elif what.step is not None:
                sent[choice].append(what.step)
                yield reply.step(choice, what.step)
            news = asyncio.ensure_future(job.news.get())
        outcomes = await job.result()
        if reply.usage:
            yield reply.closing(outcomes)
    finally:
        left.cancel()
        news.cancel()


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"
