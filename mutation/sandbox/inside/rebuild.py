"""The tests' side of a program's objects: rebuilds what the program sends (see `objects` and `mirror`)."""

from __future__ import annotations

import sys
import types
from abc import ABCMeta
from collections.abc import Callable
from functools import cache
from itertools import islice
from typing import Any, NoReturn

from mutation.sandbox.inside.mirror import MESSAGE, Mirror, make
from mutation.sandbox.inside.shared import MUTABLE, Shared, refill
from mutation.sandbox.inside.specials import DATA, KNOWN, SPECIALS, is_native, plain, specials_of
from mutation.sandbox.inside.wire import Json, NotPlain, Packer, Unpacker, WireError, pack

MOST_RECORDED = 1000
"""Items of an iterator that are recorded."""


class Rebuilder:
    """Packs what the tests pass, and rebuilds what the program sends. It is the `link` of all mirrors.

    ask, refuse: see `border.Border`. names: the global names of the tests. seeded: the tests have seeded
    `random` since the last request. pack raises NotPlain, which says what the tests pass.
    """

    def __init__(
        self, ask: Callable[..., Any], refuse: Callable[[str], NoReturn], names: dict[str, Any]
    ) -> None:
        self.ask, self.refuse = ask, refuse
        self.shared = Shared(2)
        self.seeded = False
        self._names = names
        self._values: dict[int, list[Any]] = {}
        self._fields: dict[type, list[str]] = {}
        self._library: dict[type, list[type]] = {}
        self.pack = Packer(self._other, self.shared).pack
        self.unpack = Unpacker(self._build, self.shared).unpack
        Mirror.link = self

    def record(self, value: object) -> Json:
        """A value as plain data. An object is its class, with the fields or items that it shows."""
        return pack(value, self._recorded)

    def fields(self, value: object) -> list[Any]:
        """What an object of a data class is compared by."""
        number = self.shared.numbers[id(value)]
        if number in self._values:
            return self._values[number]
        fields: list[Any] = self.ask("fields", value, self._fields[type(value)])
        return fields

    def knows(self, value: object) -> bool:
        """Whether something stands for an object of the program that is running."""
        return id(value) in self.shared.numbers

    def class_of(self, value: object) -> type:
        return _REAL.get(type(value), type(value))

    def data_fields(self, kind: type) -> dict[str, Any]:
        """The fields of a data class, as `dataclasses` keeps them: its functions then work on mirrors."""
        import dataclasses

        fields: dict[str, Any] = {}
        for name, init, compare, shown, by_keyword in self.ask("data_fields", kind):
            made: Any = dataclasses.field(init=init, compare=compare, repr=shown, kw_only=by_keyword)
            made.name, made._field_type = name, dataclasses._FIELD  # type: ignore[attr-defined]
            fields[name] = made
        return fields

    # -- what the tests pass ---------------------------------------------------------------------------

    def _other(self, value: Any) -> Json:
        if number := self.shared.numbers.get(id(value), 0):
            return ["same", number]
        if isinstance(value, BaseException) and is_native(type(value)):
            return ["error", self.pack(type(value)), [self.pack(argument) for argument in value.args]]
        if (name := _name_in_library(value)) is not None:
            return ["named", *name]
        if isinstance(value, type | types.FunctionType):
            kind = "class" if isinstance(value, type) else "function"
            raise NotPlain(f"the tests pass a {kind} of their own to the program: {value.__name__}")
        raise NotPlain(f"the tests pass a {type(value).__name__} to the program, which is not plain data")

    # -- what the program sends ------------------------------------------------------------------------

    def _build(self, tag: str, parts: list[Json]) -> Any:
        match tag, parts:
            case "type", [str(name)]:
                return _known(name)
            case "own", [number, dict(about)]:
                return self._class(self._free(number), about)
            case "object", [number, described, *data]:
                return self._object(self._free(number), self.unpack(described), data)
            case "error", [int(number), described, list(arguments), str(message), cause, context, dict(more)]:
                error = self._error(self.unpack(described), [self.unpack(a) for a in arguments])
                error.__dict__[MESSAGE] = message
                if number:
                    self.shared.keep(error, self._free(number))
                error.__cause__, error.__context__ = self.unpack(cause), self.unpack(context)
                for name, value in more.items():
                    if not name.startswith("__") or name == "__notes__":
                        BaseException.__setattr__(error, name, self.unpack(value))
                return error
        raise WireError(f"the program sent {tag}")

    def _free(self, number: Json) -> int:
        if type(number) is not int or number % 2 == 0 or number in self.shared.objects:
            raise WireError("an object with a number that it cannot have")
        return number

    def _class(self, number: int, about: dict[str, Any]) -> type:
        bases = [base for base in map(self.unpack, about["bases"]) if isinstance(base, type)]
        library = [kind for name in about["library"] if (kind := _in_library(name)) is not None]
        own = _in_library(f"{about['module']}:{about['path']}")
        if own is not None and own in library and issubclass(own, BaseException):
            self.shared.keep(own, number)
            return own
        for names in ("specials", "without", "meta"):
            about[names] = [name for name in about[names] if name in SPECIALS]
        try:
            mirror = make(tuple(bases) or (object,), about)
        except TypeError as error:
            self.refuse(f"the program's class {about['name']} cannot be carried to the tests: {error}")
        self._fields[mirror] = list(about.get("fields", ()))
        self._know(mirror, library)
        self.shared.keep(mirror, number)
        return mirror

    def _know(self, mirror: type, library: list[type]) -> None:
        """Have `isinstance` find the classes of the standard library that a program's class derives from."""
        others: list[type] = []
        for kind in library:
            if isinstance(kind, ABCMeta) and kind.__module__ not in ("abc", "typing"):
                Mirror.making = True  # nothing is asked of the program for it
                try:
                    kind.register(mirror)
                except (TypeError, RuntimeError):  # the two would contain each other
                    others.append(kind)
                finally:
                    Mirror.making = False
            else:
                others.append(kind)
        if others:
            self._library[mirror] = others
            self._names.setdefault("isinstance", self._isinstance)
            self._names.setdefault("issubclass", self._issubclass)

    def _isinstance(self, value: object, kinds: Any) -> bool:
        return isinstance(value, kinds) or self._derives(type(value), kinds)

    def _issubclass(self, kind: Any, kinds: Any) -> bool:
        return issubclass(kind, kinds) or self._derives(kind, kinds)

    def _derives(self, kind: type, kinds: Any) -> bool:
        wanted = kinds if isinstance(kinds, tuple) else (kinds,)
        return any(base in wanted for base in self._library.get(kind, ()))

    def _object(self, number: int, kind: type, data: list[Json]) -> Any:
        if not isinstance(kind, Mirror):
            raise WireError("an object of a class that is not the program's")
        made: Any = kind
        base: Any = next((k for k in made.__mro__ if k in DATA), None)
        value: Any
        if base is None:
            value = object.__new__(made)
            self.shared.keep(value, number)
            if data:
                self._values[number] = [self.unpack(part) for part in data]
        elif base in MUTABLE:
            value = base.__new__(made)
            self.shared.add(value, number, lasting=True)
            refill(value, [self.unpack(part) for part in data])
        else:
            [content] = map(self.unpack, data)
            if type(content) is not base:
                raise WireError("data of another type")
            value = base.__new__(made, content)
            self.shared.keep(value, number)
        return value

    def _error(self, kind: Any, arguments: list[Any]) -> BaseException:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise WireError("an exception of a class that is none")
        try:
            error: BaseException = kind.__new__(kind, *arguments)
            native: Any = next(base for base in kind.__mro__ if is_native(base))
            native.__init__(error, *arguments)
        except (TypeError, ValueError):  # not the arguments that it was made with
            error = Exception() if issubclass(kind, BaseExceptionGroup) else kind.__new__(kind)
        error.args = tuple(arguments)
        return error

    def _recorded(self, value: Any) -> Json:
        kind: Any = type(value)
        if isinstance(kind, Mirror):
            if (base := next((k for k in kind.__mro__ if k in DATA), None)) is not None:
                return pack(plain(base, value), self._recorded)
            if self._fields.get(kind):
                return pack((f"<{kind.__name__}>", *self.fields(value)), self._recorded)
            if "__next__" in vars(kind):
                return pack((f"<{kind.__name__}>", *islice(value, MOST_RECORDED)), self._recorded)
        return f"<{kind.__name__}>"


_REAL: dict[type, type] = {}
"""The classes of Python that mirrors stand for."""


@cache
def _known(name: str) -> type:
    kind, specials = KNOWN[name], specials_of(KNOWN[name])
    mirror = make((object,), {
        "name": name, "module": kind.__module__, "specials": list(specials), "without": [], "meta": [],
    })  # fmt: skip
    _REAL[mirror] = kind
    return mirror


def _in_library(path: str) -> type | None:
    """A class of the standard library, if it has been imported here. unittest's could skip tests."""
    module, _, name = path.partition(":")
    top = module.partition(".")[0]
    if top not in sys.stdlib_module_names or top in ("unittest", "builtins"):
        return None
    value: Any = sys.modules.get(module)
    for part in name.split("."):
        value = getattr(value, part, None)
    return value if isinstance(value, type) else None


_NAMED = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType)


def _name_in_library(value: Any) -> tuple[str, str] | None:
    """The module and name of a function or class of Python's own; None for anything else."""
    if not isinstance(value, _NAMED):
        return None
    owner = getattr(value, "__objclass__", value)
    module, name = owner.__module__, value.__qualname__
    if str(module).partition(".")[0] not in sys.stdlib_module_names:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return (module, name) if found is value else None
