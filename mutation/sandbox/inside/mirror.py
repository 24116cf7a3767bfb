"""The tests' side of a program's own objects: classes whose instances stand for objects in its process.

Each class that a program defines is mirrored by a class with the same name, the same bases and the same
special methods, so that `isinstance`, `except`, `len` and the like do what they do in one process. The
mirror has none of the program's code: what is asked of an instance is asked of the object itself, in the
program's process. An instance of a class that is derived from a built-in type (a named tuple, say) has its
data here, and what the class does not override is done here.

A program is never asked what would itself be the verdict: whether its object equals something, is less, is
true or contains something. Where its class leaves that to Python, or to `dataclasses`, it is decided here,
on plain data. Where it has a method of its own, the tests are refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn, Protocol

from mutation.sandbox.inside.specials import BINARY, DATA, DECIDING, OPERATORS, WAITING


class Refused(BaseException):
    """The tests do what cannot be carried to the program: their fault, not the program's."""


class Link(Protocol):
    """What a mirror needs of the connection to the program (`rebuild.Rebuilder`)."""

    ask: Callable[..., Any]
    refuse: Callable[[str], NoReturn]
    seeded: bool

    def knows(self, value: object) -> bool: ...

    def class_of(self, value: object) -> type: ...

    def fields(self, value: object) -> list[Any]: ...

    def data_fields(self, kind: type) -> dict[str, Any]: ...


class Mirror(type):
    """The class of the classes that stand for a program's.

    link: the connection to the program whose tests are running. making: a mirror is being made.
    """

    link: Link
    making = False

    def __new__(cls, name: str, bases: tuple[type, ...], names: dict[str, Any], **_: object) -> Any:
        if not Mirror.making:
            Mirror.link.refuse(f"the tests derive a class ({name}) from one of the program")
        return super().__new__(cls, name, bases, names)

    def __call__(cls, *arguments: object, **keywords: object) -> Any:
        return Mirror.link.ask("call", cls, *arguments, **keywords)

    def __getattribute__(cls, name: str) -> Any:
        if name in _CLASS_NAMES or not Mirror.link.knows(cls):
            return type.__getattribute__(cls, name)
        if name == "__dataclass_fields__":
            return Mirror.link.data_fields(cls)
        return Mirror.link.ask("get", cls, name)

    def __setattr__(cls, name: str, value: object) -> None:
        if name == "__abstractmethods__" or not Mirror.link.knows(cls):
            type.__setattr__(cls, name, value)
        else:
            Mirror.link.ask("set", cls, name, value)

    def __delattr__(cls, name: str) -> None:
        Mirror.link.ask("delete", cls, name)


_CLASS_NAMES = frozenset("""
    __name__ __qualname__ __class__ __bases__ __base__ __mro__ mro __subclasses__ __dict__ __flags__
    __basicsize__ __dictoffset__ __itemsize__ __weakrefoffset__ __new__ __init__ __call__ __instancecheck__
    __subclasscheck__ __subclasshook__ __hash__ __eq__ __ne__ __abstractmethods__ __copy__ __deepcopy__
    __reduce_ex__ __getattribute__ __setattr__ __delattr__
    """.split())  # fmt: skip
"""Attributes of a class that are its mirror's own."""
_NATIVE_NAMES = frozenset({
    *"__copy__ __deepcopy__ __reduce_ex__ __reduce__ __getattribute__ __setattr__ __delattr__".split(),
    *"__sizeof__ __init_subclass__ __subclasshook__ __new__ __init__".split(), *DECIDING, *OPERATORS,
})  # fmt: skip
"""Attributes of an object that are its mirror's own: an operator that is asked for by name is still one."""


def is_mirror(value: object) -> bool:
    """Whether something stands for an object or class of the program."""
    return isinstance(type(value), Mirror) or isinstance(value, Mirror)


MESSAGE = "<message>"
"""Where a mirrored exception has its message, which the program's own method has made."""
FROM_PROGRAM = "<raised>"
"""Where an exception has what is known of it, if the program raised it."""


def make(bases: tuple[type, ...], about: dict[str, Any]) -> type:
    """The mirror of a class. bases: mirrors and built-in types. about: see `objects.Exporter`."""
    names: dict[str, Any] = {n: _method(n, about) for n in about["specials"]}
    names |= {"__module__": about["module"], "__qualname__": about["name"], "__reduce_ex__": _no_pickle}
    names |= {"__copy__": _copy, "__deepcopy__": _deep_copy} | dict.fromkeys(about["without"])
    if "__eq__" not in names:
        names.pop("__hash__", None)  # equal only to itself, and hashed accordingly
    elif names.get("__hash__") is not None and about.get("frozen"):
        names["__hash__"] = _hash_of_fields
    if any(issubclass(base, BaseException) for base in bases):
        names |= {"__getattr__": _get_of_error, "__str__": _message}
    else:
        data = next((k for base in bases for k in base.__mro__ if k in DATA), None)
        names |= {"__setattr__": _set, "__delattr__": _delete, "__getattribute__": _get}
        if data is None:
            names |= {name: _answered(name) for name in ("__str__", "__repr__", "__dir__")}
        else:
            own = frozenset(dir(data)).difference(about.get("overrides", ()), _NATIVE_NAMES)
            names["__getattribute__"] = _get_with_data(own)
    Mirror.making = True
    try:
        mirror: type = _metaclass(bases, about["meta"])(about["name"], bases, names)
    finally:
        Mirror.making = False
    return mirror


