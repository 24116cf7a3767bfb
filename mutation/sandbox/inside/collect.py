"""Tests that are written as functions: `test_*`, methods of `Test*` classes, and `unittest.TestCase`."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, Protocol

from mutation.sandbox.inside.mirror import is_mirror


class Refuses(Protocol):
    def refuse(self, reason: str) -> object: ...


def run(names: dict[str, Any], only: frozenset[str] | None, border: Refuses) -> None:
    """Run the tests' functions in the order of their definition, each on its own.

    only: the names of those that the tests do not call themselves; None for all.
    """
    for name, value in list(names.items()):
        if only is not None and name not in only:
            continue
        if is_mirror(value) or getattr(value, "__module__", None) != names["__name__"]:
            continue
        if isinstance(value, types.FunctionType) and name.startswith("test"):
            _call(value, border)
        elif isinstance(value, type) and _is_case(value):
            _run_case(value, border)
        elif isinstance(value, type) and name.startswith("Test"):
            for method in (m for m in vars(value) if m.startswith("test")):
                instance = value()
                for step in ("setup_method", method, "teardown_method"):
                    if (bound := getattr(instance, step, None)) is not None:
                        _call(bound, border)


def _call(function: Callable[..., object], border: Refuses) -> None:
    needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    if needed:
        border.refuse(f"{function.__name__} takes {needed[0].name}: the sandbox has no fixtures of pytest's")
    if inspect.isawaitable(function()):
        border.refuse(f"{function.__name__} is a coroutine: the sandbox has no event loop")


def _is_case(kind: type) -> bool:
    unittest = sys.modules.get("unittest")
    return unittest is not None and issubclass(kind, unittest.TestCase)


def _run_case(kind: Any, border: Refuses) -> None:
    import unittest

    try:
        unittest.defaultTestLoader.loadTestsFromTestCase(kind).debug()
    except unittest.SkipTest as error:
        border.refuse(f"the tests skip a test of {kind.__name__}: {error}")
