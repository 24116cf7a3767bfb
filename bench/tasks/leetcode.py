"""LeetCode contest problems as DeepSeek-Coder gives them (Guo et al. 2024, arXiv:2401.14196): 180 problems.

https://github.com/deepseek-ai/DeepSeek-Coder, Evaluation/LeetCode/data/20240121-Jul.jsonl. A row has
"task_id", "prompt_sft" (the problem, then the beginning of `class Solution` in a fence), "test" (assertions
on `my_solution = Solution()`), and "meta", an object with "difficulty".
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from bench.grading.grade import Grade
from bench.tasks.base import Example
from bench.tasks.code import INSTRUCT, SANDBOX, CodeCase, CodeTask
from bench.tasks.prompts import eurus
from bench.tasks.sources import file_in
from mutation.sandbox.verdict import Suite
from prm.data.rows import Row, json_lines
from search.errors import UsageError
from search.prompts import Prompt
from search.types import Problem

ENTRY = "Solution"
CPU_S = 10.0
"""Processor time of a program, in seconds. The authors allow ten by the clock."""
IMPORTS = """\
import collections, copy, datetime, functools, hashlib, heapq, itertools, math, re, string, sys
from typing import *
from collections import *
from functools import *
"""
"""What the authors put before a program, except numpy."""


class LeetCode(CodeTask):
    """`data`: the file, or a folder that holds it. Problems are grouped by difficulty."""

    name = "leetcode"
    test_only = True
    prompts: Mapping[str, Prompt] = MappingProxyType({
        "raw": Prompt("{question}\n```python\n", stop=("```",)), "eurus": eurus.LEETCODE, "chat": INSTRUCT,
    })  # fmt: skip

    def load(self, data: Path | None, limit: int | None) -> list[Example]:
        """The problems. Raises UsageError, also where the sandbox does not run."""
        if data is None:
            raise UsageError("the task leetcode needs 20240121-Jul.jsonl: give it by --data PATH")
        rows = list(islice(json_lines(file_in(data, "20240121-Jul.jsonl")), limit))
        SANDBOX.get()  # refused now rather than at the first grade
        return [self._example(row) for row in rows]

    def grade(self, problem: Problem, answer: str | None) -> Grade:
        return super().grade(problem, None if answer is None else IMPORTS + answer)

    def _example(self, row: Row) -> Example:
        name = f"leetcode/{row.text('task_id')}"
        hidden = {"": Suite(row.text("test"), (ENTRY,), cpu_s=CPU_S)}
        self.cases[name] = CodeCase(name, "", ENTRY, (ENTRY,), hidden, None, ())
        meta = row.fields.get("meta")
        group = str(meta.get("difficulty", "")) if isinstance(meta, dict) else ""
        return Example(Problem(name, row.text("prompt_sft")), "", group)
