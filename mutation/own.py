"""Functions of one's own with their tests, as problems for mutation testing.

Either JSON lines, or a folder with `name.py` and `test_name.py` for each function. Folders within it are
splits: what stands in `validation/` belongs to the split "validation", what stands in none to "train".
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from mutation.mbpp import CodeProblem, plain_lines, question_of
from mutation.parsing import parse
from mutation.sandbox.verdict import Suite
from prm.data.rows import Row, json_lines
from search.errors import UsageError, reason

EXAMPLE = r'{"name": "double", "code": "def double(x):\n    return 2 * x", "tests": "assert double(3) == 6"}'
"""A line of the file. `question` and `split` are optional."""
SPLIT = "train"
NOT_FUNCTIONS = ("__init__", "__main__", "conftest", "setup")


def load_own(path: Path, source: str) -> tuple[list[CodeProblem], list[str]]:
    """The problems of a file or folder, and the files of a folder that have no tests.

    source: the name of the data set. Raises UsageError, which names the file and the line.
    """
    if not source or "/" in source:
        raise UsageError(f"--source: {source!r} is no name of a data set; use letters, digits, - and _")
    problems, untested = ([*_of_lines(path, source)], []) if path.is_file() else _of_folder(path, source)
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise UsageError(f"{path}: the name {problem.id.partition('/')[2]!r} occurs twice")
        seen.add(problem.id)
    return problems, untested


def _of_lines(path: Path, source: str) -> Iterator[CodeProblem]:
    for row in json_lines(path):
        try:
            name, code, tests = row.text("name"), row.text("code", "reference"), _tests(row)
            question = row.text("question", "problem") if {"question", "problem"} & row.fields.keys() else ""
            split = row.text("split") if "split" in row.fields else SPLIT
        except UsageError as error:
            raise UsageError(f"{error}; a line looks like this: {EXAMPLE}") from error
        yield _problem(source, name, split, question, code, tests)


def _tests(row: Row) -> list[str]:
    """Statements with assertions, or the text of a file of tests."""
    tests = row.fields.get("tests")
    if isinstance(tests, str):
        tests = [tests]
    if not isinstance(tests, list) or not tests or not all(isinstance(t, str) and t.strip() for t in tests):
        raise UsageError(f"{row.where}: 'tests' must be a text, or a list of texts")
    return tests


def _of_folder(folder: Path, source: str) -> tuple[list[CodeProblem], list[str]]:
    if not folder.is_dir():
        raise UsageError(f"there is no {folder}; name a file of JSON lines or a folder by --data")
    problems, untested = [], []
    for path in sorted(folder.rglob("*.py")):
        place = path.relative_to(folder)
        if path.stem.startswith("test_") or path.stem.endswith("_test") or path.stem in NOT_FUNCTIONS:
            continue
        found = [test for test in _test_files(path) if test.is_file()]
        if not found:
            untested.append(str(place))
            continue
        split = place.parts[0] if len(place.parts) > 1 else SPLIT
        name = ".".join([*place.parts[1:-1], path.stem] if len(place.parts) > 1 else [path.stem])
        problems.append(_problem(source, name, split, "", _text(path), [_text(found[0])]))
    if not problems:
        raise UsageError(
            f"{folder} has no name.py with a test_name.py beside it; a file of JSON lines would have lines "
            f"like this: {EXAMPLE}"
        )
    return problems, untested


def _test_files(path: Path) -> Iterator[Path]:
    for folder in (path.parent, path.parent / "tests"):
        yield folder / f"test_{path.name}"
        yield folder / f"{path.stem}_test.py"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {reason(error)}") from error


def _problem(source: str, name: str, split: str, question: str, code: str, tests: list[str]) -> CodeProblem:
    code, tests = plain_lines(code).strip("\n") + "\n", [plain_lines(test) for test in tests]
    try:
        tree = parse(code)
    except SyntaxError:  # it fails its tests, and is reported with the others that do
        tree = ast.Module([], [])
    defined = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    provides = tuple(node.name for node in defined)
    module = name.rpartition(".")[2]
    suite = Suite("\n".join(tests), provides, module=module if module.isidentifier() else "")
    question = question or _question(defined, tests)
    return CodeProblem(f"{source}/{name}", split, question, code, suite, provides)


def _question(defined: list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef], tests: list[str]) -> str:
    """The documentation of the last function, or its name and the tests, as MBPP's questions show them.

    Tests that are no plain assertions are shown only where there is no documentation.
    """
    documented = ast.get_docstring(defined[-1]) if defined else None
    shown = [line for test in tests for line in test.strip().splitlines()]
    plain = all(line.startswith(("assert ", "import ", "from ", "#")) or not line for line in shown)
    if documented and not plain:
        return documented.strip()
    return question_of(documented or f"Write {defined[-1].name if defined else 'a program'}.", shown)
