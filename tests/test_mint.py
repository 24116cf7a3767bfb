"""MINT's tasks, on made-up rows of the published schema."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bench.grading.grade import Grade
from bench.runner.episodes import TaskChecker
from bench.tasks import CODE_TASKS, TASKS, TEXT_TASKS
from bench.tasks.base import Example, Task
from bench.tasks.choices import Choices, options_of
from bench.tasks.code import SharedSandbox
from bench.tasks.mint import solution_in
from bench.tasks.mint_math import MintMath
from mutation.sandbox.cells import LIMITS, Cells
from search.environments.python import PythonEnvironment
from search.errors import UsageError
from search.types import Problem, Step, Stop
from tests.sandboxed import why_not

Rows = dict[str, list[dict[str, Any]]]
OPTIONS = "What is 2 + 4?\nOptions: A ) 5 , B ) \\frac{12}{2} , C ) 60 , D ) A and B"
MATH: Rows = {
    "math": [
        {"id": 0, "prompt": "What is 7 + 3?", "reference": "10.0"},
        {"id": 12, "prompt": "What is $\\frac{5}{4}$, to one decimal?", "reference": "1.3"},
    ],
    "theoremqa": [
        {"id": 1, "prompt": "What are the roots?", "reference": [0, 5], "answer_type": "list of integer"},
        {"id": 3, "prompt": "Is 9 prime?", "reference": False, "answer_type": "bool"},
        {"id": 4, "prompt": "Which? Options: a ) x , b ) y", "reference": "b", "answer_type": "option"},
        {"id": 7, "prompt": "What is its square root?", "reference": 1.414, "answer_type": "float"},
    ],
    "mmlu": [{"id": 0, "prompt": OPTIONS, "reference": "b"}],
}
GSM8K: Rows = {"gsm8k": [{"id": 5, "prompt": "2 figs and 3 figs?", "reference": "5"}]}
IDS = ["math/0", "math/12", "theoremqa/1", "theoremqa/3", "theoremqa/4", "theoremqa/7", "mmlu/0"]
HALVES = 'def halves(n: int) -> int:\n    """Half of n.\n    >>> halves(4)\n    2\n    """'
CHECK = "\n\ndef check(candidate):\n    assert candidate(6) == 3\n    assert candidate(8) == 4\n"
HUMANEVAL = {
    "id": 0, "task_id": "HumanEval/999", "prompt": HALVES, "reference": f"{CHECK}\n\ncheck(halves)",
    "canonical_solution": "    return n // 2\n", "test": CHECK, "entry_point": "halves",
}  # fmt: skip
TESTS = ["assert double(2) == 4", "assert double(3) == 6", "assert double('a') == 'aa'"]
MBPP = {
    "id": 7, "task_id": 16, "prompt": f'"""\nWrite a function to double.\n{TESTS[0]}\n"""\n',
    "reference": "\n".join(TESTS), "text": "Write a function to double.",
    "code": "def double(x):\r\n    return x + x", "test_list": TESTS, "test_setup_code": "",
    "challenge_test_list": ["assert double(1) == 3"],
}  # fmt: skip
CODE: Rows = {"humaneval": [HUMANEVAL], "mbpp": [MBPP]}


def write(folder: Path, sources: Rows) -> Path:
    """A folder like the authors' data/processed."""
    for source, rows in sources.items():
        (folder / source).mkdir(parents=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / source / "test_prompts.json").write_text(lines)
    return folder


def problem(name: str) -> Problem:
    return Problem(f"mint/{name}", "")


def said(message: str) -> Step:
    return Step(message, (), 0.0, Stop.END)


# -- sources -------------------------------------------------------------------------------------------


def test_a_clone_its_data_and_one_source_are_read(tmp_path: Path) -> None:
    task = TEXT_TASKS["mint_math"]()
    processed = write(tmp_path / "data" / "processed", MATH | GSM8K)
    examples = task.load(tmp_path, None)
    assert [example.problem.id for example in examples] == [f"mint/{name}" for name in IDS]
    assert examples[0] == Example(Problem("mint/math/0", "What is 7 + 3?"), "10", "math")
    assert examples[-1] == Example(Problem("mint/mmlu/0", OPTIONS), "(B) \\frac{12}{2}", "mmlu")
    assert [e.reference for e in examples[1:-1]] == ["1.3", "[0, 5]", "False", "b", "1.414"]
    assert task.load(processed, None) == examples and task.load(processed, 3) == examples[:3]
    for one in (processed / "mmlu", processed / "mmlu" / "test_prompts.json"):
        assert task.load(one, None) == examples[-1:]


