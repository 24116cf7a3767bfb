"""Preference trees from episodes: scripted episode trees in, preference trees out; then recorded runs."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from prm.preference.from_episodes import turns_of_episodes
from prm.preference.from_search import Tally
from prm.preference.records import pair_rows, sft_rows, trees_of
from prm.preference.tree import PreferenceTree, Turn
from search.engine import Outcome, solve
from search.environments.python import Execution, PythonEnvironment
from search.limits import Cost, LengthLimits, charge
from search.node import Node
from search.strategies.best_of_n import BestOfN
from search.strategies.mcts import MCTS
from search.trace import Trace
from search.tree import Strategy
from search.types import Observation, Problem, Step, StepScore, Stop
from tests.fakes import GOOD, FractionAnswers, RandomWorld
from tests.random_runs import PROBLEMS, Fractions
from tests.resumed import validated
from tests.sandboxed import why_not

QUESTION = "Which?"


def turn_of(line: str) -> Step:
    """A message, after its mark: "+" is right, "-" wrong, "~" cut at a limit. A critique follows a colon."""
    mark, text = line[0], line[2:]
    text, _, critique = text.partition(": ")
    if mark == "~":
        return Step(text, (), 0.0, Stop.LENGTH)
    if mark == "+":
        return Step(text, (), 0.0, Stop.END, observation=Observation("Your answer is correct.", ends=True))
    seen = "\n".join(["Your answer is wrong.", *([critique] if critique else [])])
    return Step(text, (), 0.0, Stop.STEP, observation=Observation(seen))


def grown(picture: str) -> Node:
    """A line is a message in the notation of `turn_of`; those that follow it are indented."""
    root = Node((), None, None)
    path = [root]
    for line in filter(None, picture.split("\n")):
        depth = (len(line) - len(line.lstrip())) // 2
        del path[depth + 1 :]
        parent = path[depth]
        child = Node((*parent.address, len(parent.children)), parent, turn_of(line.strip()))
        parent.children.append(child)
        path.append(child)
    return root


def is_attempt(text: str) -> bool:
    return "?" not in text


def tree_of(turns: tuple[Turn, ...]) -> PreferenceTree:
    return PreferenceTree("t", "p", "Math_CoT", "mine", QUESTION, turns)


def made(picture: str) -> tuple[list[str], dict[str, int]]:
    """The turns as "RIGHT > WRONG", and what was counted; the rows of a tree make the same tree."""
    tally = Tally()
    turns = turns_of_episodes(grown(picture), is_attempt, tally)
    if turns:
        tree = tree_of(turns)
        assert [*trees_of(pair_rows(tree), sft_rows(tree))] == [tree]
    drawn = [" > ".join(text or "" for text in (turn.correct, turn.incorrect)[: 1 + bool(turn.incorrect)])
             for turn in turns]  # fmt: skip
    return drawn, {name: n for name, n in tally.report().items() if n}


# -- pictures ------------------------------------------------------------------------------------------


def test_the_wrong_message_is_expanded() -> None:
    picture = """
- a: Count again.
  - c
  + d
+ b
"""
    assert made(picture) == (["b > a", "d > c"], {})
    _, second = pair_rows(tree_of(turns_of_episodes(grown(picture), is_attempt, Tally())))
    assert second.trajectory == (QUESTION, "a", "Your answer is wrong.\nCount again.")
    assert (second.chosen, second.rejected) == ("d", "c")


def test_a_turn_without_a_right_message_is_part_of_the_history() -> None:
    assert made("""
- a
  - b
  + c
""") == ([" > a", "c > b"], {})


def test_a_right_message_after_the_last_pair_is_kept() -> None:
    assert made("""
+ a
- b
  + c
""") == (["a > b", "c"], {})


def test_the_wrong_message_with_the_most_pairs_after_it_is_taken() -> None:
    assert made("""
+ a
- b
  + c
- d
  + e
  - f
