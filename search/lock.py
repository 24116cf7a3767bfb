"""File locks: one process at a time appends to a file that a later run can resume."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from search.errors import UsageError


def only_writer(file: IO[bytes], path: Path) -> None:
    """Lock `path` for this process until `file` is closed or the process ends, even if it is killed.

    file: open for writing. This is a POSIX record lock: closing any other handle of the same file in
    this process releases it too, and child processes do not inherit it. Nothing is locked on Windows or
    on a file system without locks. Raises UsageError if another process holds the lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise UsageError(f"{path}: another process is writing to it; wait for it, or stop it") from error
    except OSError:  # e.g. ENOLCK on a network file system
        pass
