"""The Python environment: what is run, observed and read, and that no branch can touch another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.report.grid import read_grid
from bench.report.grid_page import page
from bench.report.grid_table import tables_of
from bench.report.methods import methods_of
from bench.report.results import read_results, results_path, write_results
from bench.runner import episodes
from bench.runner.cli.grid import _request
from bench.runner.execute import RunWatch, execute, replay
from bench.runner.forecast import forecast
from bench.runner.grid import GridWatch, execute_grid, replay_grid
from bench.runner.models import Models
from bench.tasks.code import SharedSandbox
from mutation.sandbox.isolation import SandboxError
from mutation.sandbox.sandbox import Sandbox
from search.environments.critics import Checked, CheckerCritic, ModelCritic
from search.environments.messages import code_blocks, cut, with_outputs
from search.environments.python import Execution, PythonEnvironment
from search.errors import UsageError
from search.limits import charge, metered
from search.prompts import Conversation, Prompt
from search.types import Observation, Problem, Step, StepScore, Stop
from tests.fakes import GOOD
from tests.resumed import validated
from tests.sandboxed import why_not

Q = Problem("q", "1 + 1?")


def turn(text: str, observation: Observation | None = None) -> Step:
    return Step(text, (), 0.0, Stop.END if observation is None else Stop.STEP, len(text), observation)


def code(text: str) -> str:
    return f"```python\n{text}\n```"


# -- messages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "blocks"),
    [
        ("no code", []),
        ("a\n```python\nx = 1\n```\nb\n```py\ny\n```", ["x = 1\n", "y\n"]),
        ("<execute>x</execute> and <execute>\ny\n</execute>", ["x", "\ny\n"]),
        ("<execute>\n```python\nx\n```\n</execute>", ["x\n"]),
        ("```python\nx = '''```'''\nprint(x)\n", ["x = '''```'''\nprint(x)\n"]),
        ("```python\nx", ["x"]),
        ("```python\n\n```", []),
        ("```bash\nls\n```\n```\ntext\n```", []),
    ],
)  # fmt: skip
def test_code_blocks(message: str, blocks: list[str]) -> None:
    assert code_blocks(message) == blocks


def test_outputs_stand_in_place_of_code() -> None:
    message = f"It is\n{code('1')}\nand\n{code('2')}\n<execute>3</execute>."
    assert with_outputs(message, ["one", "two"]) == "It is\none\nand\ntwo\n."


def test_a_long_output_is_cut_in_its_middle() -> None:
    assert cut("short", 5) == "short"
    assert cut("a" * 50 + "b" * 50, 10) == "aaaaa\n... (90 characters left out) ...\nbbbbb"


# -- the environment -----------------------------------------------------------------------------------


@dataclass
class Notebook:
    """results: what a block gives; "!" at its beginning is an error, "?" a time-out. calls: all runs."""

    results: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[list[str], list[str]]] = field(default_factory=list)

    def run(self, earlier: Sequence[str], blocks: Sequence[str]) -> Execution:
        self.calls.append(([b.strip() for b in earlier], [b.strip() for b in blocks]))
        outputs = list[str]()
        for number, block in enumerate(blocks):
            outputs.append(result := self.results.get(block.strip(), ""))
            if result[:1] in ("!", "?"):
                return Execution(tuple(outputs), number + (result[0] == "!"), failed=True)
        return Execution(tuple(outputs), len(blocks))


class Numbers:
    """Answers are the last word if it is a number; 2 is right."""

    def extract(self, problem: Problem, text: str) -> str | None:
        last = (text.split() or [""])[-1].strip(".")
        return last if last.isdecimal() else None

    def check(self, problem: Problem, answer: str | None) -> Checked:
        return Checked(answer == "2", "" if answer == "2" else f"{answer} is not 2")


class Programs(Numbers):
    """Answers are messages with a program."""

    def extract(self, problem: Problem, text: str) -> str | None:
        return "program" if "def f" in text else None


def observed(*messages: str, results: dict[str, str] | None = None, **how: Any) -> list[Step]:
    """The turns with their observations."""
    book = how.pop("book", None) or Notebook(results or {})
    environment = PythonEnvironment(book, how.pop("checker", Numbers()), **how)
    turns = list[Step]()
    for message in messages:
        answer = asyncio.run(environment.step(Q, [*turns, turn(message)]))
        turns.append(turn(message, answer))
    return turns


def last(turns: list[Step]) -> Observation:
    assert turns[-1].observation is not None
    return turns[-1].observation


CRITICAL = {"verdicts": True, "critic": CheckerCritic()}
PROGRAMS = {"checker": Programs(), "programs": True}
RESULTS = {"1+1": "2\n", "bad": "! no 7", "loop": "? TimeoutError", "x": "", "p": "It is 2"}


@pytest.mark.parametrize(
    ("messages", "how", "text", "read", "ends"),
    [
        (["It is 2."], {}, "", "It is 2.", True),
        ([code("1+1")], {}, "Out: 2", "2\n", False),
        ([code("x")], {}, "Out: (no output)", "", False),
        ([f"{code('p')}\n{code('1+1')}"], {}, "Out: It is 2\n2", "It is 2\n2\n", False),
        ([f"{code('bad')}\n{code('1+1')}\nIt is 3."], {}, "Out: ! no 7", "\n\nIt is 3.", False),
        ([code("1+1"), "Done."], {}, "", "2\n", True),
        ([code("1+1"), code("bad")], {}, "Out: ! no 7", "2\n", False),
        ([code("1+1"), code("bad"), "Done."], {}, "", "Done.", True),
        (["It is 3."], {"verdicts": True}, "Your answer is wrong.", "It is 3.", False),
        (["It is 2."], {"verdicts": True}, "Your answer is correct.", "It is 2.", True),
        ([code("1+1")], {"verdicts": True}, "Out: 2\nYour answer is correct.", "2\n", True),
        (["3", "4", "5"], {"verdicts": True, "turns": 3}, "Your answer is wrong.", "5", True),
        (["3"], CRITICAL, "Your answer is wrong.\n3 is not 2", "3", False),
        ([" "], {"verdicts": True}, "Your answer is wrong.", " ", True),
        ([code("def f")], PROGRAMS, "Out: (no output)", code("def f"), False),
        ([code("def f"), "Done."], PROGRAMS, "", code("def f"), True),
    ],
)  # fmt: skip
def test_what_is_observed_and_what_is_read(
    messages: list[str], how: dict[str, Any], text: str, read: str, ends: bool
) -> None:
    observation = last(observed(*messages, results=RESULTS, **how))
    assert (observation.text, observation.read, observation.ends) == (text, read, ends)


def test_blocks_run_again_before_later_ones_but_for_those_that_were_stopped() -> None:
    book = Notebook(RESULTS)
    messages = [f"{code('x')}\n{code('bad')}\n{code('never')}", f"{code('p')}\n{code('loop')}", code("1+1")]
    turns = observed(*messages, book=book)
    assert book.calls == [
        ([], ["x", "bad", "never"]), (["x", "bad"], ["p", "loop"]), (["x", "bad", "p"], ["1+1"]),
    ]  # fmt: skip
    assert [t.observation.kept for t in turns if t.observation] == [2, 1, 1]


def test_output_is_cut() -> None:
    observation = last(observed(code("1+1"), results={"1+1": "x" * 9000}, output_chars=100))
    assert len(observation.text) < 160 and "characters left out" in observation.text


class Teacher:
    """A policy that criticises; asked: what it was asked."""

    asked: Conversation

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        assert isinstance(problem, Conversation)
        self.asked = problem
        charge(policy_tokens=6)
        return [turn("Check "), turn("again.")]


def test_a_models_critique_is_read_and_its_tokens_are_not_the_policys() -> None:
    teacher = Teacher()
    critic = ModelCritic(teacher, Prompt("{question}", chat=True), reference=lambda problem: "2")
    with metered() as spent:
        observation = last(observed("It is 3.", verdicts=True, critic=critic))
    assert observation.text == "Your answer is wrong.\nCheck again." and observation.critic_tokens == 6
    assert spent.policy_tokens == 0
    for part in ("1 + 1?", "It is 3.", "Your answer is wrong.", "The answer is 2."):
        assert part in teacher.asked.text


# -- in the sandbox ------------------------------------------------------------------------------------


# -- a run ---------------------------------------------------------------------------------------------


class Pupil:
    """Runs a wrong computation, then a right one, whose output is the answer."""

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        said = (code("x = 20\nprint(x + 1)"), code("print(x + 2)"), "Done.")[len(steps)]
        charge(policy_tokens=len(said))
        return [turn(said)]


class Kind:
    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        return [GOOD] * (len(steps) - num_scored)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    if reason := why_not():
        pytest.skip(reason)
    problems = tmp_path / "problems.jsonl"
    rows = [{"problem": f"{n}?", "answer": str(n)} for n in (21, 22)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        "--problems", str(problems), "--prompt", "instruction", "--strategy", "best_of_n", "--set", "n=2",
        "--no-baseline", "--engine", "hf", "--out", str(tmp_path / "run"), "--episodes", "python",
    ]  # fmt: skip


def nowhere(self: SharedSandbox) -> Sandbox:
    raise SandboxError("there is none")


async def test_a_run_over_episodes_and_its_replay_without_a_sandbox(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = validated([*words, "--verdicts"])
    assert (run.request.lengths.step_tokens, run.request.lengths.solution_tokens) == (1024, 4096)
    [summary] = await execute(run, Models(Pupil(), Kind()), RunWatch())
    row = summary.as_json()
    assert row["correct"] == 2, "one after its first turn, one after its second"
    assert [(at["turn"], at["correct"]) for at in row["success_at_turn"]] == [(1, 1), (2, 2)]
    assert sorted(problem["turns"] for problem in row["problems"]) == [[False, True], [True]]
    trace = (run.out / "best_of_n.jsonl").read_text()
    assert '"text": "Out: 21\\nYour answer is wrong."' in trace
    path = results_path(run.trace_path("best_of_n"))
    problems = {example.problem.id: example.problem for example in run.examples}
    write_results(path, summary, list(problems.values()), {})
    assert read_results(path, problems)[0].right_by_turn == [1, 2]
    monkeypatch.setattr(SharedSandbox, "get", nowhere)
    again = validated([*words, "--verdicts", "--resume"])
    recorded = await replay(again)
    assert recorded is not None and recorded[0].as_json()["success_at_turn"] == row["success_at_turn"]
    with pytest.raises(SandboxError):
        await execute(again, Models(Pupil(), Kind()), RunWatch())
    with pytest.raises(UsageError, match="there is none"):
        validated([*words[:-4], "--out", str(tmp_path / "other"), "--episodes", "python"])


async def test_without_verdicts_an_episode_ends_with_a_message_without_code(words: list[str]) -> None:
    [summary] = await execute(validated(words), Models(Pupil(), Kind()), RunWatch())
    assert summary.as_json()["correct"] == 1 and summary.right_by_turn == [1, 1, 1]


async def test_a_grid_over_episodes(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = [*words[:4], "--engine", "hf", "--strategies", "best_of_n", "--set", "n=2", "--budget", "default",
             "--seeds", "1", "--episodes", "python", "--verdicts"]  # fmt: skip
    grid, models = _request(asked, tmp_path / "grid").validate(), Models(Pupil(), Kind())
    assert (await forecast(grid, models)).rows[0].tokens
    grid.write()
    await execute_grid(grid, models, GridWatch())
    read = read_grid(tmp_path / "grid")
    assert [method.right_by_turn for method in methods_of(read)] == [[0.5, 1.0], [0.5, 1.0]]
    shown = page(read, tables_of(read), {})
    assert "| strategy | 1 | 2 |" in shown and "| `best_of_n` | 50.0 % | 100.0 % |" in shown
    assert "| episodes | python --turns 5 --verdicts |" in shown

    monkeypatch.setattr(SharedSandbox, "get", nowhere)
    assert await replay_grid(_request(asked, tmp_path / "grid").validate()) == []
    assert read_grid(tmp_path / "grid").cells[0].summary.right_by_turn == [1, 2]
    with pytest.raises(UsageError, match="episodes"):
        _request([*asked, "--turns", "3"], tmp_path / "grid").validate()
    with pytest.raises(UsageError, match="there is none"):
        _request(asked, tmp_path / "other").validate()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--episodes", "bash"], "there is only python"),
        (["--episodes", "python", "--turns", "0"], "--turns 0"),
        (["--episodes", "python", "--critic", "me"], "choose checker or policy"),
        (["--episodes", "python", "--critic", "checker"], "needs --verdicts"),
        (["--episodes", "python", "--verdicts", "--critic", "checker"], "no more than right or wrong"),
        (["--episodes", "python", "--question", "1?", "--verdicts"], "no reference answer"),
        (["--verdicts"], "--verdicts is for --episodes"),
        (["--episodes", "python", "--strategy", "oracle_best_of_n"], "right turns from wrong ones"),
        (["--episodes", "python", "--prompt", "chat"], "leaves out turns"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(more: list[str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "check_sandbox", lambda: None)
    with pytest.raises(UsageError, match=says):
        validated(["--engine", "hf", "--limit", "1", *more])