- g
  + h
  - i
""") == (["a > d", "e > f"], {"pairs_beside_another": 1})


def test_then_the_one_with_the_most_right_messages() -> None:
    assert made("""
+ a
- b
  - c
- d
  + e
""")[0] == ["a > d", "e"]


def test_equal_histories_are_one() -> None:
    """As in best-of-N, whose episodes are sampled as a whole."""
    assert made("""
- a
  + b
- a
  - c
+ d
""") == (["d > a", "b > c"], {})


def test_histories_with_other_observations_are_others() -> None:
    assert made("""
- a: once
  - c
- a: twice
  + b
+ d
""") == (["d > a", "b"], {})


def test_messages_that_were_cut_or_are_no_attempt_are_neither_side() -> None:
    assert made("""
+ a
~ b
- what?
  + c
  - d
""") == (["a"], {"nodes_unknown": 2, "forks_one_sided": 1})


def test_failed_and_blank_messages_are_left_out() -> None:
    root = grown("+ a\n- b\n- c\n-  ")
    root.children[1].failed = "lost"
    root.children[2].step, root.children[2].failed = None, "lost"
    assert turns_of_episodes(root, is_attempt, Tally()) == (Turn("a"),)


def test_siblings_with_the_same_text_are_no_pair() -> None:
    assert made("+ a\n- a") == (["a"], {"ties": 1})
    assert made("+ a\n- a\n+ b\n- b") == (["b > a"], {})


def test_a_tree_has_five_turns_at_most() -> None:
    picture = "".join(f"{'  ' * depth}+ a\n{'  ' * depth}- b\n" for depth in range(7))
    assert made(picture) == (["a > b"] * 5, {"levels_too_deep": 2})


def test_a_printed_verdict_is_no_verdict() -> None:
    """At the last turn an episode ends with a wrong answer, too."""
    lie = "Out: Your answer is correct."
    root = grown("- a\n- b\n+ c")
    for child, seen in zip(
        root.children,
        [
            Observation(f"{lie}\nYour answer is wrong.", ends=True),
            Observation(f"Your answer is wrong.\n{lie.removeprefix('Out: ')}"),  # the words of a critique
        ],
        strict=False,
    ):
        child.step = Step(child.text, (), 0.0, Stop.END, observation=seen)
    tally = Tally()
    assert turns_of_episodes(root, is_attempt, tally) == (Turn("c", "a"),)


lines = st.tuples(st.sampled_from("+--~"), st.sampled_from(["a", "b", "c", "?", "a: x"])).map(" ".join)
pictures: st.SearchStrategy[list[str]] = st.recursive(
    st.just([]),
    lambda below: st.lists(
        st.tuples(lines, below).map(
            lambda made: [made[0], *(f"  {line}" for line in made[1] if made[0][0] == "-")]
        ),
        max_size=4,
    ).map(lambda parts: [line for part in parts for line in part]),
    max_leaves=12,
)


@given(pictures)
def test_every_pair_stands_in_the_episodes(lines: list[str]) -> None:
    picture = "\n".join(lines)
    made(picture)
    turns = turns_of_episodes(grown(picture), is_attempt, Tally())
    for row in pair_rows(tree_of(turns)) if turns else ():
        nodes = [grown(picture)]
        for action, seen in zip(row.trajectory[1::2], row.trajectory[2::2], strict=True):
            nodes = [child for node in nodes for child in node.children if answered(child) == (action, seen)]
        siblings = [answered(child) for node in nodes for child in node.children]
        assert (row.chosen, "Your answer is correct.") in siblings
        assert any(text == row.rejected and "wrong" in seen for text, seen in siblings)


def answered(node: Node) -> tuple[str, str]:
    """A message, and what was observed."""
    assert node.step is not None
    return node.step.text, "" if node.step.observation is None else node.step.observation.text


# -- traces --------------------------------------------------------------------------------------------


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
