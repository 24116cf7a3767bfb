"""The tasks: what they load, what they refuse, what they ask a model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.grading.grade import Grade
from bench.tasks import TASKS, TEXT_TASKS
from bench.tasks.base import Example
from search.errors import UsageError
from search.types import Problem

FROM_FILES = ["gsm8k", "math", "jsonl"]
GSM8K = {"question": "2 robes of 3?", "answer": "One is <<1*3=3>>3.\nTwo are 6.\n#### 1,006"}
MATH = {
    "problem": "$1+1$?", "solution": "It is $\\boxed{2}$.", "answer": "2",
    "subject": "Algebra", "level": 3, "unique_id": "test/algebra/1.json",
}  # fmt: skip


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_gsm8k(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", GSM8K, GSM8K)
    task = TEXT_TASKS["gsm8k"]()
    first, second = task.load(tmp_path, None)
    assert first == Example(Problem("gsm8k/test/1", GSM8K["question"]), "1,006", "2 steps")
    assert second.problem.id == "gsm8k/test/2"
    assert task.load(tmp_path / "test.jsonl", 1) == [first]
    assert task.grade(first.problem, task.extract("The answer is $1006.")) == Grade(True, "numeric")


def test_math(tmp_path: Path) -> None:
    old = {"problem": "$2+1$?", "solution": "$\\boxed{3}$", "level": "Level 5", "type": "Algebra"}
    write(tmp_path / "math500.jsonl", MATH, old)
    task = TEXT_TASKS["math"]()
    assert task.load(tmp_path, None) == [
        Example(Problem("math/test/algebra/1", "$1+1$?"), "2", "level 3"),
        Example(Problem("math/math500/2", "$2+1$?"), "3", "level 5"),
    ]
    assert task.equal("\\frac12", "0.5")
    assert task.grade(Problem("math/math500/2", "$2+1$?"), None) == Grade(False, "no answer")


def test_own_task(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.jsonl",
        {"problem": "2 + 2?", "answer": 4},
        {"question": "Big?", "answer": 1e16, "id": "big"},
        {"question": "Factor.", "answer": "$(x-1)(x+1)$"},
        {"question": "Work.", "answer": "It is \\boxed{7}."},
    )
    task = TEXT_TASKS["jsonl"]()
    examples = task.load(path, None)
    assert [e.problem.id for e in examples] == ["mine/1", "big", "mine/3", "mine/4"]
    assert [e.reference for e in examples] == ["4", "1" + "0" * 16, "$(x-1)(x+1)$", "7"]
    assert task.grade(examples[0].problem, task.extract("That makes 4.0 in all")) == Grade(True, "numeric")
    assert task.grade(examples[2].problem, "x^2-1") == Grade(True, "math-verify")


@pytest.mark.parametrize(
    ("answer", "correct"),
    [
        ("18 times", True),
        ("18 (9+9)", True),
        ("18 apples (9 x 2 = 18)", True),
        ("that she has 18 apples", True),
        ("25 - 7 = 18 eggs", True),
        ("9 x 2 = 18 eggs in total", True),
        ("approximately 18.0 miles", True),
        ("17 times", False),
        ("that Ann has 3 and Bob 18", False),
        ("18 (3+4)", False),
        ("18(9+9)", False),
        ("18 times 2", False),
        ("18, 20", False),
        ("18x for all x", False),
        ("25 - 6 = 18 eggs", False),
    ],
)
def test_own_answers_in_words(answer: str, correct: bool) -> None:
    task = TEXT_TASKS["jsonl"]()
    assert task.compare(task.extract(f"So it is. The answer is {answer}."), "18").correct is correct
    assert not task.compare("18 times", "x").correct
    assert not TEXT_TASKS["math"]().compare("18 times", "18").correct


@pytest.mark.parametrize(
    ("task", "line", "reason"),
    [
        ("gsm8k", {"question": "?"}, "no field 'answer'"),
        ("gsm8k", {"question": "?", "answer": "6"}, "'answer' must end with '#### ' and a number"),
        ("math", {"question": "?"}, "no field 'problem'"),
        ("math", {"problem": "?", "solution": "2"}, "no 'answer', and no \\boxed{} in 'solution'"),
        ("math", {"problem": "?", "answer": 2}, "'answer' must be a non-empty string, not 2"),
        ("jsonl", {"answer": "1"}, "no field 'problem' or 'question'"),
        ("jsonl", {"problem": "?", "answer": True}, "'answer' must be a non-empty string, not true"),
        ("jsonl", {"problem": "?", "answer": float("nan")}, "'answer' must be a finite number"),
        ("jsonl", {"problem": "?", "answer": "It is 2. ####"}, "nothing follows '####' in 'answer'"),
        ("jsonl", {"problem": "?", "answer": 1, "id": [1]}, "'id' must be a string or a whole number"),
    ],
)
def test_a_bad_line_is_named(task: str, line: object, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", line)
    with pytest.raises(UsageError) as raised:
        TASKS[task]().load(path, None)
    assert str(raised.value).partition("; a line looks like this")[0] == f"{path}, line 1: {reason}"


def test_a_line_that_cannot_be_read_is_answered_with_an_example(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", {"foo": 1})
    with pytest.raises(UsageError) as error:
        TASKS["jsonl"]().load(path, None)
    example = json.loads(str(error.value).partition("a line looks like this: ")[2])
    assert len(TASKS["jsonl"]().load(write(path, example), None)) == 1


def test_an_id_comes_once(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", *[{"id": "a", "problem": "?", "answer": 1}] * 2)
    with pytest.raises(UsageError, match="line 2: the id 'a' is there already"):
        TASKS["jsonl"]().load(path, None)


@pytest.mark.parametrize("task", FROM_FILES)
def test_missing_and_empty_files_are_named(task: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*absent"):
        TASKS[task]().load(tmp_path / "absent", None)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UsageError, match=r"empty\.jsonl holds no records"):
        TASKS[task]().load(tmp_path / "empty.jsonl", None)


@pytest.mark.parametrize("task", FROM_FILES)
def test_without_a_network_the_way_out_is_named(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match="--data PATH"):
        TASKS[task]().load(None, None)


@pytest.mark.parametrize("name", FROM_FILES)
def test_prompts_by_family(name: str) -> None:
    task = TASKS[name]()
    assert task.name == name
    first, *_ = task.prompts.values()
    assert not first.chat and task.prompts["chat"].chat
    for prompt in task.prompts.values():
        asked = prompt.fill("How {many}?")
        assert "How {many}?" in asked and "{question}" not in asked
        assert not any(asked.endswith(stop) for stop in prompt.stop)


def test_the_few_shot_answers_are_found_by_the_tasks_own_extraction() -> None:
    gsm8k, math = TEXT_TASKS["gsm8k"](), TEXT_TASKS["math"]()
    shots = gsm8k.prompts["few-shot"].template.split("\n\n")
    assert [gsm8k.extract(shot) for shot in shots[:-1]] == ["6", "5", "39", "8", "9", "29", "33", "8"]
    shots = math.prompts["few-shot"].template.split("\n\nProblem:\n")
    assert [math.extract(shot) for shot in shots[:-1]] == ["[2,5)", "24", "16", "-\\frac{2}{3}"]


def test_importing_the_table_is_light() -> None:
    code = "import sys, bench.tasks; print({'sympy', 'datasets', 'math_verify'} & set(sys.modules))"
    root = Path(__file__).parents[1]
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    assert ran.stdout == "set()\n", ran.stderr
