"""Run a program against tests, in isolation: it can neither escape nor fake a pass.

Two processes, each in a bubblewrap sandbox of its own, and this one:

    this process      sends the program and its tests to the judge, reads the verdict
    judge             runs the tests, makes the comparisons, writes the verdict     (inside/judge.py)
    program           runs the program, answers one call at a time                  (inside/program.py)

What is guaranteed, and how:
- Only the judge writes a verdict. The program's process shares no descriptor, memory or name with it except
  one pipe, on which it receives the arguments of calls and sends the results. Expected values, the text of
  the tests and the verdict never reach the program's process, so it cannot read, patch, print or intercept
  them.
- Results are plain data, rebuilt from JSON by exact built-in type (inside/wire.py), and mirrors: objects
  that stand for the program's own, by number (inside/mirror.py). No method that the program defines ever
  runs in the judge. A mirror passes on what has data for an answer (`len`, `str`, an index, an attribute).
  What would be the verdict itself (`==`, `<`, `bool`, `in`) is decided in the judge, as Python and
  `dataclasses` do it where a class has no method of its own for it. Where it has one, the tests are refused.
- Containers that both sides refer to are the same on both (inside/shared.py): an argument that the program
  changes in place is changed for the tests. The program can change nothing else of theirs.
- What cannot be carried from one process to the other (a function of the tests, a name that they patch, a
  file that they write) refuses the tests, and the verdict names it. It never blames the program.
- A program passes only if every statement of the tests has run and the pipe is intact until the end. A
  program that exits early with any exit code, is killed, or closes the pipe has not passed, even if the
  tests would catch the error. All a program can do is answer calls, and a pass means that the answers were
  right.
- Each program runs in a fresh process, forked from a warm interpreter that never sees its text. The process
  may make the system calls listed in inside/syscalls.py and no others: it cannot start a process or a
  thread, signal another process, open a socket or share memory. It sees the interpreter's files, read-only,
  and one empty folder of limited size. It has no network, no /proc and no environment. The kernel limits
  processor time, memory and file size. If a program has written files, its whole sandbox is replaced.
- The hash seed, time zone, locale, recursion limit and the `random` of the tests are the same in every run.

What is not guaranteed: protection against holes in the kernel, or against timing as a side channel between
programs on one machine. The tests are trusted to be sensible: every constant function passes
`assert f(1) == f(1)`. The tests are nevertheless confined in the same way as programs.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from mutation.sandbox.isolation import check_isolation, cores
from mutation.sandbox.pair import Pair
from mutation.sandbox.verdict import Limits, Suite, Verdict

REPEATS = 3
"""Runs that must end in the same way for a verdict to be trusted as a label."""

CALLS = """
for arguments in INPUTS:
    try:
        result = FUNCTION(*arguments)
        record(("changed", arguments) if result is None and IN_PLACE else ("value", result))
    except Exception as error:
        record(("raise", type(error).__name__))
"""


class Sandbox:
    """A pool of warm sandboxes. Use it as a context manager, or close it. Safe to share between threads.

    workers: programs that can run at the same time; by default one per core.
    isolated: if False, only resources are limited, and a hostile program can escape.
    Raises SandboxError if programs cannot be isolated here; the message says what to install or allow.
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
        """Run a program against tests. trace: also report which of its lines ran, which takes longer."""
        pair = self._idle.get()
        try:
            return pair.run(program, suite, trace)
        finally:
            self._idle.put(pair)

    def run_repeatedly(self, program: str, suite: Suite, *, trace: bool = False) -> Verdict:
        """The verdict of the first of three runs, marked as flaky if they did not all end in the same way."""
        first = self.run(program, suite, trace=trace)
        again = (self.run(program, suite) for _ in range(REPEATS - 1))
        return replace(first, flaky=any(verdict.ending != first.ending for verdict in again))

    def run_all(self, jobs: Iterable[tuple[str, Suite]]) -> Iterator[Verdict]:
        """Run the jobs on all workers. The verdicts come in the order of the jobs."""
        with ThreadPoolExecutor(self.workers) as threads:
            yield from threads.map(lambda job: self.run(*job), jobs)

    def outputs(
        self, program: str, function: str, inputs: Sequence[Sequence[object]], *, in_place: bool = False
    ) -> Verdict:
        """Call a function of the program on each list of arguments.

        The verdict's `recorded` has ("value", result) or ("raise", type name) for each call that ended.
        in_place: for a call that returned None, it has ("changed", arguments) with their state after it.
        """
        suite = Suite(CALLS.replace("FUNCTION", function), (function,))
        return self.run(program, suite.with_values(INPUTS=[list(i) for i in inputs], IN_PLACE=in_place))

    def close(self) -> None:
        """End every process. No other call may be running."""
        self._stack.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
