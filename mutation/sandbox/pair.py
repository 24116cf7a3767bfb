"""One worker of the sandbox: a server that runs programs, a judge that runs tests, a verdict from both."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mutation.sandbox.inside.wire import SECONDS, Closed, Json, Pipe, WireError, pack, unpack
from mutation.sandbox.isolation import ENVIRONMENT, SandboxError, command, explained
from mutation.sandbox.verdict import Limits, Outcome, Suite, Verdict

GRACE_S = 60.0
"""Extra seconds beyond the wall-clock limit, for the communication itself."""
START_S = 120.0
"""Seconds that a sandbox may take to start."""
INSIDE_FOLDER = "/tmp"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program's process ended, as reported by the kernel.

    status: as of `os.wait`. late: its wall-clock time was over. dirty: it left files.
    stopped: it was ended by request, once its tests were done.
    """

    status: int
    late: bool
    stopped: bool
    cpu_s: float
    peak_mb: float
    dirty: bool


class _Spawner:
    """Starts processes from one thread that lives as long as this process.

    bubblewrap ends with its parent thread, not its parent process. A forked process gets a new thread.
    """

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sandbox")

    def start(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        popen: Any = subprocess.Popen
        process: subprocess.Popen[bytes] = self._thread.submit(popen, command, **options).result()
        return process


_SPAWNER = _Spawner()


class Warm:
    """A module of `inside` in its own sandbox, started when needed and restarted if it was killed."""

    module: Literal["server", "judge"]

    def __init__(self, limits: Limits, isolated: bool) -> None:
        self._folder = None if isolated else tempfile.TemporaryDirectory(prefix="sandbox-")
        folder = self._folder.name if self._folder else INSIDE_FOLDER
        self._settings = asdict(limits) | {"isolated": isolated, "folder": folder}
        self._process: subprocess.Popen[bytes] | None = None
        self._control = socket.socket()

    def start(self) -> None:
        """Start it if it is not running. Raises SandboxError."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        self._control, other = socket.socketpair()
        with other, tempfile.TemporaryFile() as complaints:
            try:
                self._process = _SPAWNER.start(
                    command(self.module, other.fileno(), self._settings),
                    env=ENVIRONMENT | {"PATH": os.environ.get("PATH", os.defpath)}, pass_fds=[other.fileno()],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints,
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise SandboxError(f"the sandbox did not start: {error}") from error
            other.close()
            self._wait_at_most(START_S)
            try:
                ready = self._line() == "ready"
            except Closed:
                ready = False
            if not ready:
                self.stop()
                complaints.seek(0)
                raise explained(complaints.read().decode(errors="replace"))

    def begin(self, descriptor: int, more: bytes = b"") -> None:
        """Send it the descriptor of one end of the pipe between program and judge. Raises Closed."""
        try:
            socket.send_fds(self._control, [b"r", more], [descriptor])
        except OSError as error:
            raise Closed from error

    def stop(self) -> None:
        """End it and everything in its sandbox."""
        self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop()
        if self._folder is not None:
            self._folder.cleanup()

    def _wait_at_most(self, seconds: float) -> None:
        """Set the time after which a call to the other side raises Closed."""
        limit = struct.pack("ll", int(seconds), 0)  # a struct timeval; the socket stays a blocking one
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._control.setsockopt(socket.SOL_SOCKET, option, limit)

    def _line(self) -> str:
        line = bytearray()
        while not line.endswith(b"\n"):
            try:
                part = self._control.recv(4096)
            except OSError as error:
                raise Closed from error
            if not part:
                raise Closed
            line += part
        return line.decode().rstrip()


class Programs(Warm):
    """Forks a process for each program (mutation/sandbox/inside/server.py)."""

    module = "server"

    def end(self) -> Ended:
        """End the process that was forked last, if it is still running. Raises Closed."""
        try:
            self._control.sendall(b"s")
        except OSError as error:
            raise Closed from error
        self._wait_at_most(GRACE_S)
        return Ended(**json.loads(self._line()))


class Judge(Warm):
    """Runs tests (mutation/sandbox/inside/judge.py)."""

    module = "judge"

    def ask(self, job: Json, wait_s: float) -> dict[str, Any]:
        """The result of a job, after `begin`. Raises Closed, also if it takes longer than `wait_s`."""
        self._wait_at_most(wait_s)
        pipe = Pipe(self._control.fileno())
        pipe.send(job)
        result: dict[str, Any] = pipe.receive()
        return result


class Pair:
    """A context manager that runs one program at a time."""

    def __init__(self, limits: Limits, isolated: bool) -> None:
        self.limits, self.isolated = limits, isolated
        self._programs, self._judge = Programs(limits, isolated), Judge(limits, isolated)

    def __enter__(self) -> Pair:
        try:
            self._programs.start()
            self._judge.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._programs.close()
        self._judge.close()

    def run(self, program: str, suite: Suite, trace: bool) -> Verdict:
        """Run a program. Raises SandboxError if the servers do not start or are killed twice."""
        cpu_s = suite.cpu_s or self.limits.cpu_s
        job = {
            "program": program, "tests": suite.code, "provides": list(suite.provides), "trace": trace,
            "module": suite.module,
            "values": {name: pack(value) for name, value in suite.values.items()},
        }  # fmt: skip
        for _ in range(2):  # a server that was killed from outside is restarted once
            self._programs.start()
            self._judge.start()
            try:
                result, end = self._attempt(job, cpu_s)
            except Closed:
                self._programs.stop()
                self._judge.stop()
                continue
            if end.dirty and self.isolated:
                self._programs.stop()
            return self._verdict(result, end, cpu_s)
        raise SandboxError("the sandbox was killed twice from outside; is the machine out of memory?")

    def _attempt(self, job: Json, cpu_s: float) -> tuple[dict[str, Any] | None, Ended]:
        """The judge's result, None if it gave none, and how the program's process ended."""
        asking, answering = socket.socketpair()
        with asking, answering:
            self._programs.begin(answering.fileno(), SECONDS.pack(cpu_s))
            self._judge.begin(asking.fileno())
        result = None
        try:
            result = self._judge.ask(job, self.limits.wall_s + GRACE_S)
        except Closed:
            self._judge.stop()
        return result, self._programs.end()

    def _verdict(self, result: dict[str, Any] | None, end: Ended, cpu_s: float) -> Verdict:
        used: dict[str, Any] = {"seconds": end.cpu_s, "peak_mb": end.peak_mb, "isolated": self.isolated}
        if result is None:
            return Verdict(Outcome.TIME_OUT, "the tests did not end", **used)
        outcome, detail = Outcome(result["outcome"]), result.get("detail", "")
        if outcome is Outcome.KILLED:
            outcome, detail = self._why_gone(end, detail, cpu_s)
        try:
            recorded = tuple(unpack(packed) for packed in result["recorded"])
        except WireError as error:
            raise SandboxError(f"the judge sent recorded values that cannot be read: {error}") from error
        return Verdict(
            outcome, detail, result.get("exception", ""), result.get("line"), result.get("program_line"),
            recorded=recorded, lines=frozenset(result.get("lines", ())), **used,
        )  # fmt: skip

    def _why_gone(self, end: Ended, detail: str, cpu_s: float) -> tuple[Outcome, str]:
        """Why the program no longer answered the judge."""
        signalled = os.WTERMSIG(end.status) if os.WIFSIGNALED(end.status) else None
        if end.late or end.cpu_s >= cpu_s or signalled in (signal.SIGPROF, signal.SIGXCPU):
            return Outcome.TIME_OUT, "time limit exceeded"
        if end.stopped:
            return Outcome.KILLED, detail or "it closed the pipe"
        if signalled is not None:
            return Outcome.KILLED, f"its process was ended by {signal.Signals(signalled).name}"
        code = os.waitstatus_to_exitcode(end.status)
        return Outcome.KILLED, f"its process exited with code {code} before its tests were done"
