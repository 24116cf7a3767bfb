"""Where converted and merged models are kept, and how a folder or file there is made whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from search.errors import UsageError


def models_folder() -> Path:
    """$XDG_CACHE_HOME/prm-search/models, by default in ~/.cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "prm-search" / "models"


def made(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, a file or folder; if it is not there, `make(PATH)` makes it, and it is then moved there.

    Processes that want the same target wait for the first of them. Whatever an interrupted one left is
    removed by the next. Raises UsageError if the cache cannot be written.
    """
    if target.exists():
        return target
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_name(f".{target.name}.lock")):
            if not target.exists():
                _remove(partial)
                try:
                    make(partial)
                    os.replace(partial, target)
                finally:
                    _remove(partial)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror or error}; XDG_CACHE_HOME moves the cache"
        ) from error
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a lock until the block ends, or the process does. Nothing is locked on Windows."""
    with path.open("wb") as file:
        try:
            import fcntl
        except ImportError:
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
