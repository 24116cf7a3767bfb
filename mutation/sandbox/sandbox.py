"""Run a program against tests where it can neither leave nor fool. `python -m mutation.sandbox --help`.

Two processes, each in a bubblewrap sandbox of its own, and this one:

    this process      sends program and tests to the judge, reads the verdict
    judge             runs the tests' text; compares; writes the verdict        (inside/judge.py)
    program           runs the program's text; answers one call at a time       (inside/program.py)

What is guaranteed, and by what:
- A verdict is the judge's. The program's process has no descriptor, memory or name in common with it but
  one pipe, on which it receives the arguments of calls and sends answers. Expected values, the tests' text
  and the verdict never reach its process, so there is nothing there to read, patch, print or intercept.
- Answers are plain data, rebuilt from JSON by exact built-in type (inside/wire.py). A method that
  the program wrote, `__eq__` say, never runs in the judge; an object that is no plain data equals nothing.
- A pass needs every statement of the tests to have run and the pipe to be whole until then. A program that
  leaves early, whatever its exit code, or is killed, or closes the pipe, has not passed, even where the
  tests would catch the error. All a program can do is answer calls; a pass means that it answered right.
- Each program has a fresh process, forked from a warm interpreter that never sees its text. The process
  may make the system calls in inside/syscalls.py and no others: no further process or thread, no
  signal to another process, no socket, no shared memory. It sees the interpreter's files, read-only, and
  one empty folder of limited size; no network, no /proc, no environment. The kernel counts processor time,
  memory and file size. If it wrote files, its whole sandbox is thrown away.
- Hash seed, time zone, locale, recursion limit and the tests' `random` are the same in every run.
What is not: holes in the kernel itself, and timing as a side channel between programs of one machine.
The tests are trusted to mean what they say: `assert f(1) == f(1)` is passed by every constant function.
They are confined like programs all the same.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from mutation.sandbox.isolation import check_isolation, cores
from mutation.sandbox.pair import Pair
from mutation.sandbox.verdict import Limits, Outcome, Suite, Verdict
from search.errors import UsageError

ENDED_ALIKE = 3
"""Runs that must end alike for a verdict to be trusted as a label."""

CALLS = """
for arguments in INPUTS:
    try:
        record(("value", FUNCTION(*arguments)))
    except Exception as error:
        record(("raise", type(error).__name__))
"""


class Sandbox:
    """Warm sandboxes, `workers` of them; use it as a context, or close it. Safe to share between threads.

    isolated: False runs programs with resource limits only, which hostile ones can escape.
    Raises SandboxError, with what to install or allow, where programs cannot be shut in.
    """

    def __init__(
        self, limits: Limits = Limits(), *, workers: int | None = None, isolated: bool = True
    ) -> None:
        if isolated:
            check_isolation()
        self.limits, self.isolated = limits, isolated
        self.workers = workers or cores()
        self._stack = ExitStack()
        self._idle: queue.SimpleQueue[Pair] = queue.SimpleQueue()
        with ExitStack() as stack:
            for _ in range(self.workers):
                self._idle.put(stack.enter_context(Pair(limits, isolated)))
            self._stack = stack.pop_all()

    def run(self, program: str, suite: Suite, *, trace: bool = False) -> Verdict:
        """Run a program against tests. trace: also tell which of its lines ran; costs time."""
        pair = self._idle.get()
        try:
            return pair.run(program, suite, trace)
        finally:
            self._idle.put(pair)

    def run_steadily(self, program: str, suite: Suite, *, trace: bool = False) -> Verdict:
        """The verdict of the first of three runs, flaky if they did not all end alike."""
        first = self.run(program, suite, trace=trace)
        again = (self.run(program, suite) for _ in range(ENDED_ALIKE - 1))
        return replace(first, flaky=any(verdict.ending != first.ending for verdict in again))

    def run_all(self, jobs: Iterable[tuple[str, Suite]]) -> Iterator[Verdict]:
        """Verdicts in the order of the jobs, all workers busy."""
        with ThreadPoolExecutor(self.workers) as threads:
            yield from threads.map(lambda job: self.run(*job), jobs)

    def outputs(self, program: str, function: str, inputs: Sequence[Sequence[object]]) -> Verdict:
        """Call a function of the program on each list of arguments.

        The verdict's `recorded` is ("value", result) or ("raise", type name) for each, as far as it got.
        """
        code = CALLS.replace("FUNCTION", function)
        return self.run(program, Suite(code, (function,)).with_values(INPUTS=[list(i) for i in inputs]))

    def close(self) -> None:
        """End every process. No other call may be under way."""
        self._stack.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 0 for passed, 1 for any other verdict, 2 if nothing could be run."""
    defaults = Limits()
    parser = argparse.ArgumentParser(
        prog="python -m mutation.sandbox",
        description="Run one program against its tests, shut in, and print the verdict: passed, assertion, "
        "exception, time-out, memory, output limit, killed, or refused (the tests say "
        "nothing of it). Tests are Python text with assertions; names that they do not define are the "
        "program's.",
        epilog="exit codes: 0 passed; 1 any other verdict; 2 nothing was run, the message says why",
    )
    parser.add_argument("program", metavar="PROGRAM.py", type=Path)
    parser.add_argument("tests", metavar="TESTS.py", type=Path)
    parser.add_argument("--json", action="store_true", help="print the verdict as a JSON object")
    parser.add_argument(
        "--provides", metavar="NAME", action="append", default=[],
        help="a name that is the program's although Python has it too, e.g. sum; may be repeated",
    )
    parser.add_argument(
        "--cpu-s", metavar="N", type=float, default=defaults.cpu_s,
        help=f"seconds of processor time (default: {defaults.cpu_s})",
    )
    parser.add_argument(
        "--memory-mb", metavar="N", type=int, default=defaults.memory_mb,
        help=f"megabytes of memory (default: {defaults.memory_mb})",
    )
    parser.add_argument(
        "--unsafe-no-isolation", action="store_true",
        help="run without bubblewrap, with limits on resources only: for programs that are trusted",
    )
    asked = parser.parse_args(arguments)
    try:
        program, tests = (_read(path) for path in (asked.program, asked.tests))
        limits = Limits(cpu_s=asked.cpu_s, memory_mb=asked.memory_mb)
        if asked.unsafe_no_isolation:
            print("warning: not isolated; the program can do what you can do", file=sys.stderr)
        with Sandbox(limits, workers=1, isolated=not asked.unsafe_no_isolation) as sandbox:
            verdict = sandbox.run_steadily(program, Suite(tests, tuple(asked.provides)))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(verdict.as_json()) if asked.json else _shown(verdict))
    return 0 if verdict.passed else 1


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _shown(verdict: Verdict) -> str:
    words = [f"{verdict.outcome}{', but flaky: runs differ' if verdict.flaky else ''}"]
    if verdict.outcome is not Outcome.PASSED:
        at = f" (line {verdict.line} of the tests)" if verdict.line else ""
        words.append(f"{verdict.detail or 'an assertion does not hold'}{at}")
    words.append(f"{verdict.seconds:.2f} s of processor time, at most {verdict.peak_mb:.0f} MB")
    if not verdict.isolated:
        words.append("not isolated")
    return "; ".join(words)


if __name__ == "__main__":
    sys.exit(main())
