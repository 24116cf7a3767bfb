"""The program's side of its own objects: how it describes those that the tests get to see.

An object without data is a number, with its class. A class is described once: name, bases, the special
methods that it has. See `mirror` for what the tests make of it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

from mutation.sandbox.inside.shared import MUTABLE, Shared, contents
from mutation.sandbox.inside.specials import DATA, DECIDING, KNOWN, is_native, plain, specials_of
from mutation.sandbox.inside.wire import Json, Packer, Unpacker, WireError

GENERATED = "<string>"
"""The file name of the methods that `dataclasses` writes."""
UNNAMED: dict[type, tuple[str, ...]] = {
    OSError: ("filename", "filename2"), ImportError: ("name", "path"), NameError: ("name",),
    AttributeError: ("name", "obj"), BaseException: ("__notes__",),
}  # fmt: skip
"""Attributes of built-in exceptions that are not made from their arguments."""
COMPARING = ("__eq__", "__lt__", "__le__", "__gt__", "__ge__")


class Exporter:
    """Packs the program's objects, and finds those that the tests refer to."""

    def __init__(self) -> None:
        self.shared = Shared(1)
        self.pack = Packer(self._other, self.shared).pack
        self.unpack = Unpacker(self._build, self.shared).unpack

    def _build(self, tag: str, parts: list[Json]) -> object:
        """What the tests pass that is not plain data: a function or class of Python, or an exception."""
        if tag == "named":
            value: Any = importlib.import_module(parts[0])
            for name in parts[1].split("."):
                value = getattr(value, name)
            return value
        if tag == "error":
            return self.unpack(parts[0])(*map(self.unpack, parts[1]))
        raise WireError(f"the tests sent {tag}")

    def _other(self, value: Any) -> Json:
        kind = type(value)
        if number := self.shared.numbers.get(id(value), 0):
            return ["same", number]
        if KNOWN.get(kind.__name__) is kind and kind is not type:
            return ["object", self.shared.keep(value), ["type", kind.__name__]]
        if issubclass(kind, type):
            return self._class(value)
        if issubclass(kind, BaseException):
            return self.error(value)
        number = self.shared.keep(value)
        described = self._class(kind)
        if (base := next((k for k in kind.__mro__ if k in DATA), None)) is None:
            return ["object", number, described, *self._frozen(value)]
        if base not in MUTABLE:
            return ["object", number, described, self.pack(plain(base, value))]
        self.shared.add(value, number, lasting=True)
        return ["object", number, described, *map(self.pack, contents(value))]

    def _frozen(self, value: Any) -> list[Json]:
        """The fields of a data class that cannot change, so that it can be a key of a dictionary."""
        source, fields = _fields(type(value))
        frozen = source is not None and vars(source)["__dataclass_params__"].frozen
        return [self.pack(getattr(value, name)) for name in fields] if frozen else []

    def _class(self, kind: type) -> Json:
        if KNOWN.get(kind.__name__) is kind:
            return ["type", kind.__name__]
        if is_native(kind):
            return ["class", kind.__name__]
        if number := self.shared.numbers.get(id(kind), 0):
            return ["same", number]
        number = self.shared.keep(kind)
        specials = specials_of(kind)
        bases = [self._class(base) for base in kind.__bases__ if base is not object]
        source, fields = _fields(kind)
        about: dict[str, Json] = {
            "name": kind.__name__, "module": str(kind.__module__), "path": kind.__qualname__, "bases": bases,
            "specials": [name for name, value in specials.items() if value is not None],
            "without": [name for name, value in specials.items() if value is None],
            "meta": [] if type(kind) is type else _meta(type(kind)),
            "library": [f"{k.__module__}:{k.__qualname__}" for k in kind.__mro__ if _is_library(k)],
        }  # fmt: skip
        if source is not None:
            about["fields"] = list(fields)
            about["generated"] = [name for name in COMPARING if _is_generated(specials.get(name))]
            about["frozen"] = bool(vars(source)["__dataclass_params__"].frozen)
        if any(base in DATA for base in kind.__mro__):
            about["overrides"] = _overrides(kind)
        return ["own", number, about]

    def error(self, error: BaseException) -> Json:
        """An exception: class, arguments, message, the exceptions that it comes from, its attributes."""
        kind, number = type(error), 0
        if known := self.shared.numbers.get(id(error), 0):
            return ["same", known]
        described, arguments = self._class(kind), [self.pack(argument) for argument in error.args]
        if not is_native(kind):
            number = self.shared.keep(error)
        error.__traceback__ = None  # it would keep the arguments of every call in it
        return [
            "error", number, described, arguments, message_of(error),
            *(self.pack(other) for other in (error.__cause__, error.__context__)),
            {name: self.pack(value) for name, value in dict(_attributes(error)).items()},
        ]  # fmt: skip


def _attributes(error: BaseException) -> Iterator[tuple[str, object]]:
    """The attributes of an exception that are not among its arguments, but for those of its own class."""
    for kind, names in UNNAMED.items():
        if isinstance(error, kind):
            yield from ((name, value) for name in names if (value := getattr(error, name, None)) is not None)
    if is_native(type(error)) or _is_library(type(error)):
        yield from vars(error).items()


def message_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # the program's own __str__
        return ""


def _fields(kind: type) -> tuple[type | None, tuple[str, ...]]:
    """The data class whose generated `__eq__` a class has, and the fields that it compares."""
    source = next((k for k in kind.__mro__ if "__eq__" in vars(k)), object)
    if "__dataclass_params__" not in vars(source) or not _is_generated(vars(source)["__eq__"]):
        return None, ()
    return source, tuple(f.name for f in vars(source)["__dataclass_fields__"].values() if f.compare)


def _meta(kind: type) -> list[str]:
    """The special methods of a metaclass. What the standard library's would decide, Python can decide."""
    methods = specials_of(kind, type)
    library = {n for n, m in methods.items() if _is_library(m)}  # a function has a module as a class has
    return sorted(methods.keys() - (library & DECIDING.keys()))


def _is_generated(method: Any) -> bool:
    return getattr(getattr(method, "__code__", None), "co_filename", "") == GENERATED


def _is_library(value: Any) -> bool:
    """Whether a class or function comes from the standard library, and not from the built-in names."""
    module = str(value.__module__)
    return module != "builtins" and module.partition(".")[0] in sys.stdlib_module_names


def _overrides(kind: type) -> list[str]:
    """Attributes that a class defines although the built-in type that it derives from has them too."""
    names: set[str] = set()
    for base in reversed(kind.__mro__):
        if base is object:
            continue
        names = names.difference(vars(base)) if base in DATA else names.union(vars(base))
    native = next(base for base in kind.__mro__ if base in DATA)
    return sorted(name for name in names if hasattr(native, name) and not name.startswith("__"))
