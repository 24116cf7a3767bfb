"""The benchmarks by name. Your own problems need no code: the task `jsonl` reads any problems and answers.

Importing this imports no task; a task imports `datasets` and math-verify when it needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.tasks.base import Task, TextTask


def _builtin() -> TextTask:
    from bench.tasks.builtin import Builtin

    return Builtin()


def _gsm8k() -> TextTask:
    from bench.tasks.gsm8k import Gsm8k

    return Gsm8k()


def _math() -> TextTask:
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


def _jsonl() -> TextTask:
    from bench.tasks.jsonl import Jsonl

    return Jsonl()


TEXT_TASKS: dict[str, Callable[[], TextTask]] = {
    "builtin": _builtin, "gsm8k": _gsm8k, "math": _math, "jsonl": _jsonl
}  # fmt: skip
"""Tasks whose answers are compared with a reference answer."""

CODE_TASKS: dict[str, Callable[[], Task]] = {
    "builtin-code": _builtin_code, "humaneval": _humaneval, "mbpp": _mbpp
}  # fmt: skip
"""Tasks whose answers are programs, graded by running tests."""

TASKS: dict[str, Callable[[], Task]] = {**TEXT_TASKS, **CODE_TASKS}
"""Every task that the command lines know."""
