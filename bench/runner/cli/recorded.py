"""The command line of a run, kept beside its traces, so that --resume needs no other option."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from search.errors import UsageError, reason

COMMAND = "command.json"


def read_command(out: Path) -> list[str]:
    """The words that the run in `out` was started with. Raises UsageError if its record is damaged."""
    path = out / COMMAND
    try:
        words = json.loads(path.read_text(encoding="utf-8"))["words"]
        return [str(word) for word in words]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"cannot read {path}: {reason(error)}; give all options of the run again") from error


def write_command(out: Path, words: Sequence[str]) -> None:
    """Record the words of a run beside its traces, unless they are recorded."""
    path = out / COMMAND
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(command_text(words), encoding="utf-8")


def command_text(words: Sequence[str]) -> str:
    """The content of a run's command file."""
    return json.dumps({"command": "python -m search.run", "words": list(words)}, indent=1) + "\n"
