"""Tests that are written as functions: `test_*`, methods of `Test*` classes, and `unittest.TestCase`."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, Protocol

from mutation.sandbox.inside.mirror import is_mirror
from mutation.sandbox.inside.pytest_names import FIXTURE, arguments_of


class Refuses(Protocol):
    def refuse(self, reason: str) -> object: ...


def run(names: dict[str, Any], only: frozenset[str] | None, border: Refuses) -> None:
    """Run the tests' functions in the order of their definition, each on its own.

    only: the names of those that the tests do not call themselves; None for all.
    """
    own = {
        name: value for name, value in names.items()
        if not is_mirror(value) and getattr(value, "__module__", None) == names["__name__"]
    }  # fmt: skip
    tests = _Tests({n: f for n, f in own.items() if getattr(f, FIXTURE, False)}, border)
    for name, value in own.items():
        if only is not None and name not in only:
            continue
        if isinstance(value, types.FunctionType) and name.startswith("test"):
            tests.call(value, [])
        elif isinstance(value, type) and _is_case(value):
            _run_case(value, border)
        elif isinstance(value, type) and name.startswith("Test"):
            for method in [m for m in dir(value) if m.startswith("test")]:
                instance = value()
                around = [getattr(instance, step, None) for step in ("setup_method", "teardown_method")]
                tests.call(getattr(instance, method), around)


class _Tests:
    """fixtures: functions that make arguments, by name."""

    def __init__(self, fixtures: dict[str, Any], border: Refuses) -> None:
        self._fixtures, self._border = fixtures, border

    def call(self, function: Callable[..., object], around: list[Any]) -> None:
        """Call a test as often as its decorators say. around: what is called before and after it, or None."""
        for given in arguments_of(function):
            for step in around[:1]:
                _ = step and step()
            made, opened = dict(given), list[Any]()
            try:
                result = function(**self._arguments(function, made, opened))
                if inspect.isawaitable(result):
                    self._border.refuse(f"{function.__name__} is a coroutine: the sandbox has no event loop")
            finally:
                for generator in reversed(opened):
                    next(generator, None)
            for step in around[1:]:
                _ = step and step()

    def _arguments(self, function: Any, made: dict[str, Any], opened: list[Any]) -> dict[str, Any]:
        """made: all that has been made for this test. opened: the generators among its fixtures."""
        needed = inspect.signature(function).parameters.values()
        for name in [p.name for p in needed if p.name not in made and p.default is p.empty]:
            if name not in self._fixtures:
                self._border.refuse(f"{function.__name__} takes {name}: the sandbox has no such fixture")
            fixture = self._fixtures[name]
            value = fixture(**self._arguments(fixture, made, opened))
            if inspect.isgenerator(value):
                opened.append(value)
                value = next(value)
            made[name] = value
        return {p.name: made[p.name] for p in needed if p.name in made}


def _is_case(kind: type) -> bool:
    unittest = sys.modules.get("unittest")
    return unittest is not None and issubclass(kind, unittest.TestCase)


def _run_case(kind: Any, border: Refuses) -> None:
    import unittest

    try:
        unittest.defaultTestLoader.loadTestsFromTestCase(kind).debug()
    except unittest.SkipTest as error:
        border.refuse(f"the tests skip a test of {kind.__name__}: {error}")
