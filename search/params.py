"""Strategies by name and parameters, given as text on a command line; checked before anything is spent."""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from difflib import get_close_matches
from textwrap import wrap
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from search.errors import UsageError
from search.strategies import STRATEGIES
from search.tree import Strategy


def make_strategy(name: str, settings: Mapping[str, str] | None = None) -> Strategy:
    """Create the strategy `name` with parameters such as {"width": "4"}.

    Raises UsageError for an unknown name or parameter, with the closest known ones, and for a value
    that the parameter does not take.
    """
    settings = settings or {}
    if name not in STRATEGIES:
        raise UsageError(f"unknown strategy {name!r}{nearest(name, STRATEGIES)}")
    kind: Any = STRATEGIES[name]
    hints = {f.name: get_type_hints(kind)[f.name] for f in fields(kind)}
    for param in settings:
        if param not in hints:
            raise UsageError(f"{name} has no parameter {param!r}{nearest(param, hints)}")
    values = {param: _parse(f"{name}: {param}", text, hints[param]) for param, text in settings.items()}
    try:
        strategy: Strategy = kind(**values)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error
    return strategy


def has_param(name: str, param: str) -> bool:
    """True if the strategy `name` has the parameter `param`."""
    kind: Any = STRATEGIES[name]
    return any(field.name == param for field in fields(kind))


def params(strategy: Strategy) -> dict[str, Any]:
    """A strategy's parameters and their values, defaults included."""
    return asdict(strategy)  # type: ignore[call-overload,no-any-return]


def with_params(strategy: Strategy, values: Mapping[str, Any]) -> Strategy:
    """A copy of the strategy with some parameters changed."""
    changed: Strategy = replace(strategy, **values)  # type: ignore[type-var]
    return changed


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: the closest of `names`, then all of them."""
    names = sorted(names)
    close = get_close_matches(name, names, n=2, cutoff=0.5)
    meant = f": did you mean {' or '.join(close)}?" if close else ";"
    return f"{meant} there is {', '.join(names)}"


def describe() -> str:
    """All strategies with their parameters and defaults, for --help."""
    lines = []
    for name, kind in STRATEGIES.items():
        given: Any = kind
        shown = [_shown(f.name, f.default, get_type_hints(kind)[f.name]) for f in fields(given)]
        whole = wrap("  ".join(shown), 78)
        lines += [f"  {'' if at else name:<17}{line}" for at, line in enumerate(whole)]
    return "\n".join(lines)


def _shown(name: str, default: Any, hint: Any) -> str:
    """A parameter with its default; a choice lists the default first, e.g. "neutral=defer|accept|reject"."""
    if get_origin(hint) is Literal:
        return f"{name}=" + "|".join([default, *(option for option in get_args(hint) if option != default)])
    return f"{name}={'none' if default is None else default}"


def _parse(name: str, text: str, hint: Any) -> Any:
    """`text` as a value of the type `hint`: int, float, bool, a Literal, or one of these or None."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if type(None) in options and text.lower() == "none":
        return None
    [kind] = [option for option in options if option is not type(None)]
    if get_origin(kind) is Literal:
        if text in get_args(kind):
            return text
        raise UsageError(f"{name} is one of {', '.join(get_args(kind))}, not {text!r}")
    takes = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
    try:
        value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        if not math.isfinite(value):
            raise ValueError
    except (ValueError, KeyError):
        or_none = " or none" if type(None) in options else ""
        raise UsageError(f"{name} takes {takes}{or_none}, not {text!r}") from None
    return value
