"""Mutation testing of functions of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mutation import build
from mutation.own import EXAMPLE, load_own
from mutation.sandbox.sandbox import Sandbox
from prm.data.labels import read_labels
from search.errors import UsageError
from tests.sandboxed import why_not

SPAN = '''\
def span(xs):
    """How far apart the numbers of a list are."""
    low = xs[0]
    high = xs[0]
    for x in xs:
        if x < low:
            low = x
        if x > high:
            high = x
    return high - low
'''
TEST_SPAN = """\
import pytest

from span import span


@pytest.mark.parametrize("xs, want", [([1, 3, 2], 2), ([5], 0), ([-1, -4], 3)])
def test_span(xs, want):
    assert span(xs) == want


def test_nothing():
    with pytest.raises(IndexError):
        span([])
"""
STACK = """\
class Stack:
    def __init__(self):
        self.items = []

    def push(self, x):
        self.items.append(x)

    def __len__(self):
        return len(self.items)
"""
TEST_STACK = """\
import unittest
from project.stack import Stack


class StackTest(unittest.TestCase):
    def test_push(self):
        s = Stack()
        s.push(4)
        self.assertEqual(len(s), 1)
        self.assertEqual(s.items, [4])
"""
SORT = """\
def put_in_order(xs):
    n = len(xs)
    for i in range(n):
        for j in range(n - 1):
            if xs[j] > xs[j + 1]:
                xs[j], xs[j + 1] = xs[j + 1], xs[j]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "span.py": SPAN, "test_span.py": TEST_SPAN, "stack.py": STACK, "tests/test_stack.py": TEST_STACK,
        "alone.py": "def alone():\n    return 1\n", "conftest.py": "",
        "validation/held.py": SPAN.replace("span", "held"),
        "validation/held_test.py": "from held import held\n\ndef test():\n    assert held([1, 9]) == 8\n",
    }  # fmt: skip
    for name, text in files.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "own"


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    rows = [
        json.loads(EXAMPLE),
        {"name": "order", "question": "Sort in place.", "reference": SORT, "split": "validation",
         "tests": ["xs = [3, 1, 2]\nput_in_order(xs)", "assert xs == [1, 2, 3]"]},
        {"name": "odd", "code": "def odd(x):\n    return\n  x", "tests": "assert odd(1)"},
        {"name": "wrong", "code": "def wrong(x):\n    return x\n", "tests": "assert wrong(1) == 2"},
    ]  # fmt: skip
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_folder_has_functions_with_their_tests(folder: Path) -> None:
    problems, untested = load_own(folder, "mine")
    assert {p.id: p.split for p in problems} == {
        "mine/span": "train", "mine/stack": "train", "mine/held": "validation",
    }  # fmt: skip
    assert untested == ["alone.py"]
    by_id = {p.id: p for p in problems}
    assert by_id["mine/span"].question == "How far apart the numbers of a list are."
    assert "Write Stack." in by_id["mine/stack"].question and "push(4)" in by_id["mine/stack"].question
    assert by_id["mine/stack"].provides == ("Stack",) and by_id["mine/stack"].suite.module == "stack"


def test_json_lines_have_name_code_and_tests(lines: Path) -> None:
    problems, untested = load_own(lines, "mine")
    assert [p.id for p in problems] == ["mine/double", "mine/order", "mine/odd", "mine/wrong"]
    assert problems[0].question.endswith("assert double(3) == 6") and problems[0].split == "train"
    assert problems[1].question == "Sort in place." and problems[1].split == "validation"
    assert untested == []


def test_every_reference_passes_its_own_kind_of_tests(folder: Path, lines: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    with Sandbox(workers=1) as box:
        for path in (folder, lines):
            verdicts = {p.id: box.run(p.reference, p.suite).passed for p in load_own(path, "mine")[0]}
            assert {name for name, passed in verdicts.items() if not passed} <= {"mine/odd", "mine/wrong"}


@pytest.mark.parametrize("source", ["folder", "lines"])
def test_a_build_of_ones_own_functions(
    source: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason := why_not():
        pytest.skip(reason)
    data: Path = request.getfixturevalue(source)
    out = tmp_path / "labels.jsonl"
    words = ["--source", "mine", "--data", str(data), "--workers", "1", "--most", "8", "--out", str(out)]
    assert build.main(words) == 0
    printed = capsys.readouterr()
    assert "problems of mine's train split" in printed.out and "MBPP" not in printed.out
    solutions = list(read_labels(out))
    assert {(s.source, s.split) for s in solutions} == {("mine", "train")}
    assert {1, -1} <= {value for s in solutions for value in s.labels}
    if source == "folder":
        assert "alone.py" in printed.err
    else:
        assert "mine/odd: the reference does not pass: exception (IndentationError" in printed.out
        assert "mine/wrong: the reference does not pass: assertion" in printed.out
    assert build.main([*words[:-1], str(tmp_path / "held.jsonl"), "--split", "validation"]) == 0
    assert {s.split for s in read_labels(tmp_path / "held.jsonl")} == {"validation"}
    assert build.main([*words, "--split", "none"]) == 2
    assert "only of train, validation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"code": "x", "tests": "y"}, "no field 'name'"),
        ({"name": "a", "tests": "y"}, "no field 'code'"),
        ({"name": "a", "code": "x"}, "'tests' must be"),
        ({"name": "a", "code": "x", "tests": []}, "'tests' must be"),
        ({"name": "a", "code": "x", "tests": [1]}, "'tests' must be"),
        ({"name": "a", "code": "x", "tests": "y", "split": 3}, "'split' must be"),
    ],
)
def test_a_wrong_line_is_named_and_a_right_one_shown(tmp_path: Path, row: object, words: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(f"{EXAMPLE}\n{json.dumps(row)}\n")
    with pytest.raises(UsageError, match=words) as error:
        load_own(path, "mine")
    assert "line 2" in str(error.value) and EXAMPLE in str(error.value)


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no name\.py with a test_name\.py"):
        load_own(tmp_path, "mine")
    with pytest.raises(UsageError, match="there is no"):
        load_own(tmp_path / "none", "mine")
    path = tmp_path / "own.jsonl"
    path.write_text(f"{EXAMPLE}\n{EXAMPLE}\n")
    with pytest.raises(UsageError, match="'double' occurs twice"):
        load_own(path, "mine")
    with pytest.raises(UsageError, match="--source"):
        load_own(path, "a/b")
