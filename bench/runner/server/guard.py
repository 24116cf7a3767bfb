"""What every request passes before it is looked at: the key, the size and the time of its body; counted."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass
from time import perf_counter

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.runner.server.errors import ApiError, Gone
from bench.runner.server.metrics import RequestMetrics


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a request may send. n_bytes: of its body. seconds: that the body may take to arrive."""

    n_bytes: int = 1 << 20
    seconds: float = 30.0


class Guard:
    """ASGI middleware. Notes in the request's state when it arrived: `arrived`, by `perf_counter`.

    api_key: None takes requests without one. guarded: beginnings of the paths that need the key.
    counted: the paths that the metrics tell apart.
    """

    def __init__(
        self, app: ASGIApp, *, limits: BodyLimits, api_key: str | None, metrics: RequestMetrics,
        guarded: tuple[str, ...], counted: tuple[str, ...],
    ):  # fmt: skip
        self._app, self._limits, self._metrics = app, limits, metrics
        self._guarded_paths, self._counted = guarded, counted
        self._expected = None if api_key is None else f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._counted else "other"
        begin, status = perf_counter(), 499
        scope.setdefault("state", {})["arrived"] = begin

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._guarded(scope, receive, counted)
        finally:
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(perf_counter() - begin)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            self._check_key(scope["path"], headers)
            body = await self._read(headers, receive)
        except Gone:
            return
        except ApiError as error:
            await JSONResponse(error.body, error.status, error.headers)(scope, receive, send)
            return
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        await self._app(scope, replay, send)

    def _check_key(self, path: str, headers: Headers) -> None:
        if self._expected is None or not path.startswith(self._guarded_paths):
            return
        given = headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, self._expected):
            raise ApiError(401, "the API key is missing or wrong", code="invalid_api_key")

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        """The whole body. Raises ApiError if it is too large or takes too long, Gone."""
        most = self._limits.n_bytes
        length = headers.get("content-length", "0")
        too_large = ApiError(413, f"the body is larger than {most} bytes", code="request_too_large")
        if length.isdecimal() and int(length) > most:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise too_large
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise ApiError(408, f"the body took longer than {self._limits.seconds:g} s to arrive") from None
