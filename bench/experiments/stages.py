"""The folder of a recipe's stages: what they are of, so that stages of two requests are never mixed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prm.reading.checkpoint import read_json
from search.errors import UsageError


def claim(work: Path, settings: Mapping[str, Any]) -> None:
    """Note in the folder what its stages are of. Raises UsageError if they are of something else.

    work: made if it is not there. settings: everything that the stages depend on, as JSON has it.
    """
    path = work / "request.json"
    now = json.loads(json.dumps(settings))
    if path.exists():
        before = read_json(path, str(path))
        if differing := [name for name in now if before.get(name) != now[name]]:
            raise UsageError(
                f"{work} holds stages of another {' and '.join(differing)}: choose another --work"
            )
    work.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
