"""Read the rows of a data file or of a data set on the hub. Every error names the file and the line."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from prm.data.left_out import LeftOut
from search.errors import UsageError, reason

T = TypeVar("T")

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
JSON_LINES = (".jsonl", ".jsonl.gz", ".ndjson")
RECORDS = "records"
"""The field that holds the rows of a JSON file with a head."""


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object.

    where: the place, for error messages, e.g. "phase1_train.jsonl, line 3".
    number: the line (or the row, in a file without lines), from 1.
    """

    where: str
    number: int
    fields: dict[str, Any]

    def text(self, *names: str) -> str:
        """The first of these fields that is present. Raises UsageError unless it is a non-empty string."""
        name = next((name for name in names if name in self.fields), None)
        if name is None:
            raise UsageError(f"{self.where}: no field {' or '.join(map(repr, names))}")
        value = self.fields[name]
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f"{self.where}: {name!r} must be a non-empty string, not {_shown(value)}")
        return value


def read_rows(source: str, split: str = "train", *, left_out: LeftOut | None = None) -> Iterator[Row]:
    """Stream the rows of a file (JSON lines, a JSON array, Parquet) or of a data set on the hub.

    A JSON file may also be an object that holds the array as "records".

    source: a path, or OWNER/NAME on the Hugging Face hub. split: which part, for the hub only.
    left_out: if given, a row that is no JSON object is counted there, under `source`, and left out.
    Raises UsageError if the source cannot be read or has no rows, or if a row is not a JSON object.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        raise UsageError(f"{source} is a folder; name a file in it")
    if not path.exists():
        if not HUB_ID.fullmatch(source) or Path(path.parts[0]).is_dir():
            raise UsageError(f"cannot read {source}: there is no such file, and it is not an OWNER/NAME")
        rows = hub_rows(source, split)
    elif path.name.endswith(JSON_LINES):
        rows = _json_lines(path, left_out, source)
    elif path.suffix == ".json":
        rows = _json_array(path, left_out, source)
    elif path.suffix == ".parquet":
        rows = _parquet(path)
    else:
        raise UsageError(f"{path}: unknown kind of file; use .jsonl, .jsonl.gz, .json or .parquet")
    yield from _not_empty(rows, source, left_out)


def json_lines(path: Path, *, allow_empty: bool = False) -> Iterator[Row]:
    """Stream the objects of a file of JSON lines, gzipped if its name ends in .gz.

    Blank lines are skipped, and so are byte-order marks. Raises UsageError if the file cannot be read,
    if a line is not a JSON object in UTF-8, and, unless `allow_empty`, if there is no object at all.
    """
    rows = _json_lines(path)
    return rows if allow_empty else _not_empty(rows, str(path))


def hub_rows(name: str, split: str, config: str | None = None, *, stream: bool = True) -> Iterator[Row]:
    """The rows of a data set on the Hugging Face hub. Raises UsageError if it cannot be read.

    stream: read the rows over the network one by one. Otherwise the data set is downloaded once and read
        from the cache of `datasets` from then on, which needs no network.
    """
    where = f"{name} ({split})"
    try:
        from datasets import load_dataset

        rows = load_dataset(name, config, split=split, streaming=stream)
        yield from _as_rows(rows, where)
    except Exception as error:  # the hub's errors have no common base
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise UsageError(f"cannot read {where} from the hub ({why}); give a file by --data PATH") from error


def parsed(
    rows: Iterable[Row],
    parse: Callable[[dict[str, Any]], Iterable[T]],
    *,
    source: str = "",
    left_out: LeftOut | None = None,
    hint: str = "",
) -> Iterator[T]:
    """Everything that `parse` makes of the rows. Its errors get the place of the row, and the hint.

    left_out: if given, a row that `parse` raises an error for is counted there, under `source`, and left out.
    """
    for row in rows:
        if left_out is not None:
            left_out.saw(source)
        try:
            made = list(parse(row.fields))
        except (UsageError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            reason = _reason(error)
            if left_out is None:
                raise UsageError(f"{row.where}: {reason}{hint}") from error
            left_out.add(source, row.where, reason)
        else:
            yield from made


def _reason(error: Exception) -> str:
    """What is wrong with a row, in words."""
    if isinstance(error, UsageError):
        return str(error)
    if isinstance(error, KeyError):
        return f"no field {error}"
    return f"{type(error).__name__}: {error}"


def _not_empty(rows: Iterator[Row], source: str, left_out: LeftOut | None = None) -> Iterator[Row]:
    empty = True
    for row in rows:
        empty = False
        yield row
    if empty and not (left_out and left_out.first_of(source)):
        raise UsageError(f"{source} holds no records")


def _json_lines(path: Path, left_out: LeftOut | None = None, source: str = "") -> Iterator[Row]:
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                line = line.removeprefix(BOM_UTF8)  # at the head of a file, or of a part of one
                if line.strip():
                    yield from _row(line, f"{path}, line {number}", number, left_out, source)
    except (OSError, EOFError, zlib.error) as error:  # the latter two: a truncated or damaged gzip stream
        after = f" after line {number}" if number else ""
        raise UsageError(f"cannot read {path}{after}: {reason(error)}") from error


def _row(content: Any, where: str, number: int, left_out: LeftOut | None, source: str) -> Iterator[Row]:
    """The row that a line of JSON or a decoded value holds; none if it was left out."""
    try:
        value = _decoded(content, where) if isinstance(content, bytes) else content
        fields = _object(value, where)
    except UsageError as error:
        if left_out is None:
            raise
        left_out.saw(source)
        left_out.add(source, where, str(error).removeprefix(f"{where}: "))
    else:
        yield Row(where, number, fields)


def _json_array(path: Path, left_out: LeftOut | None, source: str) -> Iterator[Row]:
    try:
        content = path.read_bytes().removeprefix(BOM_UTF8)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason(error)}") from error
    rows = _decoded(content, str(path))
    if isinstance(rows, dict) and isinstance(rows.get(RECORDS), list):
        rows = rows[RECORDS]
    if not isinstance(rows, list):
        raise UsageError(f"{path}: must be a JSON array, not {_shown(rows)}")
    for number, value in enumerate(rows, start=1):
        yield from _row(value, f"{path}, record {number}", number, left_out, source)


def _parquet(path: Path) -> Iterator[Row]:
    from datasets import load_dataset

    rows = load_dataset("parquet", data_files=str(path), split="train", streaming=True)
    return _as_rows(rows, str(path))


def _as_rows(rows: Any, where: str) -> Iterator[Row]:
    """Rows of the library `datasets`.

    It keeps a column of mixed types as JSON, and decodes it when it is read. By then a text that is itself
    JSON, as the answer "4" or "true", is no text any more. So such columns are read as text.
    """
    features = rows.features or {}
    mixed = {name for name, feature in features.items() if _mixed(feature)}
    if mixed:
        rows = rows.cast(type(features)({name: _with_text(feature) for name, feature in features.items()}))
    for number, row in enumerate(rows, start=1):
        fields = {name: _text_of(features[name], value) if name in mixed else value
                  for name, value in row.items()}  # fmt: skip
        yield Row(f"{where}, row {number}", number, fields)


def _mixed(feature: Any) -> bool:
    """Whether a column of `datasets`, or a part of it, has values of mixed types."""
    if isinstance(feature, dict):
        return any(map(_mixed, feature.values()))
    return _is_json(feature) or (hasattr(feature, "feature") and _mixed(feature.feature))


def _with_text(feature: Any) -> Any:
    """The same feature of `datasets` with text where the types are mixed."""
    from datasets import Value

    if isinstance(feature, dict):
        return {name: _with_text(part) for name, part in feature.items()}
    if _is_json(feature):
        return Value("string")
    return replace(feature, feature=_with_text(feature.feature)) if hasattr(feature, "feature") else feature


def _text_of(feature: Any, value: Any) -> Any:
    """A value of `feature`; of mixed types: texts as they were, objects decoded, others as text."""
    if isinstance(value, dict) and isinstance(feature, dict):
        return {name: _text_of(feature[name], part) for name, part in value.items()}
    if isinstance(value, list):
        return [_text_of(feature.feature, part) for part in value]
    if _is_json(feature) and isinstance(value, str) and value[:1] in ('"', "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _is_json(feature: Any) -> bool:
    return type(feature).__name__ == "Json"  # not in every version of `datasets`


def _decoded(content: bytes, where: str) -> Any:
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}: not UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not JSON: {error}") from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: must be a JSON object, not {_shown(value)}")
    return value


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
