"""Asking servers that may fail: time-outs, bounded retries with back-off, several URLs in turn."""

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
_REST_S = 10.0  # a server that has failed is left alone for so long, unless all have
_KEEPALIVE_S = 4.0  # uvicorn, and so vLLM, closes an idle connection after 5 s
_TOO_LONG = re.compile(r"context[ _-]?(length|size|window)|max_model_len|max_new_tokens", re.IGNORECASE)
_HINTS = {
    401: "; pass api_key or set OPENAI_API_KEY",
    403: "; pass api_key or set OPENAI_API_KEY",
    404: "; check the model's name, and the URL, which as a rule ends in /v1",
}
TURN: ContextVar[int] = ContextVar("turn", default=0)


class RefusedError(PolicyError):
    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class _BusyError(Exception):
    def __init__(self, message: str, after_s: float):
        super().__init__(message)
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class _Session:
    """What belongs to one event loop."""

    client: httpx.AsyncClient
    slots: asyncio.Semaphore
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)


class Servers:
    """Asks the server whose turn it is; if it fails, the next one, or it again after a while."""

    def __init__(
        self,
        urls: Sequence[str],
        api_key: str,
        concurrency: int,
        timeout_s: float,
        connect_s: float,
        retries: int,
    ):
        self._urls = [base_url(url) for url in urls]
        if not self._urls:
            raise UsageError("no server: pass urls, such as http://localhost:8000/v1")
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

    async def ask(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        salt: int = 0,
        until: Sequence[str] = (),
        retries: int | None = None,
    ) -> Any:
        """The JSON that answers `body`; a stream is read up to one of the strings of `until`.

        salt: what the jitter of the back-off derives from. retries: None is the servers' own.
        """
        session, failures = self.session(), dict[str, str]()
        attempts = max((self._retries if retries is None else retries) + 1, len(self._urls))
        for attempt in range(attempts):
            url, after_s = self._next(), 0.0
            try:
                async with session.slots, asyncio.timeout(self._timeout_s):
                    answer = await _exchange(session.client, f"{url}/{path}", body, until)
                self._resting.pop(url, None)
                return answer
            except TimeoutError:
                failures[url] = f"no answer within {self._timeout_s:g} s"
            except httpx.RequestError as error:
                failures[url] = f"{type(error).__name__}: {error}"
            except _BusyError as error:
                failures[url], after_s = str(error), error.after_s
            self._resting[url] = monotonic() + max(_REST_S, after_s)
            if self._rest_s(self._next()) and attempt + 1 < attempts:
                backoff_s = min(_BACKOFF_MAX_S, _BACKOFF_S * 2 ** (attempt // len(self._urls)))
                await asyncio.sleep(max(after_s, backoff_s * (0.5 + derive(salt, attempt) / 2**64)))
        tried = "; ".join(f"{url}: {failure}" for url, failure in failures.items())
        raise PolicyError(f"no answer in {attempts} attempts, see that the servers are up: {tried}")

    def _next(self) -> str:
        first = TURN.get() % len(self._urls)
        return min(self._urls[first:] + self._urls[:first], key=self._rest_s)

    def _rest_s(self, url: str) -> float:
        return max(0.0, self._resting.get(url, 0.0) - monotonic())


def base_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"{url!r} is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError(f"{url!r} is no server's URL; one looks like http://localhost:8000/v1")
    return url.rstrip("/") + ("/v1" if parsed.path in ("", "/") else "")


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
            raise PolicyError(f"{url} is no OpenAI-compatible server, it answers {error!r}") from error


async def _read_stream(response: httpx.Response, until: Sequence[str]) -> dict[str, Any]:
    """The chunks put together. Returning early closes the request."""
    text, finish, tokens, logprobs = "", None, list[str](), list[float]()
    chunks, usage = 0, dict[str, Any]()
    async for line in response.aiter_lines():
        if not line.startswith("data:") or line.endswith("[DONE]"):
            continue
        chunk = json.loads(line.removeprefix("data:"))
        if "choices" not in chunk:
            raise PolicyError(f"{response.url} broke off a sample: {str(chunk)[:300]}")
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            text, chunks = text + choice["text"], chunks + 1
            finish = choice.get("finish_reason") or finish
            more_tokens, more_logprobs = shown_tokens(choice)
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
    """What to raise for an answer that is an error."""
    status, message = response.status_code, (await response.aread()).decode(errors="replace")
    try:
        detail = json.loads(message)
        detail = detail.get("error", detail)
        message = str(detail.get("message", detail))
    except (ValueError, AttributeError):
        pass  # not JSON, or not an object: the message is all of it
    message = f"{response.url} answered {status}: {message[:500]}"
    if status != 429 and _TOO_LONG.search(message):
        return ContextError(f"{message}; use a shorter prompt, a lower max_tokens or a longer context")
    if status in _RETRIED:
        return _BusyError(message, _retry_after_s(response.headers.get("retry-after", "")))
    return RefusedError(message + _HINTS.get(status, ""), status)


def _retry_after_s(header: str) -> float:
    """RFC 9110, 10.2.3: seconds, or a date."""
    try:
        return float(header) if header.isdecimal() else parsedate_to_datetime(header).timestamp() - time()
    except ValueError:
        return 0.0


def shown_tokens(choice: Mapping[str, Any]) -> tuple[list[str], list[float]]:
    shown = choice.get("logprobs") or {}
    if "content" in shown:  # llama.cpp
        return [t["token"] for t in shown["content"]], [t["logprob"] for t in shown["content"]]
    return shown.get("tokens") or [], [logprob or 0.0 for logprob in shown.get("token_logprobs") or ()]
