"""python -m prm.serve: a reward model over HTTP, for searches in other processes and on other machines."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
from collections.abc import Sequence
from time import perf_counter

from rich.console import Console

from bench.runner.checkpoints import DTYPES, failing, quiet_transformers
from bench.runner.cli.model_options import engine_args
from bench.runner.cli.options import Parser
from bench.runner.cli.report import say
from bench.runner.cli.server_options import add_listening_options
from bench.runner.cli.session import interruptible, run_command
from bench.runner.resolve import ResolvedPRM, resolve_reward_model
from bench.runner.server.listening import bound, check_installed, serve
from bench.runner.specs import PRMSpec
from prm.reading.bundled import task_of
from prm.reading.fingerprint import prm_fingerprint
from prm.reading.parameters import reward_model_parameters
from prm.reading.zoo import find
from prm.scoring.scorers import ManagedScorer, load_scorer
from prm.scoring.served import API_KEY, ServedPRM
from search.errors import UsageError

ABOUT = """\
Serve a reward model: POST /score {"question", "steps", "num_scored"} gives the probabilities of each step
after the first num_scored. GET /model says which model it is, /health and /metrics how it is. Searches use it
by --prm-server URL, those of several processes and machines at the same time.
"""
MORE = """\
examples:
  python -m prm.serve --prm builtin
  python -m prm.serve --prm qwen-prm-7b --engine vllm --prm-args tensor_parallel_size=2 --port 8101
  python -m search.run --strategy hgs --policy PATH_OR_ID --prm-server http://127.0.0.1:8001

SIGTERM and Ctrl-C drain: nothing new is accepted, and what is being worked on has --drain seconds to end.
exit codes: 0 stopped by SIGTERM; 2 the request is wrong; 130 stopped by Ctrl-C.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code; see --help."""
    return run_command(lambda notes: _serve(_parser().parse_args(arguments), notes))


def _serve(args: argparse.Namespace, notes: Console) -> int:
    check_installed()
    spec = PRMSpec(name=args.prm, engine=args.engine, dtype=args.dtype, engine_args=args.prm_args)
    resolved = resolve_reward_model(spec, args.prm, None)
    with bound(args.host, args.port) as listener:  # before the model, which takes longer
        return asyncio.run(_listen(resolved, args, listener, notes))


async def _listen(
    resolved: ResolvedPRM, args: argparse.Namespace, listener: socket.socket, notes: Console
) -> int:
    from bench.runner.server.guard import BodyLimits
    from bench.runner.server.scoring_app import create_scoring_app

    quiet_transformers()
    start = perf_counter()
    described = f"reward model {resolved.name} on {resolved.engine}"
    with notes.status(f"loading {described}"), interruptible():
        scorer = await _loaded(resolved)
    try:
        say(notes, f"{described}: ready in {perf_counter() - start:.0f} s")
        app = create_scoring_app(
            describe(resolved, scorer), scorer, limits=BodyLimits(args.max_body),
            max_requests=args.max_requests, api_key=args.api_key or os.environ.get(API_KEY) or None,
        )  # fmt: skip
        return await serve(
            app, listener, drain_s=args.drain,
            ready=lambda url: say(notes, f"serving on {url} (Ctrl-C stops)"),
        )  # fmt: skip
    finally:
        await scorer.close()


async def _loaded(resolved: ResolvedPRM) -> ManagedScorer:
    assert resolved.model is not None
    with failing("--prm", resolved.name):
        loaded = load_scorer(
            resolved.model, resolved.engine, dtype=resolved.dtype, settings=resolved.engine_args
        )
    return await loaded.__aenter__()


def describe(resolved: ResolvedPRM, scorer: ManagedScorer) -> ServedPRM:
    """What a server says about its model."""
    model = resolved.model
    assert model is not None
    try:
        parameters = reward_model_parameters(model)
    except UsageError:  # its weights are of another format
        parameters = None
    entry = find(model)
    return ServedPRM(
        urls=(), kind="prm.serve", name=resolved.name, fingerprint=prm_fingerprint(model),
        layout=entry.layout, run_as=f"{resolved.engine} {resolved.dtype}", context=scorer.context,
        parameters=parameters, made_for=task_of(entry.model),
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m prm.serve", description=ABOUT, epilog=MORE, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--prm", metavar="MODEL", required=True,
        help="a zoo model, NAME=PATH, specification, checkpoint, ensemble, or builtin")  # fmt: skip
    add("--engine", metavar="NAME", help="vllm or hf (default: vllm if it is installed, else hf)")
    add("--dtype", metavar="NAME", default="auto", help=f"{', '.join(DTYPES)} (default: %(default)s)")
    add("--prm-args", metavar="ARG=VALUE,...", type=engine_args, default=(),
        help="vLLM's engine arguments, e.g. tensor_parallel_size=2,gpu_memory_utilization=0.8")  # fmt: skip
    add_listening_options(parser, port=8001, requests=1024)
    return parser
