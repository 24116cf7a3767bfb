"""MBPP (Austin et al. 2021, arXiv:2108.07732): its 500 test problems, task ids 11 to 510.

The format is in `mutation.mbpp`, which makes labels of the other splits. The question shows the problem's
own tests, as the authors' prompt does; they and MBPP+'s inputs, where the folder has them, are the hidden
ones: a program that passes what is shown can still fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from bench.tasks.base import Example
from bench.tasks.code import INSTRUCT, SANDBOX, CodeCase, CodeTask, literal_calls
from bench.tasks.prompts import eurus
from mutation.mbpp import CodeProblem, load_mbpp
from mutation.sandbox.verdict import Suite
from search.errors import UsageError
from search.prompts import Prompt
from search.types import Problem

RAW = Prompt(
    "You are an expert Python programmer, and here is your task: {question}\n[BEGIN]\n",
    stop=("[DONE]", "\nprint(", "\nassert ", "\nif __name__", "\n```"),
)
"""The authors' own prompt; a program may have several functions, so it does not end at the second."""


class Mbpp(CodeTask):
    """`data`: the folder with mbpp.jsonl and perhaps MbppPlus*.jsonl."""

    name = "mbpp"
    test_only = True
    prompts: Mapping[str, Prompt] = MappingProxyType({"raw": RAW, "eurus": eurus.MBPP, "chat": INSTRUCT})

    def load(self, data: Path | None, limit: int | None) -> list[Example]:
        """The test problems. Raises UsageError, also where the sandbox does not run."""
        if data is None:
            raise UsageError("the task mbpp needs the folder with mbpp.jsonl: give it by --data PATH")
        problems = [p for p in load_mbpp(data) if p.split == "test"][:limit]
        SANDBOX.get()  # refused now rather than at the first grade
        for problem in problems:
            self.cases[problem.id] = case_of(problem)
        return [Example(Problem(p.id, p.question), "") for p in problems]


def case_of(problem: CodeProblem) -> CodeCase:
    """A problem as its tests see it. It must provide a function."""
    hidden = {"": problem.suite}
    if problem.plus is not None:
        hidden["plus"] = problem.plus.suite(problem.plus.outputs(SANDBOX.get()))
    shown = problem.question.partition("\n\n")[2]
    entry = _asked_for(problem, shown)
    return CodeCase(
        problem.id, "", entry, problem.provides, hidden, Suite(shown, problem.provides),
        tuple(literal_calls(shown, entry)),
    )  # fmt: skip


def _asked_for(problem: CodeProblem, shown: str) -> str:
    """Of the names that the reference defines, the one that the tests call."""
    called = [name for name in problem.provides if f"{name}(" in shown]
    return called[-1] if called else problem.provides[-1]
