"""Run the changed programs of many problems, in several processes, so that a killed build can resume."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any

from rich.console import Console
from rich.progress import Progress

from mutation.label import LabelParams, MutantResult, ProblemResult, run_mutants
from mutation.mbpp import CodeProblem
from mutation.sandbox.isolation import cores
from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits
from search.errors import UsageError
from search.jsonl import JsonLinesFile

LIMITS = Limits(cpu_s=1)
VERSION = 2
"""The version of the .work file. A file of another version is refused."""


def run_problems(
    problems: Sequence[CodeProblem], params: LabelParams, out: Path, *, workers: int | None = None,
    isolated: bool = True,
) -> list[ProblemResult]:
    """Run the mutants of each problem, or take their results from an earlier call that was interrupted.

    out: the results are kept beside it, in a file that ends in .work.
    workers: processes; by default one per core. isolated: see `Sandbox`.
    Raises UsageError if the .work file has other settings, or if another process is writing to it.
    """
    work = WorkFile(out.with_name(out.name + ".work"), params, isolated)
    try:
        todo = [p for p in problems if not work.has(p)]
        running = replace(params, without=work.without)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("problems", total=len(problems), completed=len(problems) - len(todo))
            for result in _in_processes(todo, running, workers or cores(), isolated):
                work.add(result)
                progress.advance(bar)
        return [_left(work.results[p.id], params.without) for p in problems]
    finally:
        work.close()


class WorkFile:
    """The results of a build, written while it runs: a line of settings, then a line for each problem.

    results: by problem id, those of earlier runs included. without: the operators that it leaves out. A file
    that leaves out fewer than `params` serves as well; one of version 0.1 leaves out none.
    """

    def __init__(self, path: Path, params: LabelParams, isolated: bool) -> None:
        settings: dict[str, Any] = {
            "version": VERSION, "isolated": isolated, "limits": asdict(LIMITS), "order": params.order,
            "most": params.most, "rewordings": params.rewordings, "seed": params.seed,
            "without": list(params.without),
        }  # fmt: skip
        self._file = JsonLinesFile(path, kind="work file", begins='{"version":')
        if not self._file.rows:
            self._file.append([settings])
        found: dict[str, Any] = {"without": []} | self._file.rows[0] if self._file.rows else settings
        self.without = tuple(found["without"])
        if found | {"without": []} != settings | {"without": []} or set(self.without) - set(params.without):
            self.close()
            raise UsageError(
                f"{path} belongs to a build with other settings: choose another --out, or delete the file"
            )
        self.results = {result.id: result for result in map(_result, self._file.rows[1:])}
        self._file.rows = []  # each is kept once, as a result

    def has(self, problem: CodeProblem) -> bool:
        """Whether there are results of this problem, with the same reference and the same tests."""
        result = self.results.get(problem.id)
        if result is None or result.question != problem.question:
            return False
        return result.made_of in ("", problem.fingerprint)

    def add(self, result: ProblemResult) -> None:
        self.results[result.id] = result
        self._file.append([asdict(result)])

    def close(self) -> None:
        """Close the file and release its lock."""
        self._file.close()


def _left(result: ProblemResult, without: Sequence[str]) -> ProblemResult:
    """A result without the programs of some operators."""
    return replace(result, tried=tuple(t for t in result.tried if not set(t.operators) & set(without)))


def _result(row: dict[str, Any]) -> ProblemResult:
    tried = [MutantResult(**{name: _tuples(value) for name, value in one.items()}) for one in row["tried"]]
    return ProblemResult(**{**row, "unseen": tuple(row["unseen"]), "tried": tuple(tried)})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# -- processes -----------------------------------------------------------------------------------------


def _in_processes(
    problems: Sequence[CodeProblem], params: LabelParams, workers: int, isolated: bool
) -> Iterator[ProblemResult]:
    """The results in the order in which they are done."""
    if not problems:
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_open_sandbox, initargs=(isolated,)
    )
    try:
        futures = [pool.submit(_run_one, problem, params) for problem in problems]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


_sandboxes: list[Sandbox] = []
"""The one sandbox of a worker process."""


def _open_sandbox(isolated: bool) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    _sandboxes.append(Sandbox(LIMITS, workers=1, isolated=isolated))
    atexit.register(_sandboxes[0].close)


def _end_with_parent() -> None:
    """End this process when its parent ends: otherwise the workers of a killed build would wait forever."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _run_one(problem: CodeProblem, params: LabelParams) -> ProblemResult:
    return run_mutants(problem, _sandboxes[0], params)