def test_gsm8k_is_read_only_by_itself(tmp_path: Path) -> None:
    write(tmp_path, GSM8K)
    [example] = TEXT_TASKS["mint_math"]().load(tmp_path / "gsm8k" / "test_prompts.json", None)
    assert example == Example(Problem("mint/gsm8k/5", "2 figs and 3 figs?"), "5", "gsm8k")


@pytest.mark.parametrize("task", ["mint_math", "mint_code"])
def test_a_file_of_another_source_is_refused(task: str, tmp_path: Path) -> None:
    write(tmp_path, {"hotpotqa": [{"id": 0, "prompt": "Who?", "reference": "no one"}]})
    with pytest.raises(UsageError, match=r"hotpotqa/test_prompts\.json: must be in a folder that is named"):
        TASKS[task]().load(tmp_path / "hotpotqa" / "test_prompts.json", None)
    with pytest.raises(UsageError, match=r"cannot read .*test_prompts\.json: there is no such file"):
        TASKS[task]().load(tmp_path, None)


@pytest.mark.parametrize(
    ("source", "row", "reason"),
    [
        ("math", {"id": 0, "prompt": "1?"}, "no field 'reference'"),
        ("math", {"id": 0, "reference": "1"}, "no field 'prompt'"),
        ("math", {"id": 0, "prompt": "1?", "reference": "x"}, "'reference' must be a number, not 'x'"),
        ("gsm8k", {"id": 0, "prompt": "1?", "reference": None}, "'reference' must be a non-empty string"),
        ("mmlu", {"id": 0, "prompt": OPTIONS, "reference": "e"}, "must be one of a, b, c, d, not 'e'"),
        ("mmlu", {"id": 0, "prompt": OPTIONS, "reference": ""}, "'reference' must be a non-empty string"),
        ("mmlu", {"id": 0, "prompt": "Which?", "reference": "a"}, "'prompt' must end with options"),
        ("theoremqa", {"id": 1, "prompt": "1?", "reference": None}, "'reference' must be a text, a number"),
        (
            "theoremqa",
            {"id": 1, "prompt": "1?", "reference": "two", "answer_type": "float"},
            "'reference' must hold numbers, not two",
        ),
        ("humaneval", {**HUMANEVAL, "reference": ""}, "'reference' must be a non-empty string"),
        ("humaneval", {**HUMANEVAL, "prompt": "def halves("}, "'prompt' must begin a function"),
        ("mbpp", {**MBPP, "reference": None}, "'reference' must be a non-empty string"),
        ("mbpp", {**MBPP, "code": "x = 1"}, "'code' must define a function"),
        ("mbpp", {**MBPP, "task_id": 9999}, "task 9999"),
    ],
)
def test_a_bad_row_is_named(source: str, row: dict[str, Any], reason: str, tmp_path: Path) -> None:
    task = "mint_code" if source in CODE else "mint_math"
    if task == "mint_code" and (why := why_not()):
        pytest.skip(why)
    file = write(tmp_path, {source: [row]}) / source / "test_prompts.json"
    with pytest.raises(UsageError) as raised:
        TASKS[task]().load(file, None)
    assert str(raised.value).startswith(f"{file}, line 1: ") and reason in str(raised.value)


# -- answers in words and numbers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("<thought>3</thought> It is <solution> 42 </solution>.", " 42 "),
        ("<solution>1</solution> No: <Solution>2</Solution>", "2"),
        ("Use <solution> tags. <solution>3", "3"),
        ("<solution>4</solution><solution> </solution>", "4"),
        ("<execute>5</execute>", None),
    ],
)
def test_the_last_solution_is_read(text: str, inside: str | None) -> None:
    assert solution_in(text) == inside


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So 7. <solution> $\\frac{1}{2}$ </solution> Or 9.", "\\frac{1}{2}"),
        ("<solution>The answer is \\boxed{4}.</solution>", "4"),
        ("<solution>\n[1, 2]\n</solution>", "[1, 2]"),
        ("No tags: \\boxed{5}.", "5"),
        ("No tags, and the answer is 6.", "6"),
    ],
)
def test_what_a_message_states(text: str, answer: str) -> None:
    task = MintMath()
    assert task.stated(text) == answer and not task.falls_back(text)


