"""Rows of a task: from a JSONL file, or from the Hugging Face hub. Every error names where it is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from search.errors import UsageError


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object. where: "PATH, line 3", for messages. number: from 1."""

    where: str
    number: int
    fields: dict[str, object]

    def text(self, *names: str) -> str:
        """The first of these fields that is there; it must be a non-empty string. Raises UsageError."""
        name, value = next(((n, self.fields[n]) for n in names if n in self.fields), (None, None))
        if name is None:
            raise UsageError(f"{self.where}: no field {' or '.join(map(repr, names))}")
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f"{self.where}: {name!r} must be a non-empty string, not {_shown(value)}")
        return value


def read_rows(path: Path) -> list[Row]:
    """The objects of a JSONL file; blank lines are skipped. Raises UsageError, also if there is none."""
    rows = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    rows.append(_row(f"{path}, line {number}", number, line))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if not rows:
        raise UsageError(f"{path} holds no lines")
    return rows


def hub_rows(name: str, config: str | None, split: str) -> list[Row]:
    """The rows of a data set on the hub. Raises UsageError, which names the way without a network."""
    try:
        from datasets import load_dataset

        loaded: Iterable[dict[str, object]] = load_dataset(name, config, split=split)
        return [Row(f"{name}, row {n}", n, dict(fields)) for n, fields in enumerate(loaded, 1)]
    except Exception as error:  # the hub's errors have no common base; all mean that the data is not there
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise UsageError(f"cannot load {name} from the hub ({why}); give its file by --data PATH") from error


def _row(where: str, number: int, line: str) -> Row:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise UsageError(f"{where}: must be a JSON object, not {_shown(fields)}")
    return Row(where, number, fields)


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
