"""Whether programs can be shut in on this machine, and what running them leaves behind."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from mutation.sandbox.isolation import SandboxError
from mutation.sandbox.sandbox import Sandbox


@cache
def why_not() -> str:
    """Why no program can be shut in here; "" if one can."""
    try:
        Sandbox(workers=1).close()
    except SandboxError as error:
        return f"needs the sandbox, which does not run here: {error}"
    return ""


def descendants(pid: int) -> set[int]:
    """Every process below this one that has not ended."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(folder.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found.update(below)
        todo += below
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
