"""Eurus's prompts, and the commands of docs/guides/protocol.md that follow its evaluation protocol."""

from __future__ import annotations

import asyncio
import os
import pickle
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from bench.runner.cli.options import parse
from bench.runner.episodes import TaskChecker
from bench.tasks import CODE_TASKS, TASKS
from bench.tasks.code import CodeCase, SharedSandbox, ShownTests, program_of
from bench.tasks.humaneval import HumanEval
from bench.tasks.mbpp import Mbpp
from bench.tasks.prompts import eurus
from mutation.mbpp import question_of
from mutation.sandbox.cells import LIMITS, Cells
from mutation.sandbox.verdict import Suite
from search.environments.python import PythonEnvironment
from search.errors import UsageError
from search.params import params
from search.policies.stepping import encode_prompt
from search.prompts import Prompt
from search.types import Problem, Step, Stop
from tests.sandboxed import why_not
from tests.zoo_models import TOKENIZERS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "guides" / "protocol.md"
DATA = Path(os.environ.get("PROTOCOL_DATA", "absent"))
"""A folder with mbpp/mbpp.jsonl and svamp/SVAMP.json, for the tests that read whole data sets."""
ADD = '''import math


def half(x: int) -> int:
    """Half of x."""
    return x // 2


def add(x: int, y: int) -> int:
    """Add two numbers.
    >>> add(2, 3)
    5
    """
'''
MISTRAL = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
)
CASE = CodeCase(
    "t/1", ADD, "add", ("add",), {"": Suite("assert add(1, 2) == 3", ("add",))},
    Suite("assert add(2, 3) == 5", ("add",)), ((2, 3),),
)  # fmt: skip
CELLS = Cells(SharedSandbox(LIMITS).get)
BEHIND_DEF = " add(x: int, y: int) -> int:\n    return x + y\n"
QUESTION = question_of(
    "Write a function to add. https://www.x.org/add", ["assert set(add((1,), (2, 3))) == {1}", "assert f()"]
)


# -- prompts -------------------------------------------------------------------------------------------


def test_humaneval_is_asked_with_its_signature_and_begins_the_answer() -> None:
    assert HumanEval.prompts["eurus"].fill(ADD) == (
        "[INST] Write Python code to solve the task.\nWrite a Python function `add(x: int, y: int) -> int` "
        "to solve the following problem: Present code in ```python```\n```python\n" + ADD + "```\n [/INST] "
        "```python\ndef"
    )


def test_mbpp_is_asked_with_its_first_test_and_begins_the_answer() -> None:
    assert Mbpp.prompts["eurus"].fill(QUESTION) == (
        "[INST] Write Python code to solve the task.\nWrite a Python function `add(arg1, arg2)` to solve the "
        "following problem: Present code in ```python```\nWrite a function to add.\n>>> assert set(add((1,), "
        "(2, 3))) == {1}\n [/INST]```python\ndef"
    )


def test_a_function_may_be_named_as_a_builtin_one() -> None:
    question = question_of("Write a sum.", ["assert sum(10, 15) == 6"])
    assert "`sum(arg1, arg2)`" in eurus.MBPP.fill(question)


@pytest.mark.parametrize(
    "question", ["Why?", "", question_of("Add.", ["assert True"]), question_of("Add.", ["assert f("])]
)
def test_a_question_of_another_form_is_refused(question: str) -> None:
    for prompt in (eurus.HUMANEVAL, eurus.MBPP):
        with pytest.raises(UsageError, match="the prompt eurus needs a question"):
            prompt.fill(question)


@pytest.mark.parametrize("prompt", [eurus.HUMANEVAL, eurus.MBPP, eurus.BBH])
def test_a_prompt_keeps_its_kind_with_further_stops_and_in_other_processes(prompt: Prompt) -> None:
    further = replace(prompt, stop=(*prompt.stop, "END"))
    assert type(further) is type(prompt) and further.stop[-1] == "END"
    assert pickle.loads(pickle.dumps(prompt)) == prompt


