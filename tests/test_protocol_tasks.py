"""The tasks of Eurus's evaluation, on made-up rows of the published schemas."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.grading.grade import Grade
from bench.tasks import TASKS, TEXT_TASKS
from bench.tasks.base import Example
from bench.tasks.bbh import Bbh
from bench.tasks.leetcode import LeetCode
from bench.tasks.theoremqa import TheoremQA
from prm.data.rows import Row
from search.errors import UsageError
from search.types import Problem
from tests.sandboxed import why_not

SVAMP = {
    "ID": "chal-0", "Body": "A jar holds 5 figs and 3 are eaten", "Question": "How many figs are left?",
    "Equation": "( 5.0 - 3.0 )", "Answer": 2.0, "Type": "Subtraction",
}  # fmt: skip
ASDIV = {
    "body": "Ilo has 4 pens. He buys 5 more.", "question": "How many pens has he?", "answer": "9 (pens)",
    "solution_type": "Addition", "formula": "4+5=9",
}  # fmt: skip
LILA = {
    "Source": "", "Categories": [], "Metadata": {}, "Instances": [
        {"Input": "1 + 1 figs?", "Output Program": ["print(1+1)"], "Output Answer": ["2"], "split": "train"},
        {"Input": "What is 8 to 6?", "Output Program": [], "Output Answer": ["4:3"], "split": "test"},
    ],
}  # fmt: skip
GSM_PLUS = {
    "question": "Uma reads 2 pages on each of 6.5 days. How many?", "solution": "2*6.5=13", "answer": "13",
    "perturbation_type": "integer-decimal-fraction conversion", "seed_answer": "12",
    "seed_question": "Uma reads 2 pages on 6 days?", "seed_solution": "2*6=12",
}  # fmt: skip
LACKING = {**GSM_PLUS, "answer": "None", "perturbation_type": "critical thinking"}
THEOREMQA = {
    "id": "made/up_1.json", "Question": "What is the square root of 2?", "Answer": 1.414,
    "Answer_type": "float", "Picture": None, "theorem": "none", "field": "Math",
}  # fmt: skip
LEETCODE = {
    "task_id": "made-up-sum", "url": "", "title": "made-up-sum", "meta": {"difficulty": "Easy"},
    "prompt_sft": "Add the numbers.\n\n```python\nclass Solution:\n"
    "    def total(self, xs: List[int]) -> int:\n        \n```",
    "start_time": 0,
    "test": "\nmy_solution = Solution()\n\ntest_input = { \"xs\": [1, 2] }\n"
    "assert my_solution.total(**test_input) == 3\n",
}  # fmt: skip
SHOTS = (
    "Say which letter comes first.\n\nQ: b or a?\nA: Let's think step by step.\na is before b. So the answer "
    "is a.\n\nQ: c or d?\nA: Let's think step by step.\nc is before d. So the answer is c."
)


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# -- word problems -------------------------------------------------------------------------------------


def test_svamp(tmp_path: Path) -> None:
    path = write_json(tmp_path / "SVAMP.json", [SVAMP, SVAMP])
    task = TEXT_TASKS["svamp"]()
    question = "A jar holds 5 figs and 3 are eaten. How many figs are left?"
    first, second = task.load(tmp_path, None)
    assert first == Example(Problem("svamp/1", question), "2.0", "Subtraction")
    assert task.load(path, 1) == [first] and second.problem.id == "svamp/2"
    assert task.grade(first.problem, task.extract("So \\boxed{2} figs.")) == Grade(True, "numeric")
    assert task.grade(first.problem, task.extract("The answer is about 2 figs.")).correct
    assert task.grade(first.problem, task.extract("The answer is that there are 2 figs.")).correct
    assert not task.grade(first.problem, task.extract("The answer is 3.")).correct


def test_asdiv_of_the_hub_and_of_lila(tmp_path: Path) -> None:
    task = TEXT_TASKS["asdiv"]()
    [example] = task.load(write_lines(tmp_path / "rows.jsonl", ASDIV), None)
    question = "Ilo has 4 pens. He buys 5 more. How many pens has he?"
    assert example == Example(Problem("asdiv/1", question), "9", "Addition")
    write_json(tmp_path / "asdiv.json", LILA)
    [example] = task.load(tmp_path, None)
    assert example == Example(Problem("asdiv/2", "What is 8 to 6?"), "4:3"), "only the test split"
    assert task.grade(example.problem, task.extract("It is \\boxed{4:3}.")).correct
    assert not task.grade(example.problem, task.extract("It is \\boxed{3:4}.")).correct


def test_gsm_plus_and_its_questions_without_an_answer(tmp_path: Path) -> None:
    task = TEXT_TASKS["gsm_plus"]()
    first, lacking = task.load(write_lines(tmp_path / "gsmplus_test.jsonl", GSM_PLUS, LACKING), None)
    assert first == Example(
        Problem("gsm_plus/1", GSM_PLUS["question"]), "13", "integer-decimal-fraction conversion"
    )
    assert task.grade(first.problem, task.extract("It is \\boxed{13.0}.")).correct
    assert task.grade(lacking.problem, task.extract("It is \\boxed{None}.")).correct
    assert not task.grade(lacking.problem, task.extract("It is \\boxed{13}.")).correct


# -- TheoremQA -----------------------------------------------------------------------------------------


def test_theoremqa(tmp_path: Path) -> None:
    task = TEXT_TASKS["theoremqa"]()
    hub = {"Question": "Is 7 prime?", "Answer": "True", "Answer_type": "bool", "Picture": None}
    write_json(tmp_path / "theorem_qa.json", [THEOREMQA, hub, {**hub, "Answer": True}])
    first, second, third = task.load(tmp_path, None)
    assert first == Example(
        Problem("theoremqa/made/up_1.json", "What is the square root of 2?"), "1.414", "float"
    )
    assert second.problem.id == "theoremqa/2" and second.reference == third.reference == "True"
    assert task.grade(first.problem, task.extract("So it is \\boxed{1.4}.")).correct
    assert task.grade(first.problem, task.extract("The answer is approximately 1.41.")).correct
    assert task.grade(second.problem, task.extract("Hence the answer is True.")).correct


@pytest.mark.parametrize(
    ("reference", "right", "wrong"),
    [
        ("0.5", ["0.5", "0.519", "\\frac{1}{2}", "x = 0.5", "0.5 \\text{ m}", "0.5 cm"], ["0.53", "-0.5"]),
        ("-2.0", ["-2", "-2.07", "$-2$"], ["2", "-2.1"]),
        ("1e-05", ["0.00001", "1 \\times 10^{-5}"], ["0.0001"]),
        ("3", ["3", "3.2", "2.9", "3.0"], ["4", "3.6", "-3"]),
        ("11760", ["11,760", "11760"], ["11761", "1,176"]),
        ("True", ["True", "true", "Yes", "\\text{True}"], ["False", "no", "1", "maybe"]),
        ("False", ["False", "no", "No.", "False, because", "no since"], ["True", "not sure", "no one"]),
        ("(b)", ["(b)", "b", "(B)", "(b) because", "b) x", "b."], ["(a)", "c", "both", "none", "b or c"]),
        ("(a)", ["a", "(a)", "A: x"], ["a function", "b"]),
        ("[1, 2, 3]", ["[1, 2, 3]", "3, 2, 1", "(1,2,3)"], ["[1, 2]", "[1, 2, 4]", "1", "[1, x, 3]"]),
        ("[0.5, -1.5]", ["[-1.5, 0.51]", "\\{-1.5, 0.5\\}"], ["[0.5, 1.5]"]),
        ("[5]", ["[5]", "5"], ["[6]", "[5, 5]"]),
        ("[2, -2]", ["\\pm 2", "x = [2, -2]"], ["2:-2"]),
    ],
)
def test_theoremqa_compares_by_type(reference: str, right: list[str], wrong: list[str]) -> None:
    task = TheoremQA()
    assert [answer for answer in right if not task.compare(answer, reference).correct] == []
    assert [answer for answer in wrong if task.compare(answer, reference).correct] == []
    assert task.compare(None, reference) == Grade(False, "no answer")


@pytest.mark.parametrize(
    ("reference", "right", "wrong"),
    [
        (
            "1.414",
            ["\\sqrt{2}", "$x = \\sqrt2$", "sqrt(2)", "\\sqrt{2} \\text{ m}"],
            ["\\sqrt{3}", "\\sqrt{-2}"],
        ),
        ("6.28", ["2\\pi", "2 \\pi \\approx 6.283"], ["\\pi", "2\\pi, 1", "2\\pi r"]),
        ("0.368", ["e^{-1}", "\\frac{1}{e}", "\\exp(-1)"], ["e^{-x}", "e"]),
        ("0.693", ["\\ln 2", "\\log_{e} 2"], ["\\ln 3"]),
        ("3.32", ["\\log_2 10"], ["\\infty"]),
        ("0.785", ["\\frac{\\pi}{4}", "\\pi/4"], ["\\frac{\\pi}{0}"]),
        ("3", ["\\sqrt{9}", "\\pi"], ["\\sqrt{13}"]),
        (
            "[0.5, 1.414]",
            ["[\\frac12, \\sqrt2]", "\\left[\\sqrt{2}, \\frac{1}{2}\\right]"],
            ["[\\frac12, \\sqrt3]"],
        ),
        ("[0.785, 0.5]", ["[\\frac{1}{2}, \\frac{\\pi}{4}]"], ["\\frac{\\pi}{4}"]),
    ],
)
def test_theoremqa_evaluates_exact_answers(reference: str, right: list[str], wrong: list[str]) -> None:
    test_theoremqa_compares_by_type(reference, right, wrong)


# -- BIG-Bench Hard ------------------------------------------------------------------------------------


def bbh_clone(folder: Path) -> Path:
    example = {"input": "f or e?", "target": "e"}
    write_json(folder / "bbh" / "letters.json", {"canary": "", "examples": [example]})
    (folder / "cot-prompts").mkdir()
    (folder / "cot-prompts" / "letters.txt").write_text(f"canary\n-----\n{SHOTS}\n")
    return folder


def test_bbh_of_the_authors_and_of_eurus_are_the_same(tmp_path: Path) -> None:
    task = TEXT_TASKS["bbh"]()
    [first] = task.load(bbh_clone(tmp_path), None)
    text = f"{SHOTS}\n\nQ: f or e?\nA: Let's think step by step."
    assert first == Example(Problem("bbh/letters/1", text), "e", "letters")
    line = {"task_name": "letters", "text": text, "reference": "e"}
    [again] = task.load(write_lines(tmp_path / "test_prompts.json", line), None)
    assert again == Example(Problem("bbh/1", text), "e", "letters")


def test_bbh_asks_as_a_chat(tmp_path: Path) -> None:
    task = Bbh()
    [example] = task.load(bbh_clone(tmp_path), None)
    turns = task.prompts["eurus"].messages(example.problem.question)
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert turns[0]["content"] == (
        "Follow the given examples and answer the question.\n\nSay which letter comes first.\nQ: b or a?"
    )
    assert turns[1]["content"] == "A: Let's think step by step.\na is before b. So the answer is a."
    assert turns[-1]["content"] == "Q: f or e?"
    assert task.prompts["eurus"].messages("Why?")[-1]["content"].endswith("question.\n\nWhy?")


@pytest.mark.parametrize(
    ("text", "reference", "right"),
    [
        ("e is before f. So the answer is e.", "e", True),
        ("I know. So the answer is yes.", "no", False),
        ("So the answer is No. That is all.", "no", True),
        ("The answer is 1. No: the answer is 24.", "24", True),
        ("So the answer is (B).", "(B)", True),
        ("So the answer is B.", "(B)", True),
        ("So the answer is (B) rains.", "(B)", True),
        ("So the answer is (A).", "(B)", False),
        ("So the answer is > ] ).", "> ] )", True),
        ("It is \\boxed{(C)}.", "(C)", True),
        ("So the answer is $\\boxed{C}$.", "(C)", True),
        ("So the answer is **Yes.**", "yes", True),
        ("So the answer is **Yes.** It is.", "yes", True),
        ("So the answer is `figs oaks`.", "figs oaks", True),
        ("So the answer is Option (B).", "(B)", True),
        ("So the answer is **option B**.", "(B)", True),
        ("So the answer is B) rains.", "(B)", True),
        ("So the answer is A.", "(B)", False),
        ("So the answer is a red ball.", "(A)", False),
        ("So the answer is A's ball.", "(A)", False),
        ("So the answer is No, because it rains.", "no", True),
        ("So the answer is no because it rains.", "yes", False),
        ("So the answer is no one.", "no", False),
        ("So the answer is Figs, Inc.", "Figs, Inc", True),
        ("e", "e", False),
    ],
)
def test_bbh_reads_what_follows_the_answer_is(text: str, reference: str, right: bool) -> None:
    task = Bbh()
    assert task.compare(task.extract(text), reference).correct is right


# -- LeetCode ------------------------------------------------------------------------------------------

PREFILLED = "\nclass Solution:\n    def total(self, xs: List[int]) -> int:\n        return {}\n```\nIt adds."
FENCED = "Here:\n```python\nclass Solution:\n    def total(self, xs):\n        return {}\n```\n"


@pytest.fixture
def leetcode(tmp_path: Path) -> tuple[LeetCode, Example]:
    if reason := why_not():
        pytest.skip(reason)
    task = LeetCode()
    [example] = task.load(write_lines(tmp_path / "20240121-Jul.jsonl", LEETCODE), None)
    return task, example


@pytest.mark.parametrize("text", [PREFILLED, FENCED])
def test_leetcode(leetcode: tuple[LeetCode, Example], text: str) -> None:
    task, example = leetcode
    assert example == Example(Problem("leetcode/made-up-sum", str(LEETCODE["prompt_sft"])), "", "Easy")
    answers = task.answers(example.problem)
    right, wrong = (answers.extract(text.format(code)) for code in ("sum(xs)", "len(xs)"))
    assert task.grade(example.problem, right) == Grade(True, "passed")
    assert task.grade(example.problem, wrong) == Grade(False, "assertion")
    assert right is not None and wrong is not None and not answers.equal(right, wrong)


def test_leetcode_imports_what_the_authors_do(leetcode: tuple[LeetCode, Example]) -> None:
    task, example = leetcode
    program = task.answers(example.problem).extract(FENCED.format("reduce(lambda a, b: a + b, deque(xs))"))
    assert task.grade(example.problem, program).correct


def test_an_empty_class_is_no_program(leetcode: tuple[LeetCode, Example]) -> None:
    task, example = leetcode
    empty = "\nclass Solution:\n    def total(self, xs):\n        pass\n```"
    assert task.answers(example.problem).extract(empty) is None


# -- sources -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "content", "reason"),
    [
        ("svamp", [{**SVAMP, "Answer": None}], "'Answer' must be a non-empty string, not null"),
        ("svamp", [{"Question": "?"}], "no field 'Body'"),
        ("asdiv", {"rows": []}, "must be a JSON object with the rows as a list 'Instances'"),
        ("asdiv", {"Instances": [{**LILA["Instances"][1], "Output Answer": []}]}, "a list of one string"),  # type: ignore[index]
        ("gsm_plus", [{"question": "?"}], "no field 'answer'"),
        ("theoremqa", [{**THEOREMQA, "Answer": None}], "'Answer' must be a text, a number"),
        ("theoremqa", [{**THEOREMQA, "Answer": "two"}], "'Answer' must hold numbers, not two"),
        ("theoremqa", [{**THEOREMQA, "Answer": [1, "x"]}], "'Answer' must hold numbers"),
    ],
)
def test_a_bad_row_is_named(task: str, content: object, reason: str, tmp_path: Path) -> None:
    path = write_json(tmp_path / "data.json", content)
    with pytest.raises(UsageError) as raised:
        TASKS[task]().load(path, None)
    assert str(raised.value).startswith(str(path)) and reason in str(raised.value)


def test_bbh_names_what_is_missing(tmp_path: Path) -> None:
    task = Bbh()
    with pytest.raises(UsageError, match=r"there is no bbh/\*\.json"):
        task.load(tmp_path, None)
    (bbh_clone(tmp_path) / "cot-prompts" / "letters.txt").unlink()
    with pytest.raises(UsageError, match=r"cannot read the worked examples in .*letters\.txt"):
        task.load(tmp_path, None)
    with pytest.raises(UsageError, match="'text' must have worked examples"):
        task.load(
            write_lines(tmp_path / "x.json", {"task_name": "t", "text": "Q: 1?", "reference": "1"}), None
        )


@pytest.mark.parametrize(
    "task",
    ["svamp", "asdiv", "gsm_plus", "theoremqa", "ifeval", "leetcode", "bbh", "mint_math", "mint_code"],
)
def test_a_missing_file_is_named(task: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*absent"):
        TASKS[task]().load(tmp_path / "absent", None)


@pytest.mark.parametrize("task", ["leetcode", "bbh", "mint_math", "mint_code"])
def test_without_data_the_source_is_named(task: str) -> None:
    with pytest.raises(UsageError, match="--data PATH"):
        TASKS[task]().load(None, None)


@pytest.mark.parametrize(
    ("task", "row", "asked"),
    [
        ("svamp", {**SVAMP, "Answer": "2.0"}, ("ChilleD/SVAMP", "train+test")),
        ("asdiv", ASDIV, ("EleutherAI/asdiv", "validation")),
        ("gsm_plus", GSM_PLUS, ("qintongli/GSM-Plus", "test")),
        ("theoremqa", {**THEOREMQA, "Answer": "1.414"}, ("TIGER-Lab/TheoremQA", "test")),
    ],
)
def test_the_hub_is_asked_for(
    task: str, row: dict[str, Any], asked: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []

    def hub_rows(name: str, split: str, *, stream: bool) -> list[Row]:
        calls.append((name, split))
        return [Row("hub, row 1", 1, row)]

    module = "theoremqa" if task == "theoremqa" else "word_problems"
    monkeypatch.setattr(f"bench.tasks.{module}.hub_rows", hub_rows)
    load: Callable[[None, int], list[Example]] = TASKS[task]().load
    assert len(load(None, 1)) == 1 and calls == [asked]
