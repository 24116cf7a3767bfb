"""What tests commonly use of pytest, which is not in the sandbox: raises, approx, parametrize, fixture.

Whatever else of it they use refuses them, by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from numbers import Number
from typing import Any, NoReturn

from mutation.sandbox.inside.mirror import Mirror

PARAMETERS, FIXTURE = "<parameters>", "<fixture>"
"""Where a function has what its decorators have said of it."""


class Pytest:
    """Stands for the module."""

    def __init__(self) -> None:
        self.mark = _Marks()

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        Mirror.link.refuse(f"the tests use pytest.{name}, which the sandbox does not have")

    def raises(self, kinds: Any, *call: Any, match: str | None = None, **keywords: Any) -> _Raises:
        caught = _Raises(kinds, match)
        if call:
            with caught:
                call[0](*call[1:], **keywords)
        return caught

    def approx(self, expected: Any, rel: float | None = None, abs: float | None = None) -> _Approx:
        return _Approx(expected, 1e-6 if rel is None and abs is None else rel or 0.0, abs or 1e-12)

    def fixture(self, function: Any = None, **_: object) -> Any:
        def mark(made: Any) -> Any:
            setattr(made, FIXTURE, True)
            return made

        return mark if function is None else mark(function)

    def param(self, *values: Any, **_: object) -> tuple[Any, ...]:
        return values

    def fail(self, reason: str = "", **_: object) -> NoReturn:
        raise AssertionError(reason)


class _Raises:
    """`pytest.raises`, and what it gives: the exception as `value`."""

    def __init__(self, kinds: Any, match: str | None) -> None:
        self._kinds, self._match = kinds, match
        self.value: BaseException | None = None
        self.type: type | None = None

    def __enter__(self) -> _Raises:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if kind is None:
            raise AssertionError(f"nothing of {self._kinds} was raised")
        if not issubclass(kind, self._kinds):
            return False
        self.value, self.type = error, kind
        if self._match is not None and not re.search(self._match, str(error)):
            raise AssertionError(f"{str(error)!r} does not match {self._match!r}")
        return True

    def match(self, pattern: str) -> bool:
        if not re.search(pattern, str(self.value)):
            raise AssertionError(f"{str(self.value)!r} does not match {pattern!r}")
        return True


class _Approx:
    """A number, or numbers in a sequence or mapping, that may differ a little."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expected: Any, rel: float, absolute: float) -> None:
        self._expected, self._rel, self._abs = expected, rel, absolute

    def __eq__(self, other: object) -> bool:
        return self._near(self._expected, other)

    def __repr__(self) -> str:
        return f"approx({self._expected!r})"

    def _near(self, want: Any, got: Any) -> bool:
        if isinstance(want, Mapping):
            same = isinstance(got, Mapping) and want.keys() == got.keys()
            return same and all(self._near(want[key], got[key]) for key in want)
        if isinstance(want, Sequence) and not isinstance(want, str | bytes):
            same = isinstance(got, Sequence) and len(want) == len(got)
            return same and all(map(self._near, want, got))
        if isinstance(want, bool) or not (isinstance(want, Number) and isinstance(got, Number)):
            return bool(want == got)
        difference: Any = abs(want - got)  # type: ignore[operator]
        return bool(want == got or difference <= max(self._rel * abs(want), self._abs))  # type: ignore[arg-type]


class _Marks:
    """`pytest.mark`: parametrize counts, skipping refuses the tests, other marks mean nothing here."""

    def parametrize(self, names: Any, values: Any, **_: object) -> Callable[[Any], Any]:
        keys = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        rows = [dict(zip(keys, row if len(keys) > 1 else _single(row), strict=True)) for row in values]

        def mark(function: Any) -> Any:
            setattr(function, PARAMETERS, [*getattr(function, PARAMETERS, ()), rows])
            return function

        return mark

    def __getattr__(self, name: str) -> Any:
        if name in ("skip", "skipif", "xfail", "usefixtures", "asyncio"):
            Mirror.link.refuse(f"the tests use pytest.mark.{name}, which the sandbox does not have")
        return lambda *given, **_: given[0] if given and callable(given[0]) else lambda function: function


def _single(row: Any) -> tuple[Any]:
    return row if isinstance(row, tuple) and len(row) == 1 else (row,)


def arguments_of(function: Any) -> Iterator[dict[str, Any]]:
    """The arguments of each call that the decorators of a test ask for."""
    for rows in product(*getattr(function, PARAMETERS, ())):
        merged: dict[str, Any] = {}
        for row in rows:
            merged |= row
        yield merged
