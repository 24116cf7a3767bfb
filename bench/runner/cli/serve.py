"""python -m search.serve: an OpenAI-compatible server whose model is a search."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from bench.runner.cli.options import Parser, parse, parse_beside
from bench.runner.cli.report import say
from bench.runner.cli.server_options import add_listening_options, positive
from bench.runner.cli.session import loaded, run_command
from bench.runner.request import Run
from bench.runner.server.listening import bound, check_installed, serve
from bench.runner.server.searching import ServerLimits
from prm.scoring.served import API_KEY

OPTIONS = (
    "--strategy", "--set", "--seed", "--policy", "--prm", "--task", "--engine", "--server", "--tokenizer",
    "--prm-server", "--prm-engine", "--policy-args", "--prm-args", "--prompt", "--stop", "--segment",
    "--repetition", "--step-tokens", "--solution-tokens", "--max-tokens", "--deadline", "--temperature",
    "--top-p", "--dtype", "--no-seeded", "--speculate",
)  # fmt: skip
"""Of `search.run`: the models, and what holds for every request."""
ABOUT = """\
Serve searches by OpenAI's API: /v1/chat/completions, /v1/completions and /v1/models, where each strategy is
a model; also /health and /metrics. Without options: HGS-PRM with the built-in models.
"""
MORE = f"""\
options of search.run, with the same meaning (python -m search.run --help):
  {" ".join(OPTIONS[:9])}
  {" ".join(OPTIONS[9:16])}
  {" ".join(OPTIONS[16:22])}
  {" ".join(OPTIONS[22:])}
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
    return run_command(lambda notes: _serve(words, notes))


def _serve(words: Sequence[str], notes: Console) -> int:
    args, rest = parse_beside(_parser(), words, OPTIONS)
    check_installed()
    given = {word.partition("=")[0] for word in rest}
    more = [] if "--speculate" in given else ["--speculate", "0"]  # others may need the engine
    request = parse([*rest, *more, "--question", "of each request"]).request
    run = replace(request, concurrency=args.concurrency).validate()
    for warning in run.warnings:
        say(notes, f"warning: {warning}", "yellow")
    with bound(args.host, args.port) as listener:  # before the models, which take longer
        return asyncio.run(_listen(run, args, listener, notes))


async def _listen(run: Run, args: argparse.Namespace, listener: socket.socket, notes: Console) -> int:
    from bench.runner.server.app import create_app

    limits = ServerLimits(
        searches=args.concurrency, requests=args.max_requests, body_bytes=args.max_body,
        deadline_s=run.request.deadline or ServerLimits().deadline_s,
    )  # fmt: skip
    async with loaded(run, notes) as models:
        app = create_app(run, models, limits=limits, api_key=args.api_key or os.environ.get(API_KEY) or None)
        return await serve(
            app, listener, drain_s=args.drain,
            ready=lambda url: say(notes, f"serving on {url}/v1 (Ctrl-C stops)"),
        )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m search.serve", description=ABOUT, epilog=MORE, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [--host HOST] [--port PORT] [more options, below] [options of search.run]",
    )  # fmt: skip
    add_listening_options(parser, port=8000, requests=256)
    parser.add_argument(
        "--concurrency", metavar="C", type=positive, default=64,
        help="searches at a time and requests in flight to --server; others wait (default: %(default)s)",
    )
    return parser