@pytest.mark.parametrize("task", ["gsm8k", "math", "svamp", "asdiv", "gsm_plus", "theoremqa"])
def test_mathematics_is_asked_for_in_words_and_in_programs(task: str) -> None:
    prompts = TASKS[task]().prompts
    cot, pot = prompts["eurus"], prompts["eurus-pot"]
    lead = "Question: " if task == "theoremqa" else ""
    assert cot.fill("1?") == (
        "[INST] Solve the following math problem step-by-step.\nSimplify your answer as much as possible. "
        f"Present your final answer as \\boxed{{Your Answer}}.\n{lead}1? [/INST]"
    )
    assert pot.fill("1?").startswith("[INST] Tool available:\n[1] Python interpreter\n")
    assert pot.fill("1?").endswith(f"\n{lead}1? [/INST]") and not pot.chat
    stop = ("Question:",) if task == "theoremqa" else ("\n###\nProblem: ",)
    assert cot.stop == pot.stop == stop


def test_leetcode_and_ifeval_are_asked_as_they_are() -> None:
    assert TASKS["leetcode"]().prompts["eurus"].fill("Add.") == "[INST] Add. [/INST]```python"
    assert TASKS["ifeval"]().prompts["eurus"].fill("Say it.") == "[INST] Say it. [/INST]"


@pytest.mark.parametrize(
    "name",
    ["svamp", "asdiv", "gsm_plus", "theoremqa", "bbh", "ifeval", "leetcode", "mint_math", "mint_code"],
)
def test_prompts_by_family(name: str) -> None:
    task = TASKS[name]()
    assert task.name == name and "eurus" in task.prompts
    first, *_ = task.prompts.values()
    assert not first.chat and task.prompts["chat"].chat


def test_the_examples_of_bbh_are_turns_of_the_chat_template() -> None:
    tokenizer = TOKENIZERS["sentencepiece"]()
    tokenizer.chat_template = MISTRAL
    shots = f"Add.\n\nQ: 1 + 1?\n{eurus.LEAD} It is 2. So the answer is 2.\n\nQ: 1 + 2?\n{eurus.LEAD}"
    assert encode_prompt(tokenizer, eurus.BBH, shots).text == (
        "[INST] Follow the given examples and answer the question.\n\nAdd.\nQ: 1 + 1? [/INST] A: Let's think "
        "step by step. It is 2. So the answer is 2.</s>[INST] Q: 1 + 2? [/INST]"
    )


# -- programs of thought -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("Step 1: subtract.\n```python\nx = 5 - 3\nprint(x)\n```", "2"),
        ("<execute>\nx = 5 - 3\nx\n</execute>\nThat is all.", "2"),
        ("```python\nprint(7)\n```\nThen:\n```python\nprint(5 - 3)\n```\n", "2"),
        ("```python\nprint(1 / 0)\n```\n", None),
        ("No code. So it is \\boxed{2}.", "2"),
    ],
)
def test_what_the_code_prints_is_the_answer(message: str, answer: str | None) -> None:
    if reason := why_not():
        pytest.skip(reason)
    task, problem = TASKS["svamp"](), Problem("svamp/1", "5 - 3?")
    environment = PythonEnvironment(CELLS, TaskChecker(task), turns=1)
    observed = asyncio.run(environment.step(problem, [Step(message, (), 0.0, Stop.END)]))
    assert observed.ends and task.answers(problem).extract(observed.read) == answer


# -- answers that the prompt has begun -----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        BEHIND_DEF,
        f"{BEHIND_DEF}```\nIt adds.",
        BEHIND_DEF.replace("(", " (", 1),
        f" one():\n    return 1\n\ndef{BEHIND_DEF}",
        f" wrap(f):\n    return f\n\n@wrap\ndef{BEHIND_DEF}",
        "    if (x > 0):\n        return x + y\n    return x + y\n",
        " add (x, y) is this:\n```python\ndef add(x, y):\n    return x + y\n```",
    ],
)
def test_a_program_behind_def_is_read(text: str) -> None:
    program = program_of(CASE, text)
    assert program is not None
    names: dict[str, object] = {}
    exec(program, names)
    add = names["add"]
    assert callable(add) and add(2, 40) == 42


