"""Kinds of answers that public graders and this one got wrong, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.runner.cli.grade import main

CASES = [
    (
        "greek-letter-taken-for-code",
        "math",
        "The characteristic polynomial is $\\boxed{\\lambda^2 + 6 - 5\\lambda}$.",
        "\\lambda^2-5\\lambda+6",
        True,
    ),
    ("list-order", "math", "The two squares are $\\boxed{121, 484}$.", "484, 121", True),
    ("list-is-no-thousands", "math", "$\\boxed{121484}$", "121, 484", False),
    ("several-boxes", "math", "The solutions are $\\boxed{1331}$ and $\\boxed{1728}$.", "1331, 1728", True),
    ("tiny-values", "math", "$\\boxed{\\frac{1}{2006!}}$", "\\frac{1}{2004!}", False),
    ("tiny-values", "math", "$\\boxed{\\frac{1}{2^{98}}}$", "\\frac{1}{2^{99}}", False),
    ("ordinal", "math", "$\\boxed{12^{\\text{th}}}$", "12", True),
    ("plain-unicode", "math", "The answer is √2/2.", "\\frac{\\sqrt{2}}{2}", True),
    ("plain-unicode", "math", "The answer is 2√3.", "2\\sqrt{3}", True),
    ("choice-with-text", "math", "$\\boxed{E: \\text{a polygenic score}}$", "E", True),
    (
        "box-inside-brackets",
        "math",
        "The polar coordinates are: $(\\boxed{3, \\frac{\\pi}{2}})$.",
        "\\left( 3, \\frac{\\pi}{2} \\right)",
        True,
    ),
    (
        "no-marker-last-math",
        "math",
        "\\[\n(2 + 1)(2 + 1) = 9\n\\]\n\nSo, 196 has \\( 9 \\) positive divisors.",
        "9",
        True,
    ),
    ("hash-line-with-words", "gsm8k", "She makes 9 * 2 = 18.\n#### 18 dollars per 7 days", "18", True),
    ("thin-space", "gsm8k", "The profit is $\\boxed{70\\,000}$.", "70000", True),
    ("space-thousands", "gsm8k", "#### 1 000 000", "1000000", True),
    ("mixed-number", "gsm8k", "Each gets so much.\n#### 2 1/2", "2.5", True),
    ("mixed-number", "gsm8k", "$\\boxed{2\\frac{1}{2}}$", "0.5", False),
    ("exponent", "gsm8k", "#### 1.5e3", "1500", True),
    ("equation-for-its-right-side", "math", "The answer is $\\boxed{13}$.", "x^2 + y^2 = 13", False),
    ("interval-for-a-list", "math", "\\boxed{x=2\\text{ or }x=4}", "(2,4)", False),
    ("interval-for-a-list", "math", "\\boxed{1,2}", "1<x<2", False),
]
STATES_NO_ANSWER = "There are $4$ odd ones.\nSo there are $9$ of them."


def graded(tmp_path: Path, task: str, rows: list[tuple[str, str]], *options: str) -> list[dict[str, object]]:
    """The command's output for (prediction, reference) pairs."""
    source, out = tmp_path / f"{task}.jsonl", tmp_path / f"{task}.graded.jsonl"
    lines = [json.dumps({"prediction": prediction, "reference": reference}) for prediction, reference in rows]
    source.write_text("\n".join(lines))
    assert main([str(source), "--task", task, "--out", str(out), *options]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.parametrize("task", ["math", "gsm8k"])
def test_cases(task: str, tmp_path: Path) -> None:
    cases = [case for case in CASES if case[1] == task]
    rows = graded(tmp_path, task, [(prediction, reference) for *_, prediction, reference, _ in cases])
    verdicts = {
        (kind, row["prediction"]): row["correct"] for (kind, *_), row in zip(cases, rows, strict=True)
    }
    assert verdicts == {(kind, prediction): correct for kind, _, prediction, _, correct in cases}


@pytest.mark.parametrize("task", ["math", "gsm8k", "jsonl"])
def test_a_text_that_states_no_answer(task: str, tmp_path: Path) -> None:
    pairs = [(STATES_NO_ANSWER, "9"), ("The answer is 9.", "9"), ("9", "9")]
    rows = graded(tmp_path, task, pairs)
    assert [row["correct"] for row in rows] == [True, True, True]
    assert [row["how"] == "fallback" for row in rows] == [True, False, False]
    strict = graded(tmp_path, task, pairs, "--strict")
    assert [row["correct"] for row in strict] == [False, True, True]
    assert (strict[0]["extracted"], strict[0]["how"]) == (None, "no answer")


def test_one_line_is_a_bare_answer_or_a_sentence(tmp_path: Path) -> None:
    pairs = [
        ("So there are $9$ of them.", "9"),
        ("x = 2 or x = 4", "2, 4"),
        ("all real numbers except 3", "all real numbers except 3"),
        ("$5$ cm", "5"),
    ]
    rows = graded(tmp_path, "math", pairs)
    assert [row["correct"] for row in rows] == [True] * 4
    assert [row["how"] == "fallback" for row in rows] == [True, False, False, False]


def test_references_that_state_no_answer_are_read_like_solutions(tmp_path: Path) -> None:
    (row,) = graded(tmp_path, "gsm8k", [("A: 18", "9 * 2 = 18 in all\nA: 18")], "--strict")
    assert row["correct"] is False and row["how"] == "no answer"
    (row,) = graded(tmp_path, "gsm8k", [("#### 18", "9 * 2 = 18 in all\nA: 18")], "--strict")
    assert row["correct"] is True


def test_references_of_several_lines(tmp_path: Path) -> None:
    matrix = "\\begin{pmatrix}\n1 \\\\\n2\n\\end{pmatrix}"
    pairs = [
        (f"\\boxed{{{matrix}}}", matrix),
        ("\\boxed{90\\text{ square\nunits}}", "90\\text{ square\nunits}"),
        ("\\boxed{90}", "90\\text{ square\nunits}"),
        ("\\boxed{2, 1}", "1\n2"),
        ("\\boxed{9}", "There are $4$ odd ones.\nSo there are $9$ of them."),
    ]
    assert [row["correct"] for row in graded(tmp_path, "math", pairs)] == [True] * 5


def test_all_boxes_of_a_gold_solution_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    solution = "The answers are $\\boxed{-2}$ and $\\boxed{1}$."
    rows = [{"problem": "?", "solution": solution, "answer": "1"}, {"problem": "?", "solution": solution}]
    (tmp_path / "gold.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert main([str(tmp_path / "gold.jsonl"), "--task", "math", "--gold"]) == 0
    printed = capsys.readouterr()
    assert [json.loads(line)["extracted"] for line in printed.out.splitlines()] == ["-2, 1"] * 2
    assert "2 of 2 correct" in printed.err
