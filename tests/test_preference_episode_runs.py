"""Preference trees from recorded runs over episodes: the command, and what it refuses."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench.report import sides
from bench.runner.cli.from_traces import main
from bench.runner.episodes import TaskChecker
from bench.runner.execute import RunWatch, execute, replay
from bench.runner.models import Models
from bench.tasks import TASKS
from bench.tasks.builtin_code import BuiltinCode
from bench.tasks.code import SharedSandbox
from mutation.sandbox.isolation import SandboxError
from mutation.sandbox.sandbox import Sandbox
from prm.preference.files import read_trees
from prm.preference.tree import Turn
from search.engine import Outcome, solve
from search.environments.python import Execution, PythonEnvironment
from search.limits import Cost, LengthLimits, charge
from search.strategies.best_of_n import BestOfN
from search.strategies.mcts import MCTS
from search.trace import Trace
from search.tree import Strategy
from search.types import Problem, Step, StepScore, Stop
from tests.fakes import GOOD, FractionAnswers, RandomWorld
from tests.random_runs import PROBLEMS, Fractions
from tests.resumed import validated
from tests.sandboxed import why_not
from tests.test_preference_episodes import turn_of


@pytest.fixture
def fractions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "TASKS", {**TASKS, "fractions": Fractions})


class Without:
    """An interpreter that is never asked, and models where all is recorded."""

    def run(self, earlier: Sequence[str], blocks: Sequence[str]) -> Execution:
        raise AssertionError("no message has code")

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        raise AssertionError("not recorded")

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        raise AssertionError("not recorded")


async def recorded(path: Path, name: str, strategy: Strategy, world: Any = None) -> list[Outcome]:
    """Episodes of the random world, with verdicts; what is recorded is replayed."""
    world = world or RandomWorld(jitter=2)
    config = {"strategy": name, "task": "fractions", "data": "", "episodes": {"verdicts": True}}
    checker = TaskChecker(Fractions())
    environment = PythonEnvironment(Without(), checker, verdicts=True, turns=4)
    with closing(Trace(path, config)) as trace:
        outcomes = solve(
            PROBLEMS, strategy, world, world, seed=5, trace=trace, answers=FractionAnswers(),
            lengths=LengthLimits(step_tokens=40, solution_tokens=200), environment=environment,
        )  # fmt: skip
        return [outcome async for outcome in outcomes]


async def test_the_command_over_episodes_and_their_replay(
    fractions: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strategies: dict[str, Strategy] = {
        "best_of_n": BestOfN(n=12, temperature=1.0), "mcts": MCTS(simulations=12, width=4),
    }  # fmt: skip
    paths = {name: tmp_path / f"{name}.jsonl" for name in strategies}
    traces = [str(path) for path in paths.values()]
    for name, strategy in strategies.items():
        await recorded(paths[name], name, strategy)
    assert main([*traces, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    trees = read_trees(str(tmp_path / "out"))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["trees"] == len(trees) > 5 and summary["searches"] == 30
    assert "30 searches; left out or noted: " in printed
    assert summary["by_source"][0]["pairs_by_turn"]["2"] > 0
    right = FractionAnswers()
    for tree in trees:
        for turn in tree.turns:
            for text, is_right in ((turn.correct, True), (turn.incorrect, False)):
                answer = None if text is None else right.extract(text)
                assert text is None or (answer is not None and right.equal(answer, "1/2")) is is_right
            assert turn.observation is None or turn.observation.text == "Your answer is wrong."
    whole = {path: path.read_bytes() for path in paths.values()}
    for name, strategy in strategies.items():
        await recorded(paths[name], name, strategy, Without())
    assert whole == {path: path.read_bytes() for path in paths.values()}
    assert main([*traces, "--out", str(tmp_path / "again")]) == 0
    files = ("pairs.jsonl", "sft.jsonl", "augmented.jsonl")
    assert all((tmp_path / "out" / n).read_bytes() == (tmp_path / "again" / n).read_bytes() for n in files)


def test_episodes_without_verdicts_are_refused(
    fractions: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cot.jsonl"
    Trace(path, {"strategy": "cot", "task": "fractions", "episodes": {"verdicts": False}}).close()
    assert main([str(path), "--out", str(tmp_path / "out")]) == 2
    assert "record them with --verdicts" in capsys.readouterr().err and not (tmp_path / "out").exists()


class Guessing:
    """Prints one of three numbers, which the seed draws."""

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, seed: int, **how: Any
    ) -> list[Step]:
        text = printing(random.Random(seed).choice((21, 22, 23)))
        charge(policy_tokens=len(text))
        return [Step(text, (), 0.0, Stop.END, len(text))]

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        return [GOOD] * (len(steps) - num_scored)


def printing(number: int) -> str:
    return f"```python\nprint({number})\n```"


async def test_trees_of_a_run_in_the_sandbox_are_made_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := why_not():
        pytest.skip(reason)
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"problem": "22?", "answer": "22"}\n')
    words = [
        "--problems", str(problems), "--prompt", "instruction", "--strategy", "best_of_n", "--set", "n=9",
        "--no-baseline", "--engine", "hf", "--out", str(tmp_path / "run"), "--episodes", "python",
        "--verdicts", "--turns", "3",
    ]  # fmt: skip
    run = validated(words)
    await execute(run, Models(Guessing(), Guessing()), RunWatch())

    def nowhere(self: SharedSandbox) -> Sandbox:
        raise SandboxError("there is none")

    monkeypatch.setattr(SharedSandbox, "get", nowhere)
    out = tmp_path / "pairs"
    assert main([str(run.trace_path("best_of_n")), "--out", str(out)]) == 0
    [tree] = read_trees(str(out))
    assert tree.task == "Math_PoT" and [turn for turn, *_ in tree.pairs] == [1, 2, 3]
    for turn in tree.turns:
        assert turn.correct == printing(22) and turn.incorrect in (printing(21), printing(23))
    action, seen = tree.history(2)[0]
    assert seen.text == f"Out: {action[16:18]}\nYour answer is wrong."
    assert await replay(validated([*words, "--resume"])) is not None


@pytest.mark.parametrize(
    "program",
    [
        "def f(xs, n):\n    return {}\n",
        pytest.param(" f(xs, n):\n    return {}\n", id="the prompt writes def"),
        pytest.param("\ndef f(xs, n):\n    return {}\n```\nIt adds.", id="the prompt writes a fence"),
        pytest.param("```\ndef f(xs, n):\n    return {}\n```\n", id="a fence without a language"),
    ],
)
def test_programs_of_episodes_are_not_run(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := why_not():
        pytest.skip(reason)
    [example] = BuiltinCode().load(None, 1)
    right, wrong = program.format(1), program.format(2)
    drawn = [f"- {wrong}", "- Done.", "- ```python\ndef f(:\n```", f"+ {right}"]
    path = tmp_path / "trace.jsonl"
    config = {"strategy": "best_of_n", "task": "builtin-code", "episodes": {"verdicts": True}}
    with closing(Trace(path, config)) as trace:
        record = trace.recorder(example.problem)
        for number, line in enumerate(drawn):
            record.write_sample((number,), [turn_of(line)], Cost())

    def never(self: Sandbox, *args: Any) -> None:
        raise AssertionError("the verdicts are recorded")

    monkeypatch.setattr(Sandbox, "run", never)
    assert main([str(path), "--out", str(tmp_path / "out")]) == 0
    [tree] = read_trees(str(tmp_path / "out"))
    assert tree.task == "Coding" and tree.turns == (Turn(right, wrong),)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["left_out"]["nodes_unknown"] == 2
