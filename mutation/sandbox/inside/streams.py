"""The standard streams of a program. What it prints is counted, and discarded unless its tests read it."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import Any


class OutputLimit(BaseException):
    """The program has printed more than it may."""


class Printed:
    """The standard streams of one program.

    left: how much may still be printed, on both output streams together, in characters of text and bytes of
    binary data.
    """

    def __init__(self, left: int) -> None:
        self.left, self.unflushed = left, False
        self.streams = {"stdout": _Text(self, "stdout"), "stderr": _Text(self, "stderr", "backslashreplace")}

    def install(self) -> None:
        sys.stdout = sys.__stdout__ = self.streams["stdout"]  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self.streams["stderr"]  # type: ignore[misc]

    def count(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise OutputLimit

    def over(self) -> bool:
        """Whether too much has been printed. What is still in a buffer counts too."""
        if self.unflushed:
            self.unflushed = False
            for stream in self.streams.values():
                stream.binary.flush_quietly()
        return self.left < 0

    def keep(self, names: list[str]) -> None:
        """Keep what is printed on these streams until `kept`."""
        for name in names:
            self.streams[name].kept = []

    def kept(self) -> dict[str, str]:
        """What was printed since `keep`, by stream."""
        texts = {}
        for name, stream in self.streams.items():
            if stream.kept is not None:
                texts[name], stream.kept = "".join(stream.kept), None
        return texts


class _Text(io.TextIOWrapper):
    """A standard output stream. Text does not reach its binary layer: it is only counted."""

    mode = "w"

    def __init__(self, printed: Printed, name: str, errors: str = "strict") -> None:
        self.binary = _Binary(printed, _Raw(printed, self, 1 if name == "stdout" else 2))
        super().__init__(self.binary, encoding="utf-8", errors=errors)
        self.kept: list[str] | None = None
        self._printed = printed

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if not text.isascii():
            text.encode(self.encoding, self.errors or "strict")  # the error that printing it would raise
        self._printed.count(len(text))
        if self.kept is not None:
            self.kept.append(text)
        return len(text)


class _Binary(io.BufferedWriter):
    """The binary layer of a standard output stream."""

    def __init__(self, printed: Printed, raw: _Raw) -> None:
        super().__init__(raw)
        self._printed = printed

    def write(self, data: Any) -> int:
        self._printed.unflushed = True
        return super().write(data)

    def flush_quietly(self) -> None:
        with suppress(ValueError, OSError, OutputLimit):  # closed by the program, or over the limit
            self.flush()


class _Raw(io.RawIOBase):
    """The lowest layer: bytes are counted, and kept as text if the text is."""

    mode = "wb"

    def __init__(self, printed: Printed, text: _Text, number: int) -> None:
        self.name = f"<{'stdout' if number == 1 else 'stderr'}>"
        self._printed, self._text, self._number = printed, text, number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def write(self, data: Any) -> int:
        self._printed.count(len(data))
        if self._text.kept is not None:
            self._text.kept.append(bytes(data).decode("utf-8", "replace"))
        return len(data)
