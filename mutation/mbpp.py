"""MBPP (Austin et al. 2021, arXiv:2108.07732) as programs with tests: 974 problems, three tests each.

https://github.com/google-research/google-research/tree/master/mbpp. A line of mbpp.jsonl:

{"text": "Write a function to find the similar elements from the given two tuple lists.",
 "code": "def similar_elements(test_tup1, test_tup2):\\r\\n  res = tuple(set(test_tup1) & ...",
 "task_id": 2, "test_setup_code": "", "test_list": ["assert similar_elements((3, 4, 5, 6),(5, 7, ..."],
 "challenge_test_list": []}

MBPP+ (EvalPlus, Liu et al. 2023, arXiv:2305.01210) adds a hundred inputs to each of 399 of them, and a
reference of its own, whose outputs are what is expected.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutation.expected import Comparison, PlusTests
from mutation.sandbox.verdict import Suite
from search.errors import UsageError

SPLITS = {
    "prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975),
}  # fmt: skip
"""The authors' own, by task id; the first ten are for few-shot prompts."""

# EvalPlus's own exceptions (evalplus/eval/__init__.py), for problems whose text leaves the order, or the
# kind of a true answer, open.
AS_SETS = {
    "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
    "intersection_array", "find_dissimilar", "Diff",
}  # fmt: skip
NOT_NONE = {"check_str", "text_match_three", "text_starta_endb"}


@dataclass(frozen=True, slots=True)
class CodeProblem:
    """question: what a policy and a reward model are shown. provides: what the reference defines."""

    id: str
    split: str
    question: str
    reference: str
    suite: Suite
    provides: tuple[str, ...]
    plus: PlusTests | None = None


def load_mbpp(folder: Path) -> list[CodeProblem]:
    """All problems of `mbpp.jsonl` in the folder, with MBPP+ where `MbppPlus*.jsonl` has them.

    Raises UsageError, which names the file and the line.
    """
    plus = {str(row["task_id"]).removeprefix("Mbpp/"): row for path in sorted(folder.glob("MbppPlus*.jsonl"))
            for row in _rows(path)}  # fmt: skip
    problems = []
    for row in _rows(folder / "mbpp.jsonl"):
        try:
            problems.append(_problem(row, plus.get(str(row["task_id"]))))
        except (KeyError, TypeError, ValueError, SyntaxError) as error:
            raise UsageError(f"{folder / 'mbpp.jsonl'}: task {row.get('task_id')}: {error!r}") from error
    return problems


def question_of(text: str, tests: list[str]) -> str:
    """The task's text and its tests, which also say what the function is called (Austin et al., figure 1)."""
    return f"{text.strip()} Your code should pass these tests:\n\n" + "\n".join(t.strip() for t in tests)


def _problem(row: dict[str, Any], plus: dict[str, Any] | None) -> CodeProblem:
    number = int(row["task_id"])
    reference = _lines(row["code"])
    setup, tests = _lines(row["test_setup_code"]), [_lines(test) for test in row["test_list"]]
    provides = tuple(
        node.name for node in ast.parse(reference).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    )
    suite = Suite("\n".join([setup, *tests, *map(_lines, row["challenge_test_list"])]), provides)
    split = next(name for name, numbers in SPLITS.items() if number in numbers)
    question = question_of(row["text"], tests)
    return CodeProblem(
        f"mbpp/{number}", split, question, reference, suite, provides, None if plus is None else _plus(plus)
    )


def _plus(row: dict[str, Any]) -> PlusTests:
    examples = list(_calls(row["assertion"], row["entry_point"]))
    template = examples[0] if examples else ()
    inputs = tuple(_arguments(template, given) for given in [*row["base_input"], *row["plus_input"]])
    reference = _lines(row["canonical_solution"]).strip() + "\n"
    name = row["entry_point"]
    return PlusTests(name, reference, inputs, float(row["atol"]), comparison_of(name))


def comparison_of(entry_point: str) -> Comparison:
    """How EvalPlus compares the outputs of a problem of MBPP+."""
    if entry_point in AS_SETS:
        return Comparison.SETS
    return Comparison.TRUTH if entry_point in NOT_NONE else Comparison.VALUES


def _arguments(template: tuple[Any, ...], given: list[Any]) -> tuple[Any, ...]:
    patterns = (*template, *[None] * len(given))
    return tuple(like(pattern, value) for pattern, value in zip(patterns, given, strict=False))


def like(pattern: Any, value: Any) -> Any:
    """A value read from JSON, in the types of `pattern`: JSON has no tuples, no sets, no numbers as keys."""
    if isinstance(pattern, list | tuple | set | frozenset) and isinstance(value, list):
        parts = list(pattern)
        nested = next((part for part in parts if isinstance(part, list | tuple | set | dict)), None)
        patterns = parts if len(parts) == len(value) else [nested] * len(value)
        items = [like(p, v) for p, v in zip(patterns, value, strict=True)]
        try:
            return type(pattern)(items)
        except TypeError:  # what cannot be in a set
            return items
    if isinstance(pattern, dict) and isinstance(value, dict) and pattern:
        key, inner = next(iter(pattern.items()))
        return {_key(key, k): like(inner, v) for k, v in value.items()}
    return value


def _key(pattern: object, key: str) -> object:
    try:
        return int(key) if isinstance(pattern, int) else key
    except ValueError:
        return key


def _calls(assertions: str, name: str) -> Iterator[tuple[Any, ...]]:
    """The arguments of each call of `name`, where they are literals."""
    for node in ast.walk(ast.parse(assertions)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            try:
                yield tuple(ast.literal_eval(argument) for argument in node.args)
            except ValueError:
                continue


def _lines(text: str) -> str:
    """With line ends as Python's own, where MBPP's are those of Windows, and indented by spaces alone.

    A tab goes to the next multiple of eight, as Python reads it; libcst counts otherwise.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"^[ \t]+", lambda indent: indent[0].expandtabs(8), text, flags=re.MULTILINE)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                row = json.loads(line)
                if not isinstance(row, dict) or "task_id" not in row:
                    raise UsageError(f"{path}, line {number}: no task_id")
                yield row
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give MBPP's folder by --data") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON lines: {error}") from error
