"""HTTP requests to servers that may fail: time-outs, bounded retries with back-off, several URLs in turn."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Any

import httpx

from search.errors import ContextError, PolicyError, UsageError
from search.seeds import derive

_RETRIED = {408, 409, 425, 429, *range(500, 600)}
_BACKOFF_S, _BACKOFF_MAX_S = 0.5, 30.0
_REST_S = 10.0  # a server that failed is avoided for this long, unless all have failed
_KEEPALIVE_S = 4.0  # uvicorn, and so vLLM, closes an idle connection after 5 s
_TOO_LONG = re.compile(r"context[ _-]?(length|size|window)|max_model_len|max_new_tokens", re.IGNORECASE)
_HINTS = {
    401: "; pass api_key or set OPENAI_API_KEY",
    403: "; pass api_key or set OPENAI_API_KEY",
    404: "; check the model's name and the URL, which usually ends in /v1",
}
HOMES = 1 << 16
"""How many problems are remembered with the server that keeps their prefixes; the oldest are forgotten."""
TURN: ContextVar[int] = ContextVar("turn", default=0)
"""Index, modulo the number of servers, of the one that serves the current task."""


class RefusedError(PolicyError):
    """The server rejects the request. Sending it again would not help."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class NoReplyError(PolicyError):
    """No server could be reached, or all were too busy. Later they may reply."""


class _BusyError(Exception):
    """A failure that may pass. after_s: how long the server asks to wait before the next request."""

    def __init__(self, message: str, status: int, after_s: float):
        super().__init__(message)
        self.status, self.after_s = status, after_s


@dataclass(frozen=True, slots=True)
class _Session:
    """The connections of one event loop."""

    client: httpx.AsyncClient
    slots: asyncio.Semaphore
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)


