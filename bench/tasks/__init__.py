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


def _svamp() -> TextTask:
    from bench.tasks.word_problems import Svamp

    return Svamp()


def _asdiv() -> TextTask:
    from bench.tasks.word_problems import Asdiv

    return Asdiv()


def _gsm_plus() -> TextTask:
    from bench.tasks.word_problems import GsmPlus

    return GsmPlus()


def _theoremqa() -> TextTask:
    from bench.tasks.theoremqa import TheoremQA

    return TheoremQA()


def _bbh() -> TextTask:
    from bench.tasks.bbh import Bbh

    return Bbh()


def _ifeval() -> TextTask:
    from bench.tasks.ifeval import IfEval

    return IfEval()


def _mint_math() -> TextTask:
    from bench.tasks.mint_math import MintMath

    return MintMath()


def _builtin_code() -> Task:
    from bench.tasks.builtin_code import BuiltinCode

    return BuiltinCode()


def _humaneval() -> Task:
    from bench.tasks.humaneval import HumanEval

    return HumanEval()


def _mbpp() -> Task:
    from bench.tasks.mbpp import Mbpp

    return Mbpp()


def _leetcode() -> Task:
    from bench.tasks.leetcode import LeetCode

    return LeetCode()


def _mint_code() -> Task:
    from bench.tasks.mint_code import MintCode

    return MintCode()


def _jsonl() -> TextTask:
    from bench.tasks.jsonl import Jsonl

    return Jsonl()


TEXT_TASKS: dict[str, Callable[[], TextTask]] = {
    "builtin": _builtin, "gsm8k": _gsm8k, "math": _math, "svamp": _svamp, "asdiv": _asdiv,
    "gsm_plus": _gsm_plus, "theoremqa": _theoremqa, "bbh": _bbh, "ifeval": _ifeval, "mint_math": _mint_math,
    "jsonl": _jsonl,
}  # fmt: skip
"""Tasks whose answers are compared with a reference answer."""

CODE_TASKS: dict[str, Callable[[], Task]] = {
    "builtin-code": _builtin_code, "humaneval": _humaneval, "mbpp": _mbpp, "leetcode": _leetcode,
    "mint_code": _mint_code,
}  # fmt: skip
"""Tasks whose answers are programs, graded by running tests."""

TASKS: dict[str, Callable[[], Task]] = {**TEXT_TASKS, **CODE_TASKS}
"""Every task that the command lines know."""
