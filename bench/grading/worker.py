"""Runs math-verify in a worker process (worker_main.py) that can be killed. This is the parent's side.

sympy has no time-out and no memory limit. A process, unlike a thread, can be stopped from outside.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from fractions import Fraction
from pathlib import Path

from search.errors import UsageError

START_TIMEOUT_S = 120.0
"""For importing sympy. It does not count against an answer's time-out."""


class Verdict(Enum):
    """The worker's reply, or why there is none."""

    EQUAL = auto()
    DIFFERENT = auto()
    TIME_OUT = auto()
    CRASH = auto()


@dataclass(slots=True)
class Allowance:
    """The time that comparisons may still take together, in seconds."""

    left_s: float


class MathWorker:
    """Compares and evaluates LaTeX answers in a child process. Thread-safe: calls are executed one at a time.

    The first call starts the child. A call that takes longer than `timeout_s` kills it, and the next call
    starts another. The child ends with this process.
    """

    def __init__(self, timeout_s: float = 5.0) -> None:
        self.timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the child unless it is running. Raises UsageError if math-verify cannot be loaded."""
        with self._lock:
            self._start()

    def compare(self, answer: str, reference: str, allowance: Allowance | None = None) -> Verdict:
        """Whether an answer equals the reference. Raises UsageError if math-verify cannot be loaded.

        allowance: of an answer of several parts; by default the call has `timeout_s`.
        """
        reply, late = self._reply(answer, reference, allowance or Allowance(self.timeout_s))
        if reply is None:
            return Verdict.TIME_OUT if late else Verdict.CRASH
        return Verdict.EQUAL if json.loads(reply) else Verdict.DIFFERENT

    def value(self, answer: str, allowance: Allowance | None = None) -> Fraction | None:
        """The real number that an answer is; None if it is none, or if it took too long.

        allowance, errors: as in `compare`.
        """
        reply, _ = self._reply(answer, None, allowance or Allowance(self.timeout_s))
        text = "" if reply is None else json.loads(reply)
        return Fraction(text) if text else None

    def _reply(self, answer: str, reference: str | None, allowance: Allowance) -> tuple[str | None, bool]:
        """The child's reply, None if there is none, and whether the time was up."""
        if allowance.left_s <= 0:
            return None, True
        with self._lock:
            try:
                process = self._start()
                started = time.monotonic()
                line = json.dumps([answer, reference, allowance.left_s])
                reply, late = self._request(process, line, allowance.left_s)
                allowance.left_s = max(0.0, allowance.left_s - (time.monotonic() - started))
            except BaseException:  # such as Ctrl-C: a late reply must not be taken for the next call's
                self._stop()
                raise
            if reply is None or late:
                self._stop()
        return reply, late

    def close(self) -> None:
        """End the child; a later call starts another."""
        with self._lock:
            self._stop()

    def _start(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        # -P: the child imports installed packages, not the modules in its own folder.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("worker_main.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, encoding="utf-8", bufsize=1,
        )  # fmt: skip
        atexit.register(self.close)
        reply, _ = self._request(self._process, "", START_TIMEOUT_S)
        failure = json.loads(reply) if reply is not None else "its process ended immediately"
        if failure:
            self._stop()
            raise UsageError(f"math-verify cannot be loaded: {failure}; pip install math-verify")
        return self._process

    def _request(
        self, process: subprocess.Popen[str], line: str, timeout_s: float
    ) -> tuple[str | None, bool]:
        """Send a line and wait for the reply.

        Returns the reply, or None if the child ended, and whether the time-out expired.
        """
        assert process.stdin is not None and process.stdout is not None
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(timeout_s, expire)
        timer.daemon = True
        timer.start()
        reply = ""
        with suppress(OSError):  # the child has ended
            process.stdin.write(line + "\n")
            reply = process.stdout.readline()
        timer.cancel()
        timer.join()
        return reply if reply.endswith("\n") else None, expired.is_set()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.close)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