def test_the_shown_tests_run_on_a_program_behind_def() -> None:
    if reason := why_not():
        pytest.skip(reason)
    tests, problem = ShownTests("t", {CASE.id: CASE}), Problem(CASE.id, ADD)
    begun = [Step(" add(x: int, y: int) -> int:\n", (), 0.0, Stop.STEP)]
    assert tests.score(problem, begun).neutral == 1.0
    right, wrong = (Step(f"    return x {sign} y\n", (), 0.0, Stop.END) for sign in "+-")
    assert tests.score(problem, [*begun, right]).positive == 1.0
    assert tests.score(problem, [*begun, wrong]).negative == 1.0


def test_every_function_of_humaneval_is_the_one_that_is_asked_for() -> None:
    if reason := why_not():
        pytest.skip(reason)
    task = HumanEval()
    for example in task.load(None, None):
        asked = task.prompts["eurus"].fill(example.problem.question)
        entry = task.cases[example.problem.id].entry_point
        assert f"Write a Python function `{entry}(" in asked


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # escapes in its tests
def test_every_function_of_mbpp_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    if not (DATA / "mbpp" / "mbpp.jsonl").exists():
        pytest.skip("MBPP is not here")
    if reason := why_not():
        pytest.skip(reason)
    (tmp_path / "mbpp.jsonl").symlink_to((DATA / "mbpp" / "mbpp.jsonl").resolve())  # without MBPP+
    task = Mbpp()
    other = [
        example.problem.id for example in task.load(tmp_path, None)
        if f"function `{task.cases[example.problem.id].entry_point}("
        not in task.prompts["eurus"].fill(example.problem.question)
    ]  # fmt: skip
    assert other == []


def test_the_thousand_problems_of_svamp_are_read() -> None:
    if not (DATA / "svamp" / "SVAMP.json").exists():
        pytest.skip("SVAMP is not here")
    examples = TASKS["svamp"]().load(DATA / "svamp", None)
    assert len(examples) == len({example.problem.id for example in examples}) == 1000


# -- the commands of the page --------------------------------------------------------------------------

COMMANDS = re.findall(r"^python -m search\.run (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
PROTOCOL = {
    # temperature, tokens
    "humaneval": (0.2, 1024), "mbpp": (0.0, 512), "leetcode": (0.0, 1024), "gsm8k": (0.0, 1024),
    "gsm_plus": (0.0, 1024), "math": (0.0, 1024), "svamp": (0.0, 1024), "asdiv": (0.0, 1024),
    "theoremqa": (0.0, 1024), "bbh": (0.0, 2048), "ifeval": (0.7, 1024),
}  # fmt: skip


@pytest.mark.parametrize("task", PROTOCOL)
def test_the_page_has_a_command_that_follows_the_protocol(task: str) -> None:
    [command] = [c for c in COMMANDS if f"--task {task} " in c and "--episodes" not in c]
    request = parse(shlex.split(command)).request
    assert request.task == task and request.policy.prompt == "eurus"
    assert (request.lengths.solution_tokens, request.lengths.step_tokens) == (PROTOCOL[task][1],) * 2
    assert list(request.strategies) == ["cot"]
    assert params(request.strategies["cot"])["temperature"] == PROTOCOL[task][0]
    assert request.policy.segment == ("python" if task in CODE_TASKS else None)


def test_the_page_has_a_command_for_programs_of_thought() -> None:
    [command] = [c for c in COMMANDS if "--prompt eurus-pot" in c]
    request = parse(shlex.split(command)).request
    assert request.policy.prompt == "eurus-pot" and request.episodes is not None
    assert request.episodes.turns == 1 and request.lengths.step_tokens == 2048
    assert params(request.strategies["cot"])["temperature"] == 0.0


@pytest.mark.parametrize("task", ["mint_math", "mint_code"])
def test_the_page_has_a_command_for_mint(task: str) -> None:
    [command] = [c for c in COMMANDS if f"--task {task} " in c]
    request = parse(shlex.split(command)).request
    assert request.task == task and request.policy.prompt == "chat" and request.episodes is not None
    assert request.episodes.turns == 5 and request.episodes.verdicts
    assert (request.lengths.step_tokens, request.lengths.solution_tokens) == (512, 5 * 512)
    assert params(request.strategies["cot"])["temperature"] == 0.0
