"""Whether the sandbox runs on this machine, and which processes and descriptors it leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from mutation.sandbox.isolation import SandboxError
from mutation.sandbox.sandbox import Sandbox

CANNOT_RUN = "the sandbox cannot run here: "


@cache
def why_not() -> str:
    """Why the sandbox cannot run here; "" if it can."""
    try:
        Sandbox(workers=1).close()
    except SandboxError as error:
        return f"{CANNOT_RUN}{error}"
    return ""


def skipped_line(reasons: Iterable[str]) -> str:
    """How many tests were skipped for want of the sandbox, why, and the command that helps; "" for none."""
    ours = [reason.partition(CANNOT_RUN)[2] for reason in reasons if CANNOT_RUN in reason]
    if not ours:
        return ""
    tests = f"{len(ours)} test{'s' if len(ours) > 1 else ''} skipped, as programs cannot be run here"
    if shutil.which("bwrap") is not None:
        return f"{tests}: {ours[0]}"
    sudo = "" if os.geteuid() == 0 else "sudo "
    return (
        f"{tests}: bubblewrap is not installed. To run them too: {sudo}apt-get install bubblewrap "
        f"(Fedora: {sudo}dnf install bubblewrap)"
    )


def descendants(pid: int) -> set[int]:
    """The ids of all processes that a process has started, directly or not, and that have not ended."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(folder.name))
    result: set[int] = set()
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        result.update(below)
        todo += below
    return result


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kill_those_named(name: str) -> None:
    """Kill the processes that this one has started whose program's name begins so, and that are there."""
    for pid in descendants(os.getpid()):
        with suppress(OSError):  # a process can end at any time
            if Path(f"/proc/{pid}/comm").read_text().startswith(name):
                os.kill(pid, signal.SIGKILL)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def in_one_process(program: str, tests: str) -> dict[str, Any]:
    """Run a program that is trusted, and its tests. Returns their names; raises what they raise."""
    module = ModuleType("program")
    sys.modules["program"] = module
    try:
        exec(compile(program, "<program>", "exec", dont_inherit=True), module.__dict__)
        exec(compile(tests, "<tests>", "exec", dont_inherit=True), module.__dict__)
    finally:
        del sys.modules["program"]
    return module.__dict__
