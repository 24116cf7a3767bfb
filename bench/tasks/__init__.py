"""The benchmarks by name. A user's own task needs none of this: `jsonl` takes any problems and answers.

Importing this imports no task; a task imports `datasets` and math-verify when it needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.tasks.base import Task


def _builtin() -> Task:
    from bench.tasks.builtin import Builtin

    return Builtin()


def _gsm8k() -> Task:
    from bench.tasks.gsm8k import Gsm8k

    return Gsm8k()


def _math() -> Task:
    from bench.tasks.math import Math

    return Math()


def _builtin_code() -> Task:
    from bench.tasks.builtin_code import BuiltinCode

    return BuiltinCode()


def _humaneval() -> Task:
    from bench.tasks.humaneval import HumanEval

    return HumanEval()


def _mbpp() -> Task:
    from bench.tasks.mbpp import Mbpp

    return Mbpp()


def _jsonl() -> Task:
    from bench.tasks.jsonl import Jsonl

    return Jsonl()


TASKS: dict[str, Callable[[], Task]] = {
    "builtin": _builtin,
    "gsm8k": _gsm8k,
    "math": _math,
    "builtin-code": _builtin_code,
    "humaneval": _humaneval,
    "mbpp": _mbpp,
    "jsonl": _jsonl,
}
"""Every task that the command lines know, by name."""
