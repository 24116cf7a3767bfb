"""Plain data between processes: the only thing that passes between a program and its tests.

A value is packed into JSON by its exact built-in type, sent as one frame, and rebuilt on the other side, so
a method that a program defines never runs where its results are compared. Unlike pickle and marshal, a
frame can contain nothing but data, whatever bytes a program writes. Every JSON array is a tag with its
content: a list is `["list", number, ...]`. The number is 0, or names a container that both sides have (see
`shared`). What is not plain data is packed and rebuilt by the caller, under tags of its own.
"""

from __future__ import annotations

import builtins
import datetime
import gc
import json
import os
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from struct import Struct
from typing import Any

from mutation.sandbox.inside.shared import MUTABLE, Shared, contents, refill

Json = Any
MAX_BYTES = 16 << 20
"""The longest frame. A program that returns more has exceeded its output limit."""

READ_BYTES = 1 << 16
SECONDS = Struct("<d")
"""The format of the time limit that follows the command "r"."""

SMALL = 1 << 256
"""Smaller integers are JSON numbers. Larger ones are hexadecimal, whose length Python does not limit."""

CLASSES = {name: value for name, value in vars(builtins).items() if isinstance(value, type)}
CLASSES |= {
    kind.__name__: kind
    for kind in (type(None), Counter, OrderedDict, defaultdict, deque, Decimal, Fraction, datetime.date,
                 datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone)
}  # fmt: skip
"""Classes that both sides have, by name."""
VIEWS = {
    type(getattr(kind(), name)()): (kind.__name__, name)
    for kind in (dict, OrderedDict) for name in ("keys", "values", "items")
}  # fmt: skip
"""The types of dictionary views: the type of dictionary, and the method that makes the view."""


UNREADABLE = (
    RecursionError, TypeError, ValueError, LookupError, InvalidOperation, ArithmeticError, AttributeError
)  # fmt: skip
"""What rebuilding a malformed value raises."""


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


def unknown(tag: str, parts: list[Json]) -> object:
    """The default of `unpack` for what is not plain data: raise WireError."""
    raise WireError("an object where only plain data is allowed")


def pack(value: object, other: Callable[[Any], Json] = refuse, shared: Shared | None = None) -> Json:
    """The JSON form of a value.

    other: packs values whose exact type is not one of plain data. shared: where containers are numbered.
    Raises what `other` raises, and WireError if the value is nested too deeply.
    """
    try:
        return Packer(other, shared).pack(value)
    except RecursionError as error:
        raise WireError("the value is nested too deeply") from error


def unpack(
    packed: Json, build: Callable[[str, list[Json]], object] = unknown, shared: Shared | None = None
) -> Any:
    """The value of a JSON form. build: makes what is not plain data, from its tag and parts.

    Raises WireError.
    """
    try:
        return Unpacker(build, shared).unpack(packed)
    except UNREADABLE as error:
        raise WireError(f"not a packed value: {type(error).__name__}") from error


class Packer:
    """`pack`, for many values. It lets RecursionError pass."""

    def __init__(self, other: Callable[[Any], Json], shared: Shared | None) -> None:
        self.other, self.shared = other, shared

    def pack(self, value: Any) -> Json:
        kind = type(value)
        if kind in _SCALARS:
            return value
        if kind is int:
            return value if -SMALL < value < SMALL else ["int", hex(value)]
        if kind in MUTABLE:
            return self.container(value)
        pack = _PACK.get(kind)
        return self.other(value) if pack is None else pack(self, value)

    def container(self, value: Any) -> Json:
        number = 0
        if self.shared is not None:
            if number := self.shared.numbers.get(id(value), 0):
                return ["same", number]
            number = self.shared.add(value)
        return [type(value).__name__, number, *self.all(contents(value))]

    def all(self, values: list[Any]) -> list[Json]:
        kinds = set(map(type, values))
        if kinds <= _SCALARS or (kinds == _INT and min(values) > -SMALL and max(values) < SMALL):
            return values
        return [self.pack(value) for value in values]

    def tuple(self, value: tuple[Any, ...]) -> Json:
        return ["tuple", *self.all(list(value))]

    def frozenset(self, value: frozenset[Any]) -> Json:
        return ["frozenset", *self.all(list(value))]

    def view(self, value: Any) -> Json:
        """A view is sent with the dictionary that it shows, so that it goes on showing it."""
        mapping = next((x for x in gc.get_referents(value) if isinstance(x, dict)), dict(value.mapping))
        return ["view", VIEWS[type(value)][1], self.pack(mapping)]

    def mapping_proxy(self, value: Any) -> Json:
        mapping = next((x for x in gc.get_referents(value) if isinstance(x, dict)), dict(value))
        return ["mappingproxy", self.pack(mapping)]

    def datetime(self, value: Any) -> Json:
        if value.tzinfo is None or type(value.tzinfo) is datetime.timezone:
            return [type(value).__name__, value.isoformat()]
        return self.other(value)

    def slice(self, value: slice) -> Json:
        return ["slice", *self.all([value.start, value.stop, value.step])]

    def class_(self, value: type) -> Json:
        if CLASSES.get(name := value.__name__) is value:
            return ["class", name]
        return self.other(value)


