"""What the commands that load models share: their notes to the user, quiet libraries, loading."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter

from rich.console import Console

from bench.runner.cli.options import DEBUG
from bench.runner.cli.report import say
from bench.runner.models import Models, Solver, load_run
from bench.runner.request import Run
from search.command import exit_code


def run_command(work: Callable[[Console], int]) -> int:
    """Do the work of a command that loads models; it is given the console of its notes.

    An error is a red line, and with the debugging variable its traceback. Returns the exit code.
    """
    with quiet_libraries(), open_notes() as notes:

        def show(message: str) -> None:
            if os.environ.get(DEBUG):
                notes.print_exception()
            say(notes, message, "red")

        return exit_code(lambda: work(notes), report=show)


@asynccontextmanager
async def loaded(run: Run, notes: Console) -> AsyncIterator[Models]:
    """The models, and a line on how long they took to load."""
    start = perf_counter()
    loading = load_run(run)
    with notes.status(f"loading {run.described}"), interruptible():
        models = await loading.__aenter__()
    try:
        say(notes, f"{run.described}: ready in {perf_counter() - start:.0f} s")
        yield models
    finally:
        await loading.__aexit__(*sys.exc_info())


@asynccontextmanager
async def solving(run: Run, notes: Console) -> AsyncIterator[Solver]:
    """The models, or the engines on the Ray cluster that the run names, as `loaded`."""
    if run.request.cluster is None:
        async with loaded(run, notes) as models:
            yield models
        return
    from bench.runner.ray.cluster import load_engines

    start, loading = perf_counter(), load_engines(run)
    with notes.status(f"starting engines with {run.described}"):
        engines = await loading.__aenter__()
    try:
        places = await engines.places()
        nodes, many = len({place.node for place in places}), len(places)
        say(
            notes, f"{run.described}: {many} of {run.request.cluster.engines} engines started, on {nodes} "
            f"node{'' if nodes == 1 else 's'}, the first ready in {perf_counter() - start:.0f} s"
        )  # fmt: skip
        yield engines
    finally:
        await loading.__aexit__(*sys.exc_info())


@contextmanager
def open_notes() -> Iterator[Console]:
    """Standard error by another descriptor: starting an engine redirects the usual one meanwhile."""
    with os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding) as stream:
        yield Console(file=stream)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C through at once: asyncio would wait for its turn, and loading never yields."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # it is in a shell's background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the libraries' warnings: what a user must know is said here."""
    if os.environ.get(DEBUG):
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
