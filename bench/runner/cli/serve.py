"""python -m search.serve: an OpenAI-compatible server whose model is a search."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NoReturn

from rich.console import Console

from bench.runner.cli.options import DEBUG, parse
from bench.runner.cli.report import say
from bench.runner.cli.session import loaded, open_notes, quiet_libraries
from bench.runner.request import Run
from bench.runner.server.searching import ServerLimits
from search.command import Exit, exit_code
from search.errors import UsageError

API_KEY = "PRM_SEARCH_API_KEY"
NEEDED = ("fastapi", "uvicorn", "prometheus_client")
OPTIONS = (
    "--strategy", "--set", "--seed", "--policy", "--prm", "--task", "--engine", "--server", "--tokenizer",
    "--prompt", "--stop", "--segment", "--repetition", "--step-tokens", "--solution-tokens", "--max-tokens",
    "--deadline", "--temperature", "--top-p", "--dtype", "--no-seeded", "--speculate",
)  # fmt: skip
"""Of `search.run`: the models, and what holds for every request."""
ABOUT = """\
Serve searches by OpenAI's API: /v1/chat/completions, /v1/completions and /v1/models, where each strategy is
a model; also /health and /metrics. Without options: HGS-PRM with the built-in models.
"""
MORE = f"""\
options of search.run, with the same meaning (python -m search.run --help):
  {" ".join(OPTIONS[:12])}
  {" ".join(OPTIONS[12:18])}
  {" ".join(OPTIONS[18:])}
--strategy and --set make the default model. --max-tokens and --solution-tokens are upper bounds of what a
request may ask for. --deadline is {ServerLimits().deadline_s:g} seconds unless given; waiting counts.

examples:
  python -m search.serve
  python -m search.serve --strategy best_of_n --set n=16 --policy PATH_OR_ID --prm PATH_OR_ID --port 8100

SIGTERM and Ctrl-C drain: nothing new is accepted, and what is being worked on has --drain seconds to end.
exit codes: 0 stopped by SIGTERM; 2 the request is wrong; 130 stopped by Ctrl-C.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code; see --help."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with quiet_libraries(), open_notes() as notes:

        def show(message: str) -> None:
            if os.environ.get(DEBUG):
                notes.print_exception()
            say(notes, message, "red")

        return exit_code(lambda: _serve(words, notes), report=show)


def _serve(words: Sequence[str], notes: Console) -> int:
    args, rest = _parser().parse_known_args(words)
    for word in rest:
        if word.startswith("--") and word.partition("=")[0] not in OPTIONS:
            raise UsageError(f"unrecognized arguments: {word} (--help lists the options)")
    if missing := [name for name in NEEDED if not find_spec(name)]:
        raise UsageError(f"the server needs {', '.join(missing)}: pip install 'prm-search[serve]'")
    given = {word.partition("=")[0] for word in rest}
    more = [] if "--speculate" in given else ["--speculate", "0"]  # others may need the engine
    run = parse([*rest, *more, "--question", "of each request"]).request.validate()
    for warning in run.warnings:
        say(notes, f"warning: {warning}", "yellow")
    with _bound(args.host, args.port) as listener:  # before the models, which take longer
        return asyncio.run(_listen(run, args, listener, notes))


async def _listen(run: Run, args: argparse.Namespace, listener: socket.socket, notes: Console) -> int:
    import uvicorn

    from bench.runner.server.app import create_app

    limits = ServerLimits(
        searches=args.concurrency, requests=args.max_requests, body_bytes=args.max_body,
        deadline_s=run.request.deadline or ServerLimits().deadline_s,
    )  # fmt: skip
    async with loaded(run, notes) as models:
        app = create_app(run, models, limits=limits, api_key=args.api_key or os.environ.get(API_KEY) or None)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", server_header=False,
            timeout_graceful_shutdown=args.drain,
        )  # fmt: skip
        try:
            listener.listen()
        except OSError as error:  # another server has come first
            raise UsageError(f"cannot listen on {args.host}:{args.port}: {error}") from error
        host, port, *_ = listener.getsockname()
        say(notes, f"serving on http://{f'[{host}]' if ':' in host else host}:{port}/v1 (Ctrl-C stops)")
        with _signals_kept() as received:
            await uvicorn.Server(config).serve([listener])
    return Exit.INTERRUPTED if signal.SIGINT in received else Exit.DONE


def _bound(host: str, port: int) -> socket.socket:
    """A socket at that address, which does not listen yet. Raises UsageError."""
    try:
        [family, kind, _, _, address], *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        bound = socket.socket(family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
    return bound


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


class _Parser(argparse.ArgumentParser):
    """One line for what is wrong, like every other error here."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (--help lists the options)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m search.serve", description=ABOUT, epilog=MORE, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [--host HOST] [--port PORT] [more options, below] [options of search.run]",
    )  # fmt: skip
    add = parser.add_argument
    add("--host", metavar="HOST", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", metavar="PORT", type=_port, default=8000, help="0: any that is free (default: %(default)s)")
    add("--api-key", metavar="KEY",
        help=f"take only requests with this bearer token; better: the variable {API_KEY}, which no list of "
        "processes shows")  # fmt: skip
    add("--concurrency", metavar="C", type=_positive, default=64,
        help="searches at a time; further ones wait (default: %(default)s)")  # fmt: skip
    add("--max-requests", metavar="N", type=_positive, default=256,
        help="requests accepted at a time, waiting ones included; more are refused with 429 "
        "(default: %(default)s)")  # fmt: skip
    add("--max-body", metavar="BYTES", type=_positive, default=1 << 20,
        help="largest body of a request (default: %(default)s)")  # fmt: skip
    add("--drain", metavar="SECONDS", type=_positive, default=30,
        help="what requests have to end after SIGTERM or Ctrl-C (default: %(default)s)")  # fmt: skip
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"takes a number from 0 to 65535, not {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of at least 1, not {text!r}")
    return int(text)
