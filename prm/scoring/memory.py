"""How much main memory is free, for a cache."""

from __future__ import annotations

from pathlib import Path

_CGROUPS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
"""Files with the limit and the use of a container, in versions 2 and 1 of control groups."""
CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
UNKNOWN = 4 << 30
"""Bytes that count as free on a machine that does not say."""


def free_memory() -> int:
    """Bytes of main memory that are free: on the machine, and within the limit of the container."""
    return min([_machine_free(), *_container_free()])


def _machine_free() -> int:
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return UNKNOWN


def _container_free() -> list[int]:
    free = []
    for limit, used in _CGROUPS:
        try:
            free.append(int((CGROUP_ROOT / limit).read_text()) - int((CGROUP_ROOT / used).read_text()))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return [max(0, amount) for amount in free]
