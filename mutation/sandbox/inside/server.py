"""A warm interpreter that forks a fresh, confined process for each program. It runs inside the sandbox.

It receives "r" with the descriptor of the pipe to the judge and the program's seconds of processor time (a
double), and later "s" for stop. It answers each "r" with one line of JSON that tells how the process ended.
It never reads from the pipe, so nothing of a program or its requests remains in it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from mutation.sandbox.inside.confine import Bounds, call_filter, limit_resources, limit_time
from mutation.sandbox.inside.program import prepared, serve
from mutation.sandbox.inside.wire import SECONDS, Pipe

WARM = "bisect copy functools heapq itertools math operator re string typing".split()
"""The modules that programs import most, imported once. Each further page of memory slows every fork down."""


class Server:
    """folder: where programs may write. isolated: whether it runs inside bubblewrap."""

    def __init__(self, control: socket.socket, settings: dict[str, Any]) -> None:
        self.control, self.wall_s = control, settings["wall_s"]
        self.program, self.isolated = prepared(settings["output_chars"]), settings["isolated"]
        self.folder: str = settings["folder"]
        self.filter = call_filter()
        self.ended, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Serve until the other side closes the connection."""
        self.control.sendall(b"ready\n")
        os.chdir(self.folder)
        os.dup2(0, 2)  # /dev/null, as 0 and 1 are
        sys.argv = ["program"]
        gc.collect()
        gc.freeze()
        while True:
            command, descriptors, *_ = socket.recv_fds(self.control, 1, 1)
            if not command:
                return
            if command != b"r":  # "s" for a process that has already ended
                continue
            [cpu_s] = SECONDS.unpack(self.control.recv(SECONDS.size, socket.MSG_WAITALL))
            if (pid := os.fork()) == 0:
                self._child(descriptors[0], cpu_s)
            os.close(descriptors[0])
            self.control.sendall(json.dumps(self._watch(pid)).encode() + b"\n")

    def _child(self, descriptor: int, cpu_s: float) -> None:
        """Run the program in the forked process. Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if not self.isolated:
                os.setsid()  # so that the processes that it starts can be ended
            os.dup2(descriptor, 3, inheritable=False)
            os.closerange(4, 256)
            limit_time(cpu_s)
            if self.filter is not None:
                self.filter.install()
            serve(Pipe(3), self.program)
            code = 0
        finally:
            os._exit(code)

    def _watch(self, pid: int) -> dict[str, Any]:
        """Wait for the process to end. End it on request, and at the wall-clock limit."""
        deadline = time.monotonic() + self.wall_s
        late = stopped = False
        while (ended := os.wait4(pid, os.WNOHANG))[0] == 0:
            left = deadline - time.monotonic()
            late = late or left <= 0
            if late or stopped:
                os.kill(pid, signal.SIGKILL)
            watched: list[Any] = [self.ended, self.control]
            ready, _, _ = select.select(watched, [], [], max(0.0, min(left, 1.0)))
            if self.ended in ready:
                os.read(self.ended, 512)
            if self.control in ready and not stopped:
                if not self.control.recv(1):
                    os.kill(pid, signal.SIGKILL)
                    os._exit(0)  # there is nobody to report to
                stopped = True
        _, status, used = ended
        if not self.isolated:
            with suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        return {
            "status": status, "late": late, "stopped": stopped, "cpu_s": used.ru_utime + used.ru_stime,
            "peak_mb": used.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
            "dirty": self._dirty(),
        }  # fmt: skip

    def _dirty(self) -> bool:
        """Whether the process left files. Without isolation they are deleted here."""
        try:
            left = os.listdir(self.folder)
        except OSError:
            return True
        if left and not self.isolated:
            from shutil import rmtree  # late: it would make every fork slower

            for name in left:
                rmtree(os.path.join(self.folder, name), ignore_errors=True)
                with suppress(OSError):
                    os.unlink(os.path.join(self.folder, name))
        return bool(left)


def main() -> None:
    control, settings = socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2])
    for name in WARM:
        importlib.import_module(name)
    limit_resources(Bounds(settings["memory_mb"], settings["file_mb"]))
    Server(control, settings).run()
