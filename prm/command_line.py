"""Between command lines and requests, for command modules and for the command recorded beside results."""

from __future__ import annotations

import shlex
from collections.abc import Container, Mapping
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def defaults(request: type[DataclassInstance]) -> dict[str, Any]:
    """The defaults of a request's fields, for `ArgumentParser.set_defaults`."""
    return {field.name: field.default for field in fields(request) if field.default is not MISSING}


def field_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Parsed options as field values: lists become tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def urls(text: str) -> tuple[str, ...]:
    """The value of --prm-server: URLs with commas between them. Raises ValueError."""
    given = tuple(url.strip() for url in text.split(","))
    if not all(given):
        raise ValueError(f"takes URL or URL,URL, not {text!r}")
    return given


def command_line(
    module: str,
    request: DataclassInstance,
    *,
    options: Mapping[str, str] = MappingProxyType({}),
    omit: Container[str] = (),
) -> str:
    """`python -m MODULE` with an option for each field that is not at its default.

    options: the options whose names differ from their fields', by field. omit: fields to leave out.
    """
    words = ["python", "-m", module]
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name in omit or value == field.default:
            continue
        words.append(options.get(field.name, f"--{field.name.replace('_', '-')}"))
        if value is not True:
            words += map(str, value) if isinstance(value, tuple) else [str(value)]
    return shlex.join(words)
