"""What tests do to their own process, and a program in another process cannot see."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import lru_cache

CALLS = {
    "setrecursionlimit": "set the recursion limit", "setlocale": "set the locale",
    "tzset": "set the time zone",
    "putenv": "set a variable of the environment", "chdir": "change the working folder",
    "mkdir": "make a folder", "makedirs": "make a folder", "write_text": "write a file",
    "write_bytes": "write a file", "touch": "write a file", "TemporaryDirectory": "make a folder",
    "NamedTemporaryFile": "write a file", "mkdtemp": "make a folder", "mkstemp": "write a file",
    "catch_warnings": "collect warnings", "assertWarns": "collect warnings",
    "assertWarnsRegex": "collect warnings", "assertLogs": "collect what is logged",
    "addHandler": "collect what is logged", "getcontext": "use the context of decimal numbers",
    "localcontext": "use the context of decimal numbers", "setcontext": "use the context of decimal numbers",
    "patch": "patch a name",
}  # fmt: skip
"""Functions whose effect stays in one process, by name."""
CARRIED = {"sys.stdin", "sys.stdout", "sys.stderr"}
"""What the program is given when the tests replace it."""


@lru_cache(64)
def unshared(tests: str) -> str:
    """What the tests do that a program cannot see, as a clause; "" if there is no such thing."""
    tree = ast.parse(tests)
    modules = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    } | sys.stdlib_module_names  # fmt: skip
    clause = next((found for node in ast.walk(tree) for found in _clauses(node, modules)), "")
    return clause and f"the tests {clause}, and the program runs in another process"


def _clauses(node: ast.AST, modules: set[str]) -> Iterator[str]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    for target in targets:
        name = _dotted(target)
        if "." in name and name.partition(".")[0] in modules and name not in CARRIED:
            yield f"change {name}"
    if isinstance(node, ast.Call):
        name = _dotted(node.func)
        parts = name.split(".")
        if called := next((CALLS[part] for part in parts if part in CALLS), ""):
            yield f"{called} ({name})"
        if name == "setattr" and node.args and _dotted(node.args[0]) in modules:
            yield f"change {_dotted(node.args[0])}"
        if parts[-1] == "open" and any(_writes(argument) for argument in _modes(node)):
            yield "write a file (open)"


def _dotted(node: ast.expr) -> str:
    """A name with its attributes; of a subscript or call, what it is applied to. "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return _dotted(node.value)
    return _dotted(node.func) if isinstance(node, ast.Call) else ""


def _modes(call: ast.Call) -> list[ast.expr]:
    """Where the mode of `open` stands: the first argument of a path's, the second of the function's."""
    return [*call.args[:2], *(k.value for k in call.keywords if k.arg == "mode")]


def _writes(mode: ast.expr) -> bool:
    text = mode.value if isinstance(mode, ast.Constant) and isinstance(mode.value, str) else ""
    return len(text) <= 4 and set(text) <= set("rwaxbt+") and not set(text).isdisjoint("wax+")