class Servers:
    """Sends requests to the server given by `TURN`, after a failure to the next; waits if all failed.

    urls: as `base_url` takes them, with `root` as the path of one that has none.
    """

    def __init__(
        self,
        urls: Sequence[str],
        api_key: str,
        concurrency: int,
        timeout_s: float,
        connect_s: float,
        retries: int,
        *,
        root: str = "/v1",
    ):
        self._urls = [base_url(url, root) for url in urls]
        if not self._urls:
            raise UsageError("no server given: pass urls such as http://localhost:8000/v1")
        key = api_key or os.environ.get("OPENAI_API_KEY", "")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._concurrency, self._timeout_s, self._connect_s = concurrency, timeout_s, connect_s
        self._retries = retries
        self._resting: dict[str, float] = {}
        self._sessions: dict[asyncio.AbstractEventLoop, _Session] = {}

    def session(self) -> _Session:
        loop = asyncio.get_running_loop()
        if loop not in self._sessions:
            self._sessions = {other: s for other, s in self._sessions.items() if not other.is_closed()}
            client = httpx.AsyncClient(
                headers=self._headers,
                timeout=httpx.Timeout(None, connect=self._connect_s),
                limits=httpx.Limits(keepalive_expiry=_KEEPALIVE_S),
            )
            self._sessions[loop] = _Session(client, asyncio.Semaphore(self._concurrency))
        return self._sessions[loop]

    async def close(self) -> None:
        if session := self._sessions.pop(asyncio.get_running_loop(), None):
            await session.client.aclose()

    async def request(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        salt: int = 0,
        until: Sequence[str] = (),
        retries: int | None = None,
        first: int | None = None,
    ) -> Any:
        """POST `body` to `path`, or GET it if there is no body. Returns the JSON of the reply.

        until: a stream is read until its text contains one of these.
        salt: seeds the jitter of the back-off. retries: None is the number given to `__init__`.
        first: index of the server that is tried first; None is the one given by `TURN`.
        Raises PolicyError, RefusedError if the server rejects the request, NoReplyError if none replied,
        ContextError if it is too long.
        """
        session, failures = self.session(), dict[str, str]()
        failing: type[PolicyError] = NoReplyError
        attempts = max((self._retries if retries is None else retries) + 1, len(self._urls))
        for attempt in range(attempts):
            url, after_s, failing = self._next(first), 0.0, NoReplyError
            try:
                async with session.slots, asyncio.timeout(self._timeout_s):
                    reply = await _exchange(session.client, f"{url}/{path}", body, until)
                self._resting.pop(url, None)
                return reply
            except TimeoutError:
                failures[url] = f"no reply within {self._timeout_s:g} s"
            except httpx.RequestError as error:
                failures[url] = f"{type(error).__name__}: {error}"
            except _BusyError as error:
                failures[url], after_s = str(error), error.after_s
                failing = PolicyError if error.status == 500 else NoReplyError
            self._resting[url] = monotonic() + max(_REST_S, after_s)
            if self._rest_s(self._next(first)) and attempt + 1 < attempts:
                backoff_s = min(_BACKOFF_MAX_S, _BACKOFF_S * 2 ** (attempt // len(self._urls)))
                await asyncio.sleep(max(after_s, backoff_s * (0.5 + derive(salt, attempt) / 2**64)))
        tried = "; ".join(f"{url}: {failure}" for url, failure in failures.items())
        raise failing(f"no reply in {attempts} attempts; check that the servers are running: {tried}")

    def _next(self, first: int | None) -> str:
        first = (TURN.get() if first is None else first) % len(self._urls)
        return min(self._urls[first:] + self._urls[:first], key=self._rest_s)

    def _rest_s(self, url: str) -> float:
        return max(0.0, self._resting.get(url, 0.0) - monotonic())


def base_url(url: str, root: str = "/v1") -> str:
    """The URL without a final slash; `root` is added if it has no path. Raises UsageError."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"{url!r} is not a URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError(f"{url!r} is not the URL of a server; give one like http://localhost:8000/v1")
    return url.rstrip("/") + (root if parsed.path in ("", "/") else "")


async def _exchange(
    client: httpx.AsyncClient, url: str, body: Mapping[str, Any] | None, until: Sequence[str]
) -> Any:
    async with client.stream("GET" if body is None else "POST", url, json=body) as response:
        try:
            if response.status_code != 200:
                raise await _failure(response)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                return await _read_stream(response, until)
            return json.loads(await response.aread())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PolicyError(f"{url}: not the reply of an OpenAI-compatible server: {error!r}") from error


async def _read_stream(response: httpx.Response, until: Sequence[str]) -> dict[str, Any]:
    """Join the chunks of a stream. Returning before its end closes the request."""
    text, finish, tokens, logprobs = "", None, list[str](), list[float]()
    chunks, usage = 0, dict[str, Any]()
    async for line in response.aiter_lines():
        if not line.startswith("data:") or line.endswith("[DONE]"):
            continue
        chunk = json.loads(line.removeprefix("data:"))
        if "choices" not in chunk:
            raise PolicyError(f"{response.url} ended a sample early: {str(chunk)[:300]}")
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            text, chunks = text + choice["text"], chunks + 1
            finish = choice.get("finish_reason") or finish
            more_tokens, more_logprobs = reported_tokens(choice)
            tokens, logprobs = tokens + more_tokens, logprobs + more_logprobs
        if any(end in text for end in until):
            finish = "stop"
            break
    choice = {"text": text, "finish_reason": finish}
    return {
        "choices": [choice | {"logprobs": {"tokens": tokens, "token_logprobs": logprobs}}],
        "usage": {"completion_tokens": len(tokens) or chunks} | usage,
    }


async def _failure(response: httpx.Response) -> Exception:
    """The exception that stands for an error reply."""
    status, message = response.status_code, (await response.aread()).decode(errors="replace")
    code = None
    try:
        detail = json.loads(message)
        detail = detail.get("error", detail)
        message, code = str(detail.get("message", detail)), detail.get("code")
    except (ValueError, AttributeError):
        pass  # not JSON, or not an object: the whole text is the message
    message = f"{response.url} answered {status}: {message[:500]}"
    if status != 429 and _TOO_LONG.search(message):
        return ContextError(f"{message}; use a shorter prompt, a lower max_tokens or a longer context")
    if code == "context_length_exceeded":
        return ContextError(message)
    if status in _RETRIED:
        return _BusyError(message, status, _retry_after_s(response.headers.get("retry-after", "")))
    return RefusedError(message + _HINTS.get(status, ""), status)


def _retry_after_s(header: str) -> float:
    """Seconds to wait. The header is a number of seconds or a date (RFC 9110, section 10.2.3)."""
    try:
        return float(header) if header.isdecimal() else parsedate_to_datetime(header).timestamp() - time()
    except ValueError:
        return 0.0


def reported_tokens(choice: Mapping[str, Any]) -> tuple[list[str], list[float]]:
    """Texts and logprobs, in nats, of the tokens that a reply reports; empty if it reports none."""
    logprobs = choice.get("logprobs") or {}
    if "content" in logprobs:  # llama.cpp
        return [t["token"] for t in logprobs["content"]], [t["logprob"] for t in logprobs["content"]]
    return logprobs.get("tokens") or [], [value or 0.0 for value in logprobs.get("token_logprobs") or ()]
