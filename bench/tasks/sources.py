"""Where a task's rows come from: a file, a file in a folder, or the hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

from prm.data.rows import Row, read_rows
from search.errors import UsageError, reason


def source_rows(data: Path | None, file: str, hub: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows of a data set.

    data: a file (JSON lines, a JSON array, Parquet), or a folder that holds `file`; None is `hub`.
    Raises UsageError, which names the file and the line.
    """
    return hub() if data is None else read_rows(str(file_in(data, file)))


def file_in(data: Path, file: str) -> Path:
    """The file itself, or the one of this name in a folder. Raises UsageError if it is not there."""
    path = data / file if data.is_dir() else data
    if not path.is_file():
        raise UsageError(f"cannot read {path}: there is no such file")
    return path


def rows_under(path: Path, key: str) -> list[Row]:
    """The rows that the object of a JSON file holds as the list `key`. Raises UsageError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        why = reason(error) if isinstance(error, OSError) else f"not JSON: {error}"
        raise UsageError(f"cannot read {path}: {why}") from error
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise UsageError(f"{path}: must be a JSON object with the rows as a list {key!r}")
    if not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path}: every row of {key!r} must be a JSON object")
    return [Row(f"{path}, {key} {number}", number, row) for number, row in enumerate(rows, start=1)]


def text_or_number(row: Row, name: str) -> str:
    """A field that files write as a text or as a number; a number is written out.

    Raises UsageError unless it is a finite number or a non-empty string.
    """
    value = row.fields.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0:
        return format(Decimal(repr(value)), "f")
    return row.text(name)
