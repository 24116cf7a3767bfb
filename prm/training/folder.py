"""The folder of a training run: its settings, which a resumed run must share, and its lock."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.lock import only_writer


def bad_folder(
    path: Path, settings: Mapping[str, Any], resume: bool, *, defaults: Mapping[str, Any]
) -> Iterator[str]:
    """What is wrong with starting or resuming a run.

    path: its file of settings. settings: of the run that is asked for. defaults: of settings; one that the
        file lacks is newer than the run, which has had its default.
    """
    out = path.parent
    if not path.exists():
        if resume:
            yield f"--resume: there is no run in {out}: leave --resume out to begin one"
    elif not path.stat().st_size:  # a run that was killed before it wrote anything
        return
    elif not resume:
        yield f"{out} already holds a run: add --resume to continue it, or give another --out"
    else:
        kept = {name: value for name, value in defaults.items() if name in settings}
        before = json.loads(json.dumps(kept, default=str)) | json.loads(path.read_text())
        now = json.loads(json.dumps(settings))
        for name in (name for name in now if before.get(name) != now[name]):
            yield f"--resume: the run in {out} has {name}={before.get(name)}, not {now[name]}"


@contextmanager
def claimed(path: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Lock a run's file of settings, and fill it in if it is new.

    Raises UsageError if another process holds the lock.
    """
    with path.open("ab+") as file:
        only_writer(file, path)
        if not file.tell():
            file.write((json.dumps(settings, indent=2) + "\n").encode())
            file.flush()
        yield