_SCALARS = frozenset({type(None), bool, str, float})
_INT = frozenset({int})
_PACK: dict[type, Callable[[Packer, Any], Json]] = {
    tuple: Packer.tuple,
    frozenset: Packer.frozenset,
    bytes: lambda _, value: ["bytes", value.hex()],
    complex: lambda _, value: ["complex", value.real, value.imag],
    range: lambda self, value: ["range", *self.all([value.start, value.stop, value.step])],
    slice: Packer.slice,
    type(...): lambda *_: ["Ellipsis"],
    type(NotImplemented): lambda *_: ["NotImplemented"],
    Fraction: lambda self, value: ["Fraction", *self.all([value.numerator, value.denominator])],
    Decimal: lambda _, value: ["Decimal", str(value)],
    datetime.date: lambda _, value: ["date", value.isoformat()],
    datetime.datetime: Packer.datetime,
    datetime.time: Packer.datetime,
    datetime.timedelta: lambda _, value: ["timedelta", value.days, value.seconds, value.microseconds],
    datetime.timezone: lambda self, value: ["timezone", self.pack(value.utcoffset(None))],
    types.MappingProxyType: Packer.mapping_proxy,
    type: Packer.class_,
    **dict.fromkeys(VIEWS, Packer.view),
}


class Unpacker:
    """`unpack`, for many values. It lets the errors in `UNREADABLE` pass."""

    def __init__(self, build: Callable[[str, list[Json]], object], shared: Shared | None) -> None:
        self.build, self.shared = build, shared

    def unpack(self, packed: Json) -> Any:
        if not isinstance(packed, list):
            if isinstance(packed, dict):
                raise WireError("a JSON object is not a packed value")
            return packed
        tag = packed[0]
        if tag == "same":
            return self.known(packed[1])
        if (kind := _CONTAINERS.get(tag)) is not None:
            value, number = kind(), packed[1]
            if number != 0:
                if self.shared is None or type(number) is not int or number in self.shared.objects:
                    raise WireError("a container with a number that it cannot have")
                self.shared.add(value, number)
            if kind is list:
                value += self.all(packed[2:])
            else:
                refill(value, self.all(packed[2:]))
            return value
        if (build := _BUILD.get(tag)) is not None:
            return build(self.all(packed[1:]))
        return self.build(tag, packed[1:])

    def all(self, parts: list[Json]) -> list[Any]:
        kinds = set(map(type, parts))
        return [self.unpack(part) for part in parts] if list in kinds or dict in kinds else parts

    def known(self, number: Json) -> Any:
        if self.shared is None or type(number) is not int:
            raise WireError("a number where only plain data is allowed")
        return self.shared.objects[number]


def _whole(parts: list[Any]) -> list[int]:
    """Only integers: converting a string such as "1e999999999" to a fraction would never end."""
    if not all(type(part) is int for part in parts):
        raise WireError("not integers")
    return parts


def _view(parts: list[Any]) -> Any:
    name, mapping = parts
    if name not in ("keys", "values", "items") or not isinstance(mapping, dict):
        raise WireError("not a view")
    kind = OrderedDict if isinstance(mapping, OrderedDict) else dict
    return getattr(kind, name)(mapping)


_CONTAINERS: dict[str, Any] = {kind.__name__: kind for kind in MUTABLE}
_BUILD: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "frozenset": frozenset,
    "int": lambda parts: int(parts[0], 16),
    "bytes": lambda parts: bytes.fromhex(parts[0]),
    "complex": lambda parts: complex(*map(float, parts)),
    "range": lambda parts: range(*_whole(parts)),
    "slice": lambda parts: slice(*parts),
    "Ellipsis": lambda _: ...,
    "NotImplemented": lambda _: NotImplemented,
    "Fraction": lambda parts: Fraction(*_whole(parts)),
    "Decimal": lambda parts: Decimal(parts[0]),
    "date": lambda parts: datetime.date.fromisoformat(parts[0]),
    "datetime": lambda parts: datetime.datetime.fromisoformat(parts[0]),
    "time": lambda parts: datetime.time.fromisoformat(parts[0]),
    "timedelta": lambda parts: datetime.timedelta(*_whole(parts)),
    "timezone": lambda parts: datetime.timezone(parts[0]),
    "mappingproxy": lambda parts: types.MappingProxyType(parts[0]),
    "view": _view,
    "class": lambda parts: CLASSES[parts[0]],
}

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
