"""A program with a terminal of its own, and keys pressed at it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

CTRL_C = b"\x03"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """Runs `command` as a shell does: in front, so that Ctrl-C reaches it and all that it has started."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str], columns: int = 120):
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            command, cwd=cwd, env={**env, "TERM": "xterm-256color"}, stdin=theirs, stdout=theirs,
            stderr=theirs, start_new_session=True, preexec_fn=_come_to_the_front,
        )  # fmt: skip
        os.close(theirs)
        self._said = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """All that was shown so far, colours and cursor movements left out."""
        return _CONTROL.sub("", self._said.decode(errors="replace"))

    def wait_for(self, done: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.text}"
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain:\n{self.text}"
            time.sleep(0.01)

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def end(self, timeout_s: float) -> int:
        """Wait for the end. Returns the exit code."""
        code = self.process.wait(timeout_s)
        self._reader.join(5)
        os.close(self._ours)
        return code

    def _read(self) -> None:
        try:
            while said := os.read(self._ours, 65536):
                self._said += said
        except OSError:  # how Linux says that nobody holds the other end
            pass


def _come_to_the_front() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    hear_ctrl_c()


def hear_ctrl_c() -> None:
    """What is started in a shell's background, as these tests may be, ignores interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
