"""Listening: a socket that is bound before the models are loaded, and a server that drains at the end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from search.command import Exit
from search.errors import UsageError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def check_installed() -> None:
    """Raise UsageError if what a server needs is not installed."""
    if missing := [name for name in NEEDED if not find_spec(name)]:
        raise UsageError(f"the server needs {', '.join(missing)}: pip install 'prm-search[serve]'")


def bound(host: str, port: int) -> socket.socket:
    """A socket at that address, which does not listen yet. Raises UsageError."""
    try:
        [family, kind, _, _, address], *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
    return made


async def serve(
    app: ASGIApp, listener: socket.socket, *, drain_s: int, ready: Callable[[str], None]
) -> Exit:
    """Serve until SIGTERM or Ctrl-C. Raises UsageError if another server listens there.

    drain_s: what requests have to end then. ready: told the URL, without a path.
    """
    import uvicorn

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", server_header=False,
        timeout_graceful_shutdown=drain_s,
    )  # fmt: skip
    host, port, *_ = listener.getsockname()
    try:
        listener.listen()
    except OSError as error:  # another server has come first
        raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
    ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    with _signals_kept() as received:
        await uvicorn.Server(config).serve([listener])
    return Exit.INTERRUPTED if signal.SIGINT in received else Exit.DONE


@contextmanager
def _signals_kept() -> Iterator[list[int]]:
    """Collect what uvicorn raises again after it has drained: the models are to be closed first."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda got, frame: received.append(got))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
