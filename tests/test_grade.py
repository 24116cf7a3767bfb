"""Extraction and grading: what counts as the answer, what counts as equal, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.grading.equality import WORKER, How, same_math, same_number
from bench.grading.extract import last_box, math_answer, number_answer
from bench.grading.grade import Grade, grade_math, grade_number
from bench.grading.notation import normal_form
from bench.grading.numeric import number
from bench.grading.worker import MathWorker, Verdict
from bench.runner.cli.grade import main, summary
from bench.tasks import TEXT_TASKS

balanced = st.recursive(
    st.text(alphabet="ab1+ ,\\{", max_size=5).map(lambda t: t.replace("\\", "").replace("{", "\\{ ")),
    lambda inner: st.lists(inner.map(lambda t: f"{{{t}}}") | inner, max_size=4).map("".join),
    max_leaves=12,
)
answers = st.sampled_from(
    ["1/2", "0.5", "\\frac12", "(1,2)", "(2,1)", "1,2", "\\{2,1\\}", "[1,2)", "x=5", "5", "y=5", "x^2-1",
     "(x-1)(x+1)", "1<x<2", "50\\%", "10_2", "10_3", "\\text{odd}", "2\\text{ a.m.}", "2\\text{ p.m.}", ""]
)  # fmt: skip


@pytest.fixture
def impatient() -> Iterator[MathWorker]:
    worker = MathWorker(timeout_s=0.5)
    worker.start()
    yield worker
    worker.close()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"first \boxed{1}, then \fbox{ 2 }", "2"),
        (r"\boxed{x = \boxed{5}}", "x = 5"),
        (r"\boxed{\left\{ 1, 2 \right.}", r"\left\{ 1, 2 \right."),
        (r"\boxed 7$", "7"),
        (r"cut: \boxed{3} and \boxed{\frac{1}{", "3"),
        ("\\boxed{1}\nFinal Answer: The final answer is $[2,5)$. I hope it is correct.", "[2,5)"),
        ("Thus 4.\n# Answer\n\n$4$", "4"),
        ("The answer is $x^2.5$. Next sentence.", "x^2.5"),
        ("The answer is: **12**.", "12"),
        ("The answer is\n\\[ y \\]", "y"),
        ("Answer: \\(3\\)", "3"),
        ("no end", None),
        ("the answer is", None),
        ("", None),
    ],
)
def test_math_answer(text: str, answer: str | None) -> None:
    assert math_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("16-3=13\n#### 70,000", "70000"),
        ("#### 3 Calculations\nThe total is 18", "18"),
        ("The answer is $18 per day.", "18"),
        ("The answer is 5 x 3 = 15 dollars. It took 2 hours.", "15"),
        ("the answer is -$4.50.", "-4.50"),
        ("The answer is 3/4 cup", "3/4"),
        (r"\boxed{1{,}200 \text{ eggs}} in 3 days", "1200"),
        (r"\boxed{x = \frac{3}{4}}", r"\frac{3}{4}"),
        ("options 1,2,3", "3"),
        ("20 - 7", "7"),
        ("a loss of -$5", "-5"),
        ("a loss of $-5", "-5"),
        ("about 50%.", "50"),
        ("none", None),
    ],
)
def test_number_answer(text: str, answer: str | None) -> None:
    assert number_answer(text) == answer


@given(balanced)
def test_a_box_gives_back_what_was_put_in(content: str) -> None:
    assert last_box(f"we get $\\boxed{{{content}}}$ }} {{") == content.strip()


@given(st.text(alphabet="\\boxed{}fanswer is#:$1.,/-\n ", max_size=400))
def test_extraction_never_raises(text: str) -> None:
    for extract in (math_answer, number_answer):
        answer = extract(text)
        assert answer is None or answer == answer.strip() != ""


def test_extraction_is_fast_on_long_text() -> None:
    started = time.monotonic()
    for text in ("\\boxed{" * 5000, "\\boxed{" * 5000 + "}" * 5000, "the answer is " * 5000, "1," * 20000):
        math_answer(text), number_answer(text)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("1,234.50", "1234.5"),
        ("\\$18.", "18"),
        ("-3/4", "-0.75"),
        ("\\dfrac{-1}{2}", "-.5"),
        ("50\\%", "50"),
    ],
)
def test_equal_numbers(a: str, b: str) -> None:
    assert same_number(a, b) == (True, How.NUMERIC)


@pytest.mark.parametrize("text", ["", ".", "1,23", "x", "1e", "1/0", "1 apple", "9" * 501, "--1", "²"])
def test_not_a_number(text: str) -> None:
    assert number(text) is None


def test_numbers_are_exact() -> None:
    assert same_number("0.333333333333", "1/3") == (False, How.NUMERIC)
    assert grade_number("10000000000000001", "10000000000000000") == Grade(False, How.NUMERIC)
    assert grade_number(None, "1") == Grade(False, How.NO_ANSWER)


@pytest.mark.parametrize(
    ("a", "b", "how"),
    [
        ("\\frac{1}{2}", "\\frac{1}{2}", How.EXACT),
        ("\\dfrac12", "1/2", How.NORMAL_FORM),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\frac\\pi2)", How.NORMAL_FORM),
        ("575\\text{ students}", "575", How.NORMAL_FORM),
        ("90^\\circ", "90", How.NORMAL_FORM),
        ("x = 5", "5", How.NORMAL_FORM),
        ("x \\in [1,2]", "[1,2]", How.NORMAL_FORM),
        ("\\text{(C)}", "C", How.NORMAL_FORM),
        ("11,\\! 111,\\! 100", "11111100", How.NORMAL_FORM),
        ("-\\frac{2}{3}", "\\frac{-2}{3}", How.NUMERIC),
        ("(x+1)^2", "x^2+2x+1", How.MATH_VERIFY),
        ("\\frac{\\sqrt2}{2}", "\\frac1{\\sqrt2}", How.MATH_VERIFY),
        ("3*sqrt(13)", "3\\sqrt{13}", How.MATH_VERIFY),
        ("pi/2", "\\frac{\\pi}{2}", How.MATH_VERIFY),
        ("3/4\\pi", "\\frac{3}{4}\\pi", How.MATH_VERIFY),
        ("\\{2, 1\\}", "1, 2", How.NORMAL_FORM),
        ("\\{2, x+1\\}", "1+x, 2", How.MATH_VERIFY),
        ("(-\\infty,2)\\cup(3,\\infty)", "(3,\\infty)\\cup(-\\infty,2)", How.MATH_VERIFY),
    ],
)
def test_equal_answers(a: str, b: str, how: How) -> None:
    assert same_math(a, b) == same_math(b, a) == (True, how)


@pytest.mark.parametrize(
    ("a", "b", "how"),
    [
        ("", "", How.EXACT),
        ("0.3333", "1/3", How.NUMERIC),
        ("[2,5)", "(2,5)", How.FORM),
        ("(1,2)", "2,1", How.FORM),
        ("2516_8", "2516_9", How.FORM),
        ("9\\text{ a.m.}", "9\\text{ p.m.}", How.FORM),
        ("(1,2)", "(2,1)", How.NUMERIC),
        ("(x,y)", "(y,x)", How.MATH_VERIFY),
        ("x=3", "y=3", How.MATH_VERIFY),
        ("\\sqrt2", "1.414214", How.MATH_VERIFY),
        ("\\text{odd}", "\\text{even}", How.MATH_VERIFY),
        ("x^2", "y^2", How.MATH_VERIFY),
    ],
)
def test_different_answers(a: str, b: str, how: How) -> None:
    assert same_math(a, b) == same_math(b, a) == (False, how)


@pytest.mark.parametrize(
    ("answer", "how"),
    [
        ("9**9**9", How.HUGE),
        ("9^{9^{9}}", How.HUGE),
        ("2^{999999999}", How.HUGE),
        ("1000000!", How.HUGE),
        ("(9!)!", How.HUGE),
        ("1" * 10_000, How.TOO_LONG),
        ("x" * 10_000, How.TOO_LONG),
        ("__import__('os').getpid()", How.CODE),
        ("import os", How.CODE),
        ("(lambda: 42)()", How.CODE),
        ("```python\nexit()\n```", How.CODE),
    ],
)
def test_hostile_answers_are_refused(answer: str, how: How) -> None:
    assert grade_math(answer, "42") == Grade(False, how)


@pytest.mark.parametrize("task", ["gsm8k", "math", "jsonl"])
@pytest.mark.parametrize("answer", ["9**9**9", "1" * 10_000, "__import__('os').getpid()", "\\boxed{" * 1000])
def test_hostile_solutions_are_wrong_for_every_task(task: str, answer: str) -> None:
    grader = TEXT_TASKS[task]()
    for text in (answer, f"The answer is {answer}", f"\\boxed{{{answer}}}", f"#### {answer}"):
        assert not grader.compare(grader.extract(text), "42").correct


@pytest.mark.parametrize("answer", ["(9^{9999})^{9999}", "(" * 400, "\\binom{10^9}{5 \\cdot 10^8}"])
def test_what_stalls_sympy_is_wrong_in_time(answer: str, impatient: MathWorker) -> None:
    started = time.monotonic()
    assert same_math(answer, "42", impatient) == (False, How.TIME_OUT)
    assert time.monotonic() - started < 3
    impatient.timeout_s = 60
    assert same_math("x+1", "1+x", impatient) == (True, How.MATH_VERIFY)


def test_a_worker_that_dies_is_replaced(impatient: MathWorker) -> None:
    impatient.timeout_s = 60
    stalled: list[Verdict] = []
    thread = threading.Thread(target=lambda: stalled.append(impatient.compare("(" * 400, "1")))
    thread.start()
    time.sleep(0.3)
    assert impatient._process is not None
    impatient._process.kill()
    thread.join()
    assert stalled == [Verdict.CRASH]
    assert impatient.compare("x+1", "1+x") is Verdict.EQUAL


def test_the_worker_serves_many_threads() -> None:
    verdicts: dict[int, Verdict] = {}

    def ask(n: int) -> None:
        verdicts[n] = WORKER.compare(f"x+{n % 2}", "1+x")

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == {n: Verdict.EQUAL if n % 2 else Verdict.DIFFERENT for n in range(8)}


@settings(max_examples=60, deadline=None)
@given(answers, answers)
def test_equality_is_symmetric(a: str, b: str) -> None:
    assert same_math(a, b) == same_math(b, a)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="\\frac{}12x^_,()[]!$% =+-", max_size=40))
def test_grading_never_raises(text: str) -> None:
    same_number(text, "1")
    normal_form(text)
    assert same_math(text, "\\frac{\\pi}{7}", WORKER)[0] is False or "pi" in text


def test_summary_has_its_interval() -> None:
    grades = [Grade(True, "exact")] * 50 + [Grade(False, "form")] * 450
    assert summary(grades) == (
        "50 of 500 correct, 10.00% (95% interval 7.67% to 12.94%): 450 wrong (form), 50 correct (exact)"
    )


LINES: list[dict[str, object]] = [
    {"prediction": "so \\boxed{\\frac12}", "reference": "0.5", "id": 7},
    {"prediction": "0.5", "reference": "thus $\\boxed{\\frac{1}{2}}$"},
    {"prediction": "we are\nnot done", "reference": "1"},
    {"prediction": "", "reference": "1"},
]


def test_command_line(tmp_path: Path) -> None:
    source, out = tmp_path / "answers.jsonl", tmp_path / "graded.jsonl"
    source.write_text("\n".join(map(json.dumps, LINES)))
    ran = subprocess.run(
        [sys.executable, "-m", "bench.grade", str(source), "--task", "math", "--out", str(out)],
        capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=60,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "")
    assert ran.stderr.startswith("2 of 4 correct, 50.00%") and ran.stderr.count("\n") == 1
    graded = [json.loads(line) for line in out.read_text().splitlines()]
    assert graded[0] == LINES[0] | {"extracted": "\\frac12", "correct": True, "how": "numeric"}
    assert [line["correct"] for line in graded] == [True, True, False, False]
    assert [line["extracted"] for line in graded[2:]] == [None, None]


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: must be a JSON object, not [1]"),
        ('{"reference": "1"}', "line 2: 'prediction' must be a string"),
        ('{"prediction": "1"}', "line 2: no field 'reference'"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(
    second: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "answers.jsonl", tmp_path / "graded.jsonl"
    source.write_text(json.dumps(LINES[0]) + "\n" + second + "\n")
    assert main([str(source), "--task", "gsm8k", "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert f"{source}, {reason}" in printed.err and printed.err.count("\n") == 1
    assert printed.out == "" and not out.exists()


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "answers.jsonl"
    source.write_text(json.dumps(LINES[0]))
    assert main([str(source), "--task", "math", "--out", str(source)]) == 2
    assert json.loads(source.read_text()) == LINES[0]


def test_gold_against_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "test.jsonl"
    source.write_text(json.dumps({"question": "2 + 2?", "answer": "2+2=<<2+2=4>>4\n#### 4"}))
    assert main([str(source), "--task", "gsm8k", "--gold"]) == 0
    assert "1 of 1 correct" in capsys.readouterr().err


def test_no_worker_outlives_its_parent() -> None:
    code = "from bench.grading.equality import WORKER; WORKER.start(); print(WORKER._process.pid)"
    root = Path(__file__).parents[1]
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    assert not Path(f"/proc/{ran.stdout.strip()}").exists()
    assert ran.returncode == 0, ran.stderr
