"""math-verify in one worker process that can be killed: this side of the pipe. See worker_main.py.

sympy has no time-out and no memory limit, and a thread cannot be stopped; a process can.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path

from search.errors import UsageError

START_TIMEOUT_S = 120.0
"""For importing sympy; not part of an answer's time."""


class Verdict(Enum):
    """What the worker said, or why it said nothing."""

    EQUAL = auto()
    DIFFERENT = auto()
    TIME_OUT = auto()
    CRASH = auto()


class MathWorker:
    """Compares LaTeX answers in a child process; safe to call from any thread, one call at a time.

    The child starts with the first call, is killed after `timeout_s` and started anew by the next
    call, and ends with this process.
    """

    def __init__(self, timeout_s: float = 5.0) -> None:
        self.timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the child if none runs. Raises UsageError if math-verify cannot be loaded."""
        with self._lock:
            self._start()

    def compare(self, a: str, b: str) -> Verdict:
        """Whether two answers are equal. Raises UsageError if math-verify cannot be loaded."""
        with self._lock:
            try:
                process = self._start()
                reply, late = self._ask(process, json.dumps([a, b, self.timeout_s]), self.timeout_s)
            except BaseException:  # Ctrl-C: the reply on its way must not become the next one's
                self._stop()
                raise
            if reply is None or late:
                self._stop()
        if reply is None:
            return Verdict.TIME_OUT if late else Verdict.CRASH
        return Verdict.EQUAL if json.loads(reply) else Verdict.DIFFERENT

    def close(self) -> None:
        """End the child; a later call starts another."""
        with self._lock:
            self._stop()

    def _start(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        # -P: the child finds the installed packages, not the modules that lie beside its file.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("worker_main.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, encoding="utf-8", bufsize=1,
        )  # fmt: skip
        atexit.register(self.close)
        reply, _ = self._ask(self._process, "", START_TIMEOUT_S)
        failure = json.loads(reply) if reply is not None else "its process ended at once"
        if failure:
            self._stop()
            raise UsageError(f"cannot grade, math-verify does not load: {failure}; pip install math-verify")
        return self._process

    def _ask(self, process: subprocess.Popen[str], line: str, timeout_s: float) -> tuple[str | None, bool]:
        """Send a line, wait for one. Returns (the reply, None if the child is gone; was it too late)."""
        assert process.stdin is not None and process.stdout is not None
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(timeout_s, expire)
        timer.daemon = True
        timer.start()
        reply = ""
        with suppress(OSError):  # the pipe of a child that is gone
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
