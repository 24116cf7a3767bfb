"""MBPP (Austin et al. 2021, arXiv:2108.07732) as programs with tests: 974 problems, three tests each.

https://github.com/google-research/google-research/tree/master/mbpp. A line of mbpp.jsonl:

{"text": "Write a function to find the similar elements from the given two tuple lists.",
 "code": "def similar_elements(test_tup1, test_tup2):\\r\\n  res = tuple(set(test_tup1) & ...",
 "task_id": 2, "test_setup_code": "", "test_list": ["assert similar_elements((3, 4, 5, 6),(5, 7, ..."],
 "challenge_test_list": []}

MBPP+ (EvalPlus, Liu et al. 2023, arXiv:2305.01210) adds a hundred inputs to each of 399 of them, and a
reference of its own, which defines the expected outputs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mutation.expected import Comparison, PlusTests
from mutation.parsing import parse
from mutation.sandbox.verdict import Suite
from prm.data.rows import Row, json_lines
from search.errors import UsageError

MBPP = "mbpp"
"""The source of its problems."""
SPLITS = {
    "prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975),
}  # fmt: skip
"""The splits of the authors, by task id. The first ten are for few-shot prompts."""

# Special cases of EvalPlus (evalplus/eval/__init__.py): problems whose text does not specify the order of
# the output, or the type of a true output.
AS_SETS = {
    "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
    "intersection_array", "find_dissimilar", "Diff",
}  # fmt: skip
NOT_NONE = {"check_str", "text_match_three", "text_starta_endb"}


@dataclass(frozen=True, slots=True)
class CodeProblem:
    """question: what the policy and the reward model see. provides: the names that the reference defines."""

    id: str
    split: str
    question: str
    reference: str
    suite: Suite
    provides: tuple[str, ...]
    plus: PlusTests | None = None

    @property
    def fingerprint(self) -> str:
        """Changes with the reference and with the tests."""
        tests = self.suite.code, self.suite.provides, dict(self.suite.values), self.plus
        return blake2b(repr((self.reference, tests)).encode(), digest_size=8).hexdigest()


def load_mbpp(folder: Path) -> list[CodeProblem]:
    """All problems of `mbpp.jsonl` in the folder, with those of MBPP+ if it has `MbppPlus*.jsonl`.

    Raises UsageError, which names the file and the line.
    """
    path = folder / "mbpp.jsonl"
    if not path.exists():
        raise UsageError(
            f"there is no {path}; name the folder with MBPP by --data, or for functions of your own their "
            "source by --source NAME"
        )
    plus = {
        _task_id(row).removeprefix("Mbpp/"): row.fields
        for file in sorted(folder.glob("MbppPlus*.jsonl")) for row in json_lines(file)
    }  # fmt: skip
    return [read_problem(row, plus.get(_task_id(row))) for row in json_lines(path)]


def read_problem(row: Row, plus: dict[str, Any] | None = None) -> CodeProblem:
    """The problem of a row. plus: its row of MBPP+, if it has one. Raises UsageError, which names the row."""
    number = _task_id(row)
    try:
        return _problem(row.fields, plus)
    except (KeyError, TypeError, ValueError, SyntaxError, StopIteration) as error:
        raise UsageError(f"{row.where}: task {number}: {error!r}") from error


def _task_id(row: Row) -> str:
    if "task_id" not in row.fields:
        raise UsageError(f"{row.where}: no field 'task_id'")
    return str(row.fields["task_id"])


def question_of(text: str, tests: list[str]) -> str:
    """The text of the task and its tests, which show the name of the function (Austin et al., figure 1)."""
    return f"{text.strip()} Your code should pass these tests:\n\n" + "\n".join(t.strip() for t in tests)


def _problem(row: dict[str, Any], plus: dict[str, Any] | None) -> CodeProblem:
    number = int(row["task_id"])
    reference = plain_lines(row["code"])
    setup, tests = plain_lines(row["test_setup_code"]), [plain_lines(test) for test in row["test_list"]]
    provides = tuple(
        node.name for node in parse(reference).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    )
    suite = Suite("\n".join([setup, *tests, *map(plain_lines, row["challenge_test_list"])]), provides)
    split = next(name for name, numbers in SPLITS.items() if number in numbers)
    question = question_of(row["text"], tests)
    return CodeProblem(
        f"{MBPP}/{number}", split, question, reference, suite, provides, None if plus is None else _plus(plus)
    )


def _plus(row: dict[str, Any]) -> PlusTests:
    examples = list(_calls(row["assertion"], row["entry_point"]))
    template = examples[0] if examples else ()
    inputs = tuple(_arguments(template, given) for given in [*row["base_input"], *row["plus_input"]])
    reference = plain_lines(row["canonical_solution"]).strip() + "\n"
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
    """Convert a value from JSON to the types of `pattern`. JSON has no tuples, sets, or numbers as keys."""
    if isinstance(pattern, list | tuple | set | frozenset) and isinstance(value, list):
        parts = list(pattern)
        nested = next((part for part in parts if isinstance(part, list | tuple | set | dict)), None)
        patterns = parts if len(parts) == len(value) else [nested] * len(value)
        items = [like(p, v) for p, v in zip(patterns, value, strict=True)]
        try:
            return type(pattern)(items)
        except TypeError:  # an item is not hashable
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
    """The arguments of each call of `name` with literal arguments."""
    for node in ast.walk(parse(assertions)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            try:
                yield tuple(ast.literal_eval(argument) for argument in node.args)
            except ValueError:
                continue


def plain_lines(text: str) -> str:
    """Convert line ends from Windows, and tabs in the indentation to spaces.

    A tab advances to the next multiple of eight, as in Python. libcst would count it otherwise.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"^[ \t]+", lambda indent: indent[0].expandtabs(8), text, flags=re.MULTILINE)
