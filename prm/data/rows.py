"""Rows of a data file or hub data set, streamed, each with the place to name if it is bad."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from search.errors import UsageError

T = TypeVar("T")

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
JSON_LINES = (".jsonl", ".jsonl.gz", ".ndjson")


@dataclass(frozen=True, slots=True)
class Row:
    """where: e.g. "phase1_train.jsonl, line 3"; what an error message begins with."""

    where: str
    fields: dict[str, Any]


def read_rows(source: str, split: str = "train") -> Iterator[Row]:
    """Stream the rows of a file (JSON lines, a JSON array, Parquet) or of a data set on the hub.

    source: a path, or OWNER/NAME on the Hugging Face hub. split: which part; the hub only.
    Raises UsageError, naming file and line, for what cannot be read, is not UTF-8, is cut off, is
    no JSON object, or holds nothing at all.
    """
    path = Path(source).expanduser()
    empty = True
    for row in _rows(path, source, split):
        empty = False
        yield row
    if empty:
        raise UsageError(f"{source}: holds no records")


def _rows(path: Path, source: str, split: str) -> Iterator[Row]:
    if path.is_dir():
        raise UsageError(f"{source}: a folder; name the file that is to be read")
    if not path.exists():
        if HUB_ID.fullmatch(source) and not Path(path.parts[0]).is_dir():
            yield from _hub_rows(source, split)
            return
        raise UsageError(f"cannot read {source}: there is no such file, and it is no OWNER/NAME of the hub")
    if path.name.endswith(JSON_LINES):
        yield from json_lines(path)
    elif path.suffix == ".json":
        yield from _json_array(path)
    elif path.suffix == ".parquet":
        from datasets import load_dataset

        rows = load_dataset("parquet", data_files=str(path), split="train", streaming=True)
        yield from (Row(f"{path}, row {n}", dict(row)) for n, row in enumerate(rows, start=1))
    else:
        raise UsageError(f"{path}: unknown kind of file; there is .jsonl, .jsonl.gz, .json and .parquet")


def json_lines(path: Path) -> Iterator[Row]:
    """The objects of a file of JSON lines, which may hold none. Raises UsageError as `read_rows`."""
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                yield Row(f"{path}, line {number}", _parse(line, f"{path}, line {number}"))
    except (OSError, EOFError) as error:  # EOFError: a gzip stream that was cut off
        raise UsageError(f"cannot read {path} after line {number}: {error}") from error


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode("utf-8"))
    except ValueError as error:
        raise UsageError(f"{where}: {type(error).__name__}: {error}") from error
    if not isinstance(fields, dict):
        raise UsageError(f"{where}: TypeError: a JSON object is needed, not {type(fields).__name__}")
    return fields


def _json_array(path: Path) -> Iterator[Row]:
    try:
        rows = json.loads(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(rows, list):
        raise UsageError(f"{path}: TypeError: a JSON array is needed, not {type(rows).__name__}")
    for number, fields in enumerate(rows, start=1):
        where = f"{path}, record {number}"
        if not isinstance(fields, dict):
            raise UsageError(f"{where}: TypeError: a JSON object is needed, not {type(fields).__name__}")
        yield Row(where, fields)


def _hub_rows(name: str, split: str) -> Iterator[Row]:
    from datasets import load_dataset

    try:
        rows = iter(load_dataset(name, split=split, streaming=True))
        for number, row in enumerate(rows, start=1):
            yield Row(f"{name} ({split}), row {number}", dict(row))
    except UsageError:
        raise
    except Exception as error:  # the hub's errors have no common base
        why = str(error).strip().split("\n")[0]
        raise UsageError(f"cannot read {name} ({split}) from the hub: {why}") from error


def parsed(rows: Iterable[Row], parse: Callable[[dict[str, Any]], Iterable[T]]) -> Iterator[T]:
    """What `parse` makes of each row; what it raises on a row of another form names that row."""
    for row in rows:
        try:
            yield from parse(row.fields)
        except UsageError as error:
            raise UsageError(f"{row.where}: {error}") from error
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise UsageError(f"{row.where}: {type(error).__name__}: {error}") from error
