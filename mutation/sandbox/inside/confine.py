"""Limit the resources and system calls of a process, before it runs anything that it was sent."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import resource
import signal
import struct
import sys
from typing import NamedTuple

from mutation.sandbox.inside.syscalls import Machine, this_machine

PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL, KILL = 0x7FFF0000, 0x00050000, 0x80000000
STEP = struct.Struct("<HBBI")
"""One instruction: code, instructions to skip if equal, instructions to skip if not, value."""
VALUE_AT = 4
"""Offset of the value in an instruction."""
OWN_PID = 0x7FFFFFFF
"""A placeholder for the id of the process, until that is known. No process has this id."""
NUMBER, ARCHITECTURE, FIRST, SECOND = 0, 4, 16, 24
"""Offsets in struct seccomp_data: the call's number, the architecture, the first two arguments."""

TERMINAL_OR_CLOSE_ON_EXEC = (0x5401, 0x5413, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ (both fail: there is no terminal), FIONBIO, FIONCLEX, FIOCLEX."""
OWN_DESCRIPTORS = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1031, 1032)
"""F_DUPFD to F_SETLKW, F_DUPFD_CLOEXEC, pipe sizes. Not F_SETOWN, which can signal another process."""


class Bounds(NamedTuple):
    """Limits of one process. memory_mb: address space. file_mb: size of one file."""

    memory_mb: int
    file_mb: int


def limit_resources(bounds: Bounds) -> None:
    """Set the kernel's limits for this process and those that it forks."""
    limits = {
        "RLIMIT_AS": (bounds.memory_mb << 20,) * 2,
        "RLIMIT_FSIZE": (bounds.file_mb << 20,) * 2,
        "RLIMIT_STACK": (8 << 20,) * 2,
        "RLIMIT_NOFILE": (64, 64),
        "RLIMIT_CORE": (0, 0),
    }
    for name, (soft, hard) in limits.items():
        kind = getattr(resource, name)
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        try:
            resource.setrlimit(kind, (soft, hard))
        except (ValueError, OSError):
            if sys.platform == "linux":  # other systems do not have every limit
                raise


def limit_time(cpu_s: float) -> None:
    """Limit the processor time. A program that catches the signals is killed within two more seconds."""
    whole = math.ceil(cpu_s)
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 1))
    signal.setitimer(signal.ITIMER_PROF, cpu_s)


class CallFilter:
    """A machine's list of system calls as a classic BPF program: built once, installed by each process.

    more: the numbers of further calls to allow.
    """

    def __init__(self, machine: Machine, more: tuple[int, ...]) -> None:
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl
        code = _assemble(machine, more)
        steps = range(0, len(code), STEP.size)
        self._own = [at + VALUE_AT for at in steps if STEP.unpack_from(code, at)[3] == OWN_PID]
        self._program = ctypes.create_string_buffer(code, len(code))
        self._header = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(self._program))

    def install(self) -> None:
        """Allow this process only these calls from now on. Raises OSError."""
        for offset in self._own:
            struct.pack_into("<I", self._program, offset, os.getpid())
        for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, self._header)):
            if self._prctl(*arguments, 0, 0) != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"the kernel refuses the filter of system calls: {os.strerror(number)}")


def _assemble(machine: Machine, more: tuple[int, ...]) -> bytes:
    """Compare the number of the call with each allowed one, and jump to the end, which allows it."""
    step = STEP.pack
    conditional = [
        (machine.ioctl, SECOND, TERMINAL_OR_CLOSE_ON_EXEC), (machine.fcntl, SECOND, OWN_DESCRIPTORS),
        (machine.kill, FIRST, (OWN_PID,)), (machine.tkill, FIRST, (OWN_PID,)),
        (machine.tgkill, FIRST, (OWN_PID,)), (machine.prlimit64, FIRST, (0, OWN_PID)),
    ]  # fmt: skip
    # Written backwards from the end, so that the distance to the end is known.
    code = [step(RETURN, 0, 0, ALLOW), step(RETURN, 0, 0, FAIL | errno.ENOSYS)]
    for call, argument, values in conditional:
        start = len(code)
        code.append(step(RETURN, 0, 0, FAIL | errno.EPERM))
        code += [step(JUMP_IF_EQUAL, len(code) + i - 1, 0, value) for i, value in enumerate(values)]
        code.append(step(LOAD, 0, 0, argument))
        code.append(step(JUMP_IF_EQUAL, 0, len(code) - start, call))
    code += [
        step(JUMP_IF_EQUAL, len(code) + i - 1, 0, call)
        for i, call in enumerate((*machine.calls.values(), *more))
    ]
    code += [
        step(LOAD, 0, 0, NUMBER), step(RETURN, 0, 0, KILL),
        step(JUMP_IF_EQUAL, 1, 0, machine.architecture), step(LOAD, 0, 0, ARCHITECTURE),
    ]  # fmt: skip
    return b"".join(reversed(code))


def call_filter(*, receives: bool = False) -> CallFilter | None:
    """The filter for this machine. None if there is no list for it: it can only run without isolation.

    receives: also allow to receive descriptors over a socket that is already open.
    """
    machine = this_machine()
    return None if machine is None else CallFilter(machine, (machine.recvmsg,) if receives else ())
