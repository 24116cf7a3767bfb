"""One writer at a time for a file that grows while work is done and is gone on with later."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from search.errors import UsageError


def only_writer(file: IO[bytes], path: Path) -> None:
    """Be the one process that writes to `path`, until `file` is closed or the process ends, however it ends.

    file: open for writing. Closing any other handle of it in this process gives the lock up as well, as
    POSIX has it; in return no child holds it after a kill. On Windows, and where a file system has no
    locks, nothing is locked. Raises UsageError if another process writes to it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise UsageError(f"{path}: another process is writing to it; wait for it, or stop it") from error
    except OSError:  # such as ENOLCK, of network file systems
        pass
