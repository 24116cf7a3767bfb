"""An append-only file of JSON lines: written while work is done, read back to resume it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from search.errors import UsageError
from search.lock import only_writer


class JsonLinesFile:
    """A file that a run appends to, flushed line by line, so that a kill loses at most the last line.

    An existing file is read back at once into `rows`; a last line cut off by a kill is removed by the
    next `append`, and nothing before it. A new file is created by the first `append`, so that a request
    refused before leaves none behind.

    kind: what the file is called in messages. begins: how the first line of such a file begins; a file
        that holds one unfinished line and begins otherwise is somebody else's, and is refused.
    error: raised if the file cannot be written, or is damaged before its last line.
    Raises UsageError if another process is writing to it.
    """

    def __init__(
        self, path: Path, *, kind: str = "file", begins: str = "{", error: type[UsageError] = UsageError
    ):
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._kind, self._begins, self._error = kind, begins.encode(), error
        self._file: BinaryIO | None = None
        self._torn_at: int | None = None
        if path.exists():
            file = self._opened()
            try:
                self._read(file)
            except BaseException:
                self.close()
                raise

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows, in one piece."""
        file = self._opened()
        if self._torn_at is not None:  # or the next row would be glued to it, and both be lost
            file.truncate(self._torn_at)
            self._torn_at = None
        file.writelines(
            json.dumps(row, ensure_ascii=False).encode(errors="surrogatepass") + b"\n" for row in rows
        )
        file.flush()

    def close(self) -> None:
        """Close the file and release its lock. May be called again."""
        if self._file is not None:
            self._file.close()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            try:
                file = self.path.open("a+b")
            except OSError as error:
                raise self._error(f"cannot write the {self._kind} {self.path}: {error.strerror}") from error
            try:
                only_writer(file, self.path)
            except BaseException:
                file.close()
                raise
            self._file = file
        return self._file

    def _read(self, file: BinaryIO) -> None:
        file.seek(0)
        whole, newline, torn = file.read().rpartition(b"\n")
        self.rows = [self._row(n, line) for n, line in enumerate(whole.split(b"\n") if newline else [], 1)]
        if not newline and not torn.startswith(self._begins[: len(torn)]):
            raise self._error(f"{self.path} is no {self._kind}; choose another name")
        self._torn_at = len(whole) + len(newline) if torn else None

    def _row(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise self._error(f"{self.path}, line {number}: not a JSON object ({error})") from error
        if not isinstance(row, dict):
            raise self._error(f"{self.path}, line {number}: not a JSON object, but {type(row).__name__}")
        return row
