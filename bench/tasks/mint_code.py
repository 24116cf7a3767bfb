"""MINT's problems with programs for answers: 45 of HumanEval and 91 of MBPP.

The format is in `bench.tasks.mint`. Beside "id", "prompt" and "reference", a row has the fields of the
benchmark that it comes from, as `bench.tasks.humaneval` and `mutation.mbpp` describe them. "reference" is the
tests: of HumanEval with the call of `check`, of MBPP the three assertions, the first of which is shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from bench.tasks import humaneval, mbpp
from bench.tasks.base import Example
from bench.tasks.code import SANDBOX, CodeAnswers, CodeCase, CodeTask
from bench.tasks.mint import mint_rows, name_of, solution_in
from bench.tasks.prompts.mint import CODE
from mutation.mbpp import plain_lines, question_of, read_problem
from prm.data.rows import Row
from search.errors import UsageError
from search.prompts import Prompt
from search.tree import TextAnswers
from search.types import Answers, Problem

SOURCES = ("humaneval", "mbpp")
CPU_S = 10.0
"""Processor time of a program, in seconds. The authors allow ten by the clock."""
TAG = re.compile(r"</?(?:execute|solution|thought)>", re.IGNORECASE)


class MintCode(CodeTask):
    """`data`: as `mint_rows` takes it. Problems are grouped by source."""

    name = "mint_code"
    test_only = True
    prompts: Mapping[str, Prompt] = MappingProxyType(CODE)

    def load(self, data: Path | None, limit: int | None) -> list[Example]:
        """The problems. Raises UsageError, also where the sandbox does not run."""
        rows = list(islice(mint_rows(self.name, data, SOURCES), limit))
        SANDBOX.get()  # refused now rather than at the first grade
        return [self._example(source, row) for source, row in rows]

    def answers(self, problem: Problem) -> Answers:
        case = self.cases.get(problem.id)
        return TextAnswers() if case is None else _Answers(case)

    def _example(self, source: str, row: Row) -> Example:
        name = name_of(source, row)
        question, case = (_of_humaneval if source == "humaneval" else _of_mbpp)(name, row)
        self.cases[name] = replace(case, hidden={"": replace(case.hidden[""], cpu_s=CPU_S)})
        return Example(Problem(name, question), "", source)


class _Answers(CodeAnswers):
    """Programs for one problem, which may stand between tags."""

    def extract(self, text: str) -> str | None:
        """The program between the last solution tags, or else that of the whole text."""
        inside = solution_in(text)
        program = None if inside is None else super().extract(inside)
        return super().extract(TAG.sub("\n", text)) if program is None else program


def _of_humaneval(name: str, row: Row) -> tuple[str, CodeCase]:
    question = row.text("prompt").rstrip() + "\n"  # the line end is not in the file
    try:
        return question, humaneval.case_of(name, question, row.text("entry_point"), row.text("reference"))
    except SyntaxError as error:
        raise UsageError(f"{row.where}: 'prompt' must begin a function: {error}") from error


def _of_mbpp(name: str, row: Row) -> tuple[str, CodeCase]:
    problem = read_problem(row)
    if not problem.provides:
        raise UsageError(f"{row.where}: 'code' must define a function")
    question = question_of(row.text("text"), [plain_lines(test) for test in row.fields["test_list"][:1]])
    suite = replace(problem.suite, code=plain_lines(row.text("reference")))
    return question, mbpp.case_of(replace(problem, id=name, question=question, suite=suite))