def test_a_guess_is_a_fallback() -> None:
    task = MintMath()
    assert task.extract("It makes 7 figs.") == "7" and task.falls_back("It makes 7 figs.")
    task.strict = True
    assert task.answers(problem("math/0")).extract("It makes 7 figs.") is None


@pytest.fixture(scope="module")
def math(tmp_path_factory: pytest.TempPathFactory) -> Task:
    task = MintMath()
    task.load(write(tmp_path_factory.mktemp("mint"), MATH), None)
    return task


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        (
            "math/0",
            ["10", "10.0", "$10$", "x = 10", "10 cm", "\\frac{20}{2}", "There are 10 figs"],
            ["10.4", "9.6", "110", "110.0 m", "1", "0", "10, 11", "not 9"],
        ),
        ("math/12", ["1.3", "1.25", "\\frac{5}{4}", "x = 1.36"], ["1.2", "1.37", "-1.3", "11.3", "x"]),
        ("theoremqa/1", ["[0, 5]", "5, 0", "(0, 5)"], ["[0, 5, 5]", "[0, 6]", "5", "05"]),
        ("theoremqa/3", ["False", "false.", "no", "\\text{False}"], ["True", "not sure", "0"]),
        ("theoremqa/4", ["b", "(b)", "b ) y", "B"], ["a", "(a)", "y b"]),
        ("theoremqa/7", ["1.414", "\\sqrt{2}", "1.46", "It is 1.414"], ["1.48", "14.14", "2"]),
        (
            "mmlu/0",
            ["b", "B", "(b)", "(B).", "b )", "B. 6", "b ) \\frac{12}{2}", "Option B", "**B**", "choice: (b)",
             "\\textbf{(B)}", "\\frac{12}{2}", "6", "$6.0$", "(B), since 2 + 4 = 6"],
            ["a", "(A)", "c ) 6", "D ) A and B", "A and B", "5", "60", "16", "(a) or (b)", "b or c", "e",
             "not b", "both", "because", "x"],
        ),
    ],
)  # fmt: skip
def test_answers_are_graded_by_source(name: str, right: list[str], wrong: list[str], math: Task) -> None:
    def correct(answer: str) -> bool:
        text = f"<thought>10 or 5, so (c) or False.</thought>\n<solution>{answer}</solution>"
        return math.grade(problem(name), math.answers(problem(name)).extract(text)).correct

    assert [answer for answer in right if not correct(answer)] == []
    assert [answer for answer in wrong if correct(answer)] == []
    assert math.grade(problem(name), None) == Grade(False, "no answer")


def test_votes_are_for_options(math: Task) -> None:
    answers = math.answers(problem("mmlu/0"))
    assert answers.equal("(B)", "6") and answers.equal("b ) 6", "option b") and answers.equal("e", "E")
    assert not answers.equal("(B)", "(A)") and not answers.equal("7", "8") and not answers.equal("7", "b")
    numbers, theorems = math.answers(problem("math/0")), math.answers(problem("theoremqa/7"))
    assert numbers.equal("10", "x = 10") and not numbers.equal("1.3", "1.31")
    assert theorems.equal("\\sqrt{2}", "2^{1/2}") and not theorems.equal("1.414", "1.415")


def test_a_choice_can_be_graded_without_its_options() -> None:
    task = MintMath()
    assert all(task.compare(answer, "(C) 18").correct for answer in ("C", "(C)", "18"))
    assert not any(task.compare(answer, "(C) 18").correct for answer in ("D", "(D) 18", "8", None))


# -- options -------------------------------------------------------------------------------------------


def test_options_are_read() -> None:
    assert options_of(OPTIONS) == {"a": "5", "b": "\\frac{12}{2}", "c": "60", "d": "A and B"}
    text = "Which? Options: A) f(x, A ) = 1, or 2 , B) (0,1) , D) none , C) x , y"
    assert options_of(text) == {"a": "f(x, A ) = 1, or 2", "b": "(0,1) , D) none", "c": "x , y"}
    assert options_of("A ) no options , B ) at all") == {} == options_of("Options: none")