def _metaclass(bases: tuple[type, ...], specials: list[str]) -> type[Mirror]:
    """The metaclass of a mirror. specials: the special methods of the metaclass in the program."""
    metas: list[Any] = [type(base) for base in bases if isinstance(base, Mirror)] or [Mirror]
    nearest = [m for m in metas if not any(m is not other and issubclass(other, m) for other in metas)]
    metas = list(dict.fromkeys(nearest))
    methods = {name: _method(name, {}) for name in specials if name not in ("__call__", "__hash__")}
    methods |= {name: check for name, check in _CHECKS.items() if name in methods}
    has = {name for meta in metas[0].__mro__ if issubclass(meta, Mirror) for name in vars(meta)}
    made: type[Mirror] = metas[0]
    if len(metas) > 1 or not methods.keys() <= has:
        made = type("Mirror", tuple(metas), methods)
    return made


def _method(name: str, about: dict[str, Any]) -> Callable[..., Any]:
    if name in about.get("generated", ()):
        return _compared(name)
    if name in DECIDING:
        return _deciding(name)
    if name in OPERATORS:
        return _operator(name)
    if name in WAITING:
        return _waiting
    if name == "__call__":
        return _call
    return _exit if name == "__exit__" else _answered(name)


# -- what is asked of the program ----------------------------------------------------------------------


@cache
def _answered(name: str) -> Callable[..., Any]:
    def answered(self: object, *arguments: object) -> Any:
        return Mirror.link.ask("apply", name, self, *arguments)

    return answered


def _call(self: object, /, *arguments: object, **keywords: object) -> Any:
    return Mirror.link.ask("call", self, *arguments, **keywords)


def _exit(self: object, kind: type | None, error: BaseException | None, _: object) -> Any:
    """Only an exception of the program's own is its to suppress."""
    if error is not None and FROM_PROGRAM in error.__dict__:
        return Mirror.link.ask("apply", "__exit__", self, kind, error, None)
    Mirror.link.ask("apply", "__exit__", self, None, None, None)
    return False


def _get(self: object, name: str) -> Any:
    if name == "__class__":
        return Mirror.link.class_of(self)
    if name in _NATIVE_NAMES:
        return object.__getattribute__(self, name)
    if name == "__dataclass_fields__":
        return Mirror.link.data_fields(type(self))
    return Mirror.link.ask("get", self, name)


@cache
def _get_with_data(own: frozenset[str]) -> Callable[[object, str], Any]:
    def get(self: object, name: str) -> Any:
        return object.__getattribute__(self, name) if name in own else _get(self, name)

    return get


def _get_of_error(self: object, name: str) -> Any:
    """What the exception of Python does not have."""
    if name.startswith("__") or not Mirror.link.knows(self):
        raise AttributeError(name)
    return Mirror.link.ask("get", self, name)


def _message(self: BaseException) -> str:
    return str(self.__dict__.get(MESSAGE, ""))


def _set(self: object, name: str, value: object) -> None:
    Mirror.link.ask("set", self, name, value)


def _delete(self: object, name: str) -> None:
    Mirror.link.ask("delete", self, name)


def _copy(self: object) -> Any:
    return Mirror.link.ask("copy", self, False)


def _deep_copy(self: object, _: object) -> Any:
    return Mirror.link.ask("copy", self, True)


def _check(name: str) -> Callable[[type, object], Any]:
    """`isinstance` or `issubclass` by a program's class that may recognise more than is derived from it."""
    native: Callable[[type, object], bool] = getattr(type, name)

    def check(cls: type, value: object) -> Any:
        return native(cls, value) or (not Mirror.making and Mirror.link.ask("apply", name, cls, value))

    return check


_CHECKS = {name: _check(name) for name in ("__instancecheck__", "__subclasscheck__")}


def _operator(name: str) -> Callable[..., Any]:
    prefix, plain = OPERATORS[name]

    def operate(self: object, other: object, *more: object) -> Any:
        if more or not isinstance(type(other), Mirror):
            Mirror.link.refuse(
                f"the tests use {BINARY[plain]} on an object of the program's class {type(self).__name__} "
                f"and a {type(other).__name__}, which may be what they expect: the program is not told"
            )
        if prefix == "r":
            return Mirror.link.ask("operate", plain, other, self)
        return Mirror.link.ask("operate", prefix + plain, self, other)

    return operate


# -- what is decided here ------------------------------------------------------------------------------


def _compared(name: str) -> Callable[[object, object], Any]:
    """A comparison that `dataclasses` has written: by the fields, within one class."""
    compare: Callable[[object, object], bool] = getattr(operator, name)

    def compared(self: object, other: object) -> Any:
        if type(self) is not type(other):
            return NotImplemented
        return compare(tuple(Mirror.link.fields(self)), tuple(Mirror.link.fields(other)))

    return compared


def _hash_of_fields(self: object) -> int:
    return hash(tuple(Mirror.link.fields(self)))


def _deciding(name: str) -> Callable[..., NoReturn]:
    def decide(self: object, *_: object) -> NoReturn:
        Mirror.link.refuse(
            f"the tests use {DECIDING[name]} on an object of the program's class {type(self).__name__}, "
            f"whose own {name} would decide the result"
        )

    return decide


def _waiting(self: object) -> NoReturn:
    Mirror.link.refuse("the tests wait for a coroutine of the program: the sandbox has no event loop")


def _no_pickle(self: object, _: object) -> NoReturn:
    Mirror.link.refuse(f"the tests pickle an object of the program's class {type(self).__name__}")
