"""Special methods: which of them a class has, and what the tests may do with those of a program.

Both sides use these tables: the program to describe its classes, the tests to stand in for them.
"""

from __future__ import annotations

import builtins
import re
import types
from decimal import Decimal
from fractions import Fraction
from typing import Any

from mutation.sandbox.inside.shared import MUTABLE, contents, refill

DATA = MUTABLE | {int, float, complex, str, bytes, tuple, frozenset, Decimal, Fraction}
"""The built-in types whose subclasses are sent with their data. The tests derive a class from the type."""

ANSWERED = frozenset("""
    __len__ __getitem__ __setitem__ __delitem__ __iter__ __next__ __reversed__ __call__ __str__ __repr__
    __format__ __int__ __float__ __complex__ __index__ __bytes__ __abs__ __neg__ __pos__ __invert__ __round__
    __trunc__ __floor__ __ceil__ __length_hint__ __fspath__ __dir__ __missing__ __enter__ __exit__
    __instancecheck__ __subclasscheck__
    """.split())  # fmt: skip
"""The program answers these: each answer is data, which the tests look at."""

DECIDING = {
    "__eq__": "==", "__ne__": "!=", "__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">=",
    "__bool__": "bool()", "__contains__": "in", "__hash__": "hash()",
}  # fmt: skip
"""A program never answers these: the answer would be the verdict. With what the tests call them."""

BINARY = {
    "add": "+", "sub": "-", "mul": "*", "matmul": "@", "truediv": "/", "floordiv": "//", "mod": "%",
    "divmod": "divmod()", "pow": "**", "lshift": "<<", "rshift": ">>", "and": "&", "xor": "^", "or": "|",
}  # fmt: skip
"""Operators. The program answers if both operands are objects of the program. A plain one may be what the
tests expect."""
OPERATORS = {
    f"__{prefix}{name}__": (prefix, name) for name in BINARY for prefix in ("", "r", "i")
    if (prefix, name) != ("i", "divmod")
}  # fmt: skip

WAITING = frozenset("__await__ __aiter__ __anext__ __aenter__ __aexit__".split())
"""These need an event loop, which a sandbox does not have."""

SPECIALS = frozenset({*ANSWERED, *DECIDING, *OPERATORS, *WAITING})

_EMPTY: tuple[Any, ...] = (
    [], (), "", "\xe9", b"", {}, set(), range(0), range(1 << 70), {}.values(), {}.items()
)  # fmt: skip
KNOWN: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *(value for value in (*vars(types).values(), *vars(builtins).values()) if isinstance(value, type)),
        re.Match, re.Pattern,
        *(type(iter(empty)) for empty in _EMPTY), type(reversed([])),
    )
    if kind not in DATA and not issubclass(kind, BaseException)
}  # fmt: skip
"""Classes of Python whose instances are no data, by name. Both sides have them."""


def specials_of(kind: type, root: type = object) -> dict[str, Any]:
    """The special methods of a class, by name; None for one that it does without (`__hash__ = None`).

    Those that it inherits from `root`, from a type in `DATA` or from a built-in exception are left out.
    """
    own: dict[str, Any] = {}
    for base in reversed(type.mro(kind) if kind is type else kind.__mro__):
        if base is object or base is root:
            continue
        names = SPECIALS.intersection(vars(base))
        if is_native(base):
            for name in names:
                own.pop(name, None)
        else:
            own |= {name: vars(base)[name] for name in names}
    return own


def is_native(kind: type) -> bool:
    """Whether the tests derive their classes from this type itself."""
    return kind in DATA or (issubclass(kind, BaseException) and getattr(builtins, kind.__name__, 0) is kind)


def plain(base: Any, value: Any) -> object:
    """The value of an instance of a subclass, in the built-in type itself."""
    if base is int:
        return int.__index__(value)
    if base is float:
        return float.__float__(value)
    if base is complex:
        return complex(complex.real.__get__(value), complex.imag.__get__(value))
    if base is str:
        return str.__str__(value)
    if base is bytes:
        return bytes.__getitem__(value, slice(None))
    if base is tuple or base is frozenset:
        return base(base.__iter__(value))
    if base in MUTABLE:
        made = base.__new__(base)
        refill(made, contents(value))
        return made
    return base(value)  # Decimal or Fraction
