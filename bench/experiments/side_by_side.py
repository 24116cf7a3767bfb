"""Commands of `prm`, each in a process of its own, which gives its memory back when it ends."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from search import command

KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34)}
"""What makes glibc keep the memory of a batch for the next one, which it would have to zero again."""


def run_side_by_side(module: str, jobs: Mapping[Path, Sequence[object]]) -> None:
    """The command with the words of each job, all at the same time, each on its share of the cores.

    jobs: by the file that takes what the job says; the first one says it here instead.
    If one fails, the others are told to stop, which saves what they have. Raises SystemExit with its code.
    """
    for name, value in KEPT.items():
        os.environ.setdefault(name, value)
    can_fork = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if can_fork else "spawn")
    context.set_forkserver_preload(["prm.evaluation.calibrate", "prm.training.train", "prm.training.trainer"])
    processes = [
        context.Process(target=_command, args=([module, *map(str, said)], log if number else None, len(jobs)))
        for number, (log, said) in enumerate(jobs.items())
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
    except KeyboardInterrupt:  # they were told as well, and save what they have
        for process in processes:
            process.join()
        raise
    if failed:
        log = list(jobs)[processes.index(failed)]
        if failed is not processes[0]:
            said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            print(f"{log}:", *said, sep="\n", file=sys.stderr)
        raise SystemExit(failed.exitcode)


def _command(words: Sequence[str], log: Path | None, beside: int) -> None:
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    if beside > 1:
        import torch

        torch.set_num_threads(max(1, torch.get_num_threads() // beside))
    sys.argv = list(words)
    command.run(import_module(words[0]).main)
