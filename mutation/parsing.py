"""Python's parser, safe to call from several threads, and the lines that it counts."""

from __future__ import annotations

import ast
from io import StringIO
from threading import Lock

_PARSING = Lock()


def parse(program: str) -> ast.Module:
    """`ast.parse`, one thread at a time. Raises what it raises.

    CPython counts the depth of the tree that it builds for the whole interpreter, not for each thread. Two
    threads that parse at once can therefore end in "SystemError: AST constructor recursion depth mismatch"
    (seen with 3.11.7, under load; https://github.com/python/cpython/issues/106905).
    """
    with _PARSING:
        return ast.parse(program)


def source_lines(program: str) -> list[str]:
    """The lines of a program, with their ends, as `ast` numbers them.

    `str.splitlines` also ends lines at form feeds and at the separators of Unicode, which may be in strings.
    """
    return list(StringIO(program, newline=""))
