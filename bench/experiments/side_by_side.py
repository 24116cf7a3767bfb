"""Run typed requests in processes of their own, which give their memory back when they end."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

from search.command import exit_code

R = TypeVar("R")

MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34)}
"""Makes glibc reuse the memory of one batch for the next, which otherwise has to be zeroed again."""
PRELOADED = ["prm.evaluation.calibrate", "prm.training.train", "prm.training.trainer"]
"""Imported once, by the process from which the others are forked."""


def run_side_by_side(function: Callable[[R], None], requests: Mapping[Path, R]) -> None:
    """Call a function with each request, all at the same time, each in a process with a share of the cores.

    function: defined at the top level of a module, because a process looks it up by name.
    requests: by the log file that gets the output of the process. The first process has no log: its output
        appears here.
    If a process fails, the others get SIGTERM, which lets training save its state. Raises SystemExit with
    the exit code of the process that failed first.
    """
    for name, value in MALLOC.items():
        os.environ.setdefault(name, value)
    can_fork = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if can_fork else "spawn")
    context.set_forkserver_preload(PRELOADED)
    processes = [
        context.Process(target=_child, args=(function, request, log if number else None, len(requests)))
        for number, (log, request) in enumerate(requests.items())
    ]
    for process in processes:
        process.start()
    failed = None
    try:
        while running := [process for process in processes if process.is_alive()]:
            wait([process.sentinel for process in running])
            if failed is None:
                failed = next((process for process in processes if process.exitcode), None)
                for process in running if failed else ():
                    process.terminate()
    except KeyboardInterrupt:  # the processes got the signal too, and save their state
        for process in processes:
            process.join()
        raise
    if failed:
        log = list(requests)[processes.index(failed)]
        if failed is not processes[0]:
            tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            print(f"{log}:", *tail, sep="\n", file=sys.stderr)
        raise SystemExit(failed.exitcode)


def _child(function: Callable[[R], None], request: R, log: Path | None, processes: int) -> None:
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    if processes > 1:
        import torch

        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    sys.exit(exit_code(lambda: function(request)))
