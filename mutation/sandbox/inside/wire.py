"""Plain data between processes: the only thing that passes between a program and its tests.

A value is packed into JSON by its exact built-in type, sent as one frame, and rebuilt on the other side, so
a method that a program defines never runs where its results are compared. Unlike pickle and marshal, a
frame can contain nothing but data, whatever bytes a program writes. Every JSON array is a tag with its
content: a list is `["list", ...]`, and an object that is not plain data is `["remote", handle]`, where the
handle is a number.
"""

from __future__ import annotations

import builtins
import json
import os
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from struct import Struct
from typing import Any

Json = Any
MAX_BYTES = 16 << 20
"""The longest frame. A program that returns more has exceeded its output limit."""

READ_BYTES = 1 << 16
SECONDS = Struct("<d")
"""The format of the time limit that follows the command "r"."""

CLASSES = {n: v for n, v in vars(builtins).items() if isinstance(v, type)} | {"NoneType": type(None)}
SMALL = 1 << 256
"""Smaller integers are JSON numbers. Larger ones are hexadecimal, whose length Python does not limit."""


class WireError(Exception):
    """A frame that cannot be read as a value: malformed, or nested too deeply."""


class TooLong(WireError):
    """A frame longer than `MAX_BYTES`."""


class Closed(Exception):
    """The other side has closed the pipe."""


class NotPlain(TypeError):
    """A value that is not plain data, where only plain data can be passed."""


def refuse(value: object) -> Json:
    """The default of `pack` for a value that is not plain data: raise NotPlain."""
    raise NotPlain(f"a {type(value).__name__} is not plain data and cannot be passed")


def pack(value: object, other: Callable[[object], Json] = refuse) -> Json:
    """The JSON form of a value. An instance of a subclass is packed as its built-in base type.

    other: packs values that are not plain data.
    Raises what `other` raises, and WireError if the value is nested too deeply or contains itself.
    """
    try:
        return _pack(value, other)
    except RecursionError as error:
        raise WireError("the value is nested too deeply") from error


def unpack(packed: Json, remote: Callable[[int], object] | None = None) -> Any:
    """The value of a JSON form. remote: returns the object for a handle. Raises WireError."""
    try:
        return _unpack(packed, remote)
    except (RecursionError, TypeError, ValueError, KeyError, IndexError, InvalidOperation, OverflowError,
            ZeroDivisionError) as error:  # fmt: skip
        raise WireError(f"not a packed value: {type(error).__name__}") from error


def _pack(value: Any, other: Callable[[object], Json]) -> Json:
    kind: Any = type(value)
    if value is None or kind is bool or kind is str or kind is float:
        return value
    if kind is int:
        return value if -SMALL < value < SMALL else ["int", hex(value)]
    if kind is list or kind is tuple or kind is set or kind is frozenset or kind is deque:
        return [kind.__name__, *(_pack(item, other) for item in value)]
    if kind is dict or kind is OrderedDict or kind is Counter:
        return [kind.__name__, *(_pack(part, other) for pair in value.items() for part in pair)]
    if kind is defaultdict:
        return _pack(dict(value), other)
    if kind is bytes or kind is bytearray:
        return [kind.__name__, value.hex()]
    if kind is complex:
        return ["complex", value.real, value.imag]
    if kind is range:
        return ["range", *(_pack(n, other) for n in (value.start, value.stop, value.step))]
    if kind is Fraction:
        return ["Fraction", *(_pack(n, other) for n in (value.numerator, value.denominator))]
    if kind is Decimal:
        return ["Decimal", str(value)]
    if kind is datetime or kind is date:
        return [kind.__name__, value.isoformat()]
    if kind is timedelta:
        return ["timedelta", value.days, value.seconds, value.microseconds]
    if kind is type and CLASSES.get(name := str(value.__name__)) is value:
        return ["class", name]
    return _pack_base(value, other)


def _pack_base(value: Any, other: Callable[[object], Json]) -> Json:
    """Pack an instance of a subclass as its built-in base type, read with that type's own methods."""
    if isinstance(value, int):
        return _pack(int.__index__(value), other)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    for base in (list, tuple, set, frozenset):
        if isinstance(value, base):
            items: Any = base.__iter__
            return _pack(base(items(value)), other)
    if isinstance(value, dict):
        return _pack(dict(dict.items(value)), other)
    return other(value)


def _pairs(parts: Iterable[Any]) -> list[tuple[Any, Any]]:
    items = iter(parts)
    return list(zip(items, items, strict=True))


def _whole(parts: list[Any]) -> list[int]:
    """Only integers: converting a string such as "1e999999999" to a fraction would never end."""
    if not all(type(part) is int for part in parts):
        raise WireError("not integers")
    return parts


_BUILD: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "dict": lambda parts: dict(_pairs(parts)),
    "OrderedDict": lambda parts: OrderedDict(_pairs(parts)),
    "Counter": lambda parts: Counter(dict(_pairs(parts))),
    "int": lambda parts: int(parts[0], 16),
    "bytes": lambda parts: bytes.fromhex(parts[0]),
    "bytearray": lambda parts: bytearray.fromhex(parts[0]),
    "complex": lambda parts: complex(*map(float, parts)),
    "range": lambda parts: range(*_whole(parts)),
    "Fraction": lambda parts: Fraction(*_whole(parts)),
    "Decimal": lambda parts: Decimal(parts[0]),
    "datetime": lambda parts: datetime.fromisoformat(parts[0]),
    "date": lambda parts: date.fromisoformat(parts[0]),
    "timedelta": lambda parts: timedelta(*_whole(parts)),
    "class": lambda parts: CLASSES[parts[0]],
}


def _unpack(packed: Json, remote: Callable[[int], object] | None) -> Any:
    if not isinstance(packed, list):
        if isinstance(packed, dict):
            raise WireError("a JSON object is not a packed value")
        return packed
    tag, *parts = packed
    if tag == "remote":
        if remote is None or type(parts[0]) is not int:
            raise WireError("a handle where only plain data is allowed")
        return remote(parts[0])
    return _BUILD[tag]([_unpack(part, remote) for part in parts])


_ENCODER = json.JSONEncoder(check_circular=False)


class Pipe:
    """Frames of JSON over a file descriptor: four bytes with the length, then the text."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._ahead = bytearray()

    def send(self, message: Json) -> None:
        """Send one frame. Raises Closed; TooLong or WireError if the message cannot be sent at all."""
        try:
            data = _ENCODER.encode(message).encode("ascii")
        except (RecursionError, ValueError) as error:
            raise WireError("the value is nested too deeply") from error
        if len(data) > MAX_BYTES:
            raise TooLong(f"{len(data)} bytes in one message")
        view = memoryview(len(data).to_bytes(4, "big") + data)
        try:
            while view:
                view = view[os.write(self.fd, view):]
        except OSError as error:
            raise Closed from error

    def receive(self) -> Json:
        """Read one frame. Raises Closed, WireError if it is not JSON, TooLong if it exceeds `MAX_BYTES`."""
        size = int.from_bytes(self._read(4), "big")
        if size > MAX_BYTES:
            raise TooLong(f"{size} bytes in one message")
        try:
            return json.loads(self._read(size))
        except (ValueError, RecursionError) as error:
            raise WireError("not JSON") from error

    def _read(self, size: int) -> bytes:
        while len(self._ahead) < size:
            try:
                part = os.read(self.fd, READ_BYTES)
            except OSError as error:
                raise Closed from error
            if not part:
                raise Closed
            self._ahead += part
        data = bytes(self._ahead[:size])
        del self._ahead[:size]
        return data