def test_a_text_that_several_options_have_names_none() -> None:
    choices = Choices((("a", "1/2"), ("b", "0.5"), ("c", "Hs"), ("d", "hS")))
    named = [choices.named(answer) for answer in ("0.5", "\\frac{1}{2}", "Hs", "hS", "hs", "b ) 0.5")]
    assert named == ["b", None, "c", "d", None, "b"]


# -- programs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Task:
    if reason := why_not():
        pytest.skip(reason)
    task = CODE_TASKS["mint_code"]()
    task.load(write(tmp_path_factory.mktemp("mint"), CODE), None)
    return task


def test_code_of_a_clone_and_of_one_source(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    processed = write(tmp_path / "data" / "processed", CODE)
    shown = f"Write a function to double. Your code should pass these tests:\n\n{TESTS[0]}"
    examples = [
        Example(Problem("mint/humaneval/0", f"{HALVES}\n"), "", "humaneval"),
        Example(Problem("mint/mbpp/7", shown), "", "mbpp"),
    ]
    task = CODE_TASKS["mint_code"]()
    assert task.load(tmp_path, None) == task.load(processed, 2) == examples
    assert task.load(processed / "mbpp", None) == examples[1:]


PROGRAMS = {
    "humaneval/0": ("def halves(n):\n    return n // 2", "def halves(n):\n    return n - 3"),
    "mbpp/7": ("def double(x):\n    return x * 2", "def double(x):\n    return 4"),
}
BODIES = ("    if n:\n        return n // 2\n    return 0", "    if n:\n        return 3\n    return 0")


def check(task: Task, name: str, form: str, programs: tuple[str, str]) -> None:
    """The first program passes, the second fails, and they are not the same."""
    answers = task.answers(problem(name))
    right, wrong = (answers.extract(form.format(program)) for program in programs)
    assert task.grade(problem(name), right) == Grade(True, "passed")
    assert task.grade(problem(name), wrong) == Grade(False, "assertion")
    assert right is not None and wrong is not None and not answers.equal(right, wrong)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(
    "form",
    [
        "<thought>x</thought>\n<solution>\n{}\n</solution>",
        "<solution>{}</solution>",
        "<solution>\n```python\n{}\n```\n</solution>",
        "<execute>{}</execute>",
        "<execute>\nprint(1)\n</execute>\n<solution>as follows</solution>\n```python\n{}\n```",
        "{}",
    ],
)
def test_programs_run(name: str, form: str, code: Task) -> None:
    check(code, name, form, PROGRAMS[name])


@pytest.mark.parametrize("form", ["<solution>\n{}\n</solution>", "<solution>{}</solution>", "{}"])
def test_the_body_of_a_function_will_do(form: str, code: Task) -> None:
    check(code, "humaneval/0", form, BODIES)


def test_a_program_that_only_passes_the_shown_test_is_wrong(code: Task) -> None:
    program = "def double(x):\n    return 4"
    assert not code.grade(problem("mbpp/7"), program).correct and code.public_tests is not None
    assert code.public_tests.score(problem("mbpp/7"), [said(program)]).positive == 1.0


def test_a_text_without_a_program_has_no_answer(code: Task) -> None:
    answers = code.answers(problem("mbpp/7"))
    assert answers.extract("<solution>4</solution>") is None
    assert code.grade(problem("mbpp/7"), None) == Grade(False, "no program")


def test_of_a_problem_that_is_not_loaded_the_text_is_the_answer(code: Task) -> None:
    assert code.answers(problem("mbpp/8")).extract("any text") == "any text"


# -- episodes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "observed", "ends"),
    [
        ("<execute>\nx = 7 + 2\nx\n</execute>", "Out: 9\nYour answer is wrong.", False),
        ("<solution> 9 </solution>", "Your answer is wrong.", False),
        ("<solution> 10 </solution>", "Your answer is correct.", True),
    ],
)
def test_an_episode(message: str, observed: str, ends: bool, math: Task) -> None:
    if reason := why_not():
        pytest.skip(reason)
    cells = Cells(SharedSandbox(LIMITS).get)
    environment = PythonEnvironment(cells, TaskChecker(math), verdicts=True)
    observation = asyncio.run(environment.step(problem("math/0"), [said(message)]))
    assert (observation.text, observation.ends) == (observed, ends)
