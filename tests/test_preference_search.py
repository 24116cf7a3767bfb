"""Preference trees from search trees: scripted trees in, pairs out; then from recorded runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bench.report import sides
from bench.runner.cli.from_traces import main
from bench.tasks import TASKS
from prm.preference.files import read_trees
from prm.preference.from_search import Tally, turns_of
from prm.preference.tree import Turn
from prm.tuning.request import TuneRequest
from search.errors import UsageError
from search.node import Node
from search.strategies.best_of_n import BestOfN
from search.strategies.mcts import MCTS
from tests.fakes import step
from tests.random_runs import Fractions, recorded

Script = Mapping[str, "Script | None"]
"""Steps in the notation of `tests.fakes.step`, each with its children."""


def grown(script: Script) -> Node:
    root = Node((), None, None)
    _grow(root, script)
    return root


def _grow(node: Node, script: Script) -> None:
    for number, (text, children) in enumerate(script.items()):
        child = Node((*node.address, number), node, step(text))
        node.children.append(child)
        _grow(child, children or {})


def leaves(node: Node) -> list[Node]:
    own = [node] if node.is_finished else []
    return own + [leaf for child in node.children for leaf in leaves(child)]


Pairs = list[tuple[str | None, str | None]]


def made(script: Script, *, labels: bool = False) -> tuple[Pairs, dict[str, int]]:
    """Pairs by turn, and the tally. A solution is right if it ends on "=1."; a step with an x is wrong."""
    root, tally = grown(script), Tally()
    grades = {leaf: leaf.text.endswith("=1.") for leaf in leaves(root)}
    is_wrong = (lambda node: "x" in node.text) if labels else None
    turns = turns_of(root, grades, is_wrong, tally)
    return [(turn.correct, turn.incorrect) for turn in turns], tally.report()


def test_a_pair_is_made_of_a_right_and_a_wrong_sibling() -> None:
    pairs, tally = made({"a,": {"b,": {"=1.": None}}, "c,": {"=2.": None}})
    assert pairs == [("a,b,=1.", "c,=2.")] and not any(tally.values())


def test_levels_become_turns_through_nodes_that_led_to_both() -> None:
    below = {"d,": {"=1.": None}, "e,": {"=2.": None}}
    pairs, tally = made({"a,": {"=1.": None}, "b,": below, "c,": {"=3.": None}})
    assert pairs == [("a,=1.", "c,=3."), ("b,d,=1.", "b,e,=2.")]
    assert tally["nodes_ambiguous"] == 1


def test_one_pair_a_level() -> None:
    fork = {"=1.": None, "=2.": None}
    pairs, tally = made({"a,": fork, "b,": fork})
    assert pairs == [("a,=1.", "a,=2.")]
    assert (tally["pairs_beside_another"], tally["nodes_ambiguous"], tally["forks_one_sided"]) == (1, 2, 1)


def test_nodes_of_which_nothing_is_known_and_ties_are_left_out() -> None:
    pairs, tally = made({"a,": None, "b,": {"=2.": None}, "c~": None})
    assert pairs == [] and tally["nodes_unknown"] == 2 and tally["forks_one_sided"] == 1
    root, tie = grown({"=1.": None, " =1.": None}), Tally()
    first, second = root.children
    assert turns_of(root, {first: True, second: False}, None, tie) == () and tie.ties == 1


def test_duplicates_and_failures_are_no_siblings() -> None:
    root, tally = grown({"a,": {"=1.": None}, "b,": {"=2.": None}, "c,": {"=2.": None}}), Tally()
    grades = {leaf: leaf.text.endswith("=1.") for leaf in leaves(root)}
    root.children[1].duplicate_of, root.children[2].failed = root.children[0], "lost"
    root.children.append(Node((3,), root, step("")))
    grades[root.children[3]] = False
    assert turns_of(root, grades, None, tally) == () and not any(tally.report().values())


def test_labels_of_steps_decide_where_no_solution_is_below() -> None:
    """As in a search that goes back from a wrong step: only one solution is finished."""
    script: Script = {"a,": {"x,": None, "b,": {"=1.": None}}, "x!": None}
    assert made(script)[0] == []
    pairs, tally = made(script, labels=True)
    assert pairs == [("a,b,=1.", "x!"), ("a,b,=1.", "a,x,")]
    assert tally["pairs_with_unfinished_rejected"] == 2


def test_answers_decide_before_labels() -> None:
    pairs, tally = made({"a,": {"=2.": None}, "x,": {"=1.": None}, "b,": None}, labels=True)
    assert pairs == [("x,=1.", "a,=2.")] and tally["nodes_unknown"] == 1


def test_finished_actions_come_first() -> None:
    pairs, _ = made({"x~": None, "xa,": {"=2.": None}, "b,": None, "c,": {"=1.": None}}, labels=True)
    assert pairs == [("c,=1.", "xa,=2.")]


def test_a_tree_has_five_turns_at_most() -> None:
    script: Script = {"=1.": None, "=2.": None}
    for depth in range(6):
        script = {f"s{depth},": script, "=1.": None, "=2.": None}
    pairs, tally = made(script)
    assert len(pairs) == 5 and tally["levels_too_deep"] == 2


# -- traces --------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def fractions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "TASKS", {**TASKS, "fractions": Fractions})


async def traces(folder: Path) -> list[str]:
    await recorded(folder / "n.jsonl", BestOfN(n=12, temperature=1.0))
    await recorded(folder / "m.jsonl", MCTS(simulations=12, width=4))
    return [str(folder / "n.jsonl"), str(folder / "m.jsonl")]


async def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = await traces(tmp_path)
    text = Path(second).read_text().replace('"strategy": "it"', '"strategy": "mcts"')
    Path(second).write_text(text)
    assert main([first, second, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    trees = read_trees(str(tmp_path / "out"))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["trees"] == len(trees) > 5 and summary["searches"] == 30
    assert summary["trees"] + summary["searches_without_a_tree"] == 30
    assert summary["left_out"]["nodes_ambiguous"] > 0 and "30 searches; left out or noted: " in printed
    assert "warning: these are test problems of the task fractions" in printed
    answers, task = Fractions().answers, Fractions()
    for tree in trees:
        problem = next(e.problem for e in task.load(None, None) if e.problem.question == tree.instruction)
        for turn in tree.turns:
            assert turn.correct is not None and turn.incorrect is not None
            assert task.grade(problem, answers(problem).extract(turn.correct)).correct
            assert not task.grade(problem, answers(problem).extract(turn.incorrect)).correct
    before = (tmp_path / "out" / "pairs.jsonl").read_bytes()
    assert main([first, second, "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "pairs.jsonl").read_bytes() == before
    assert main([first, first, "--out", str(tmp_path / "twice")]) == 2
    assert "given twice" in capsys.readouterr().err


class OnlyTests(Fractions):
    test_only = True


@pytest.mark.parametrize(("task", "data", "of"), [
    (Fractions, "", ["fractions"]), (Fractions, "train.jsonl", []),
    (OnlyTests, "", ["fractions"]), (OnlyTests, "mine.jsonl", ["fractions"]),
])  # fmt: skip
async def test_problems_of_a_file_are_test_problems_if_the_task_has_no_others(
    task: type[Fractions], data: str, of: Sequence[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sides, "TASKS", {"fractions": task})
    path, out = tmp_path / "n.jsonl", tmp_path / "out"
    await recorded(path, BestOfN(n=12, temperature=1.0), n_problems=6)
    path.write_text(path.read_text().replace('"data": ""', f'"data": "{data}"'))
    assert main([str(path), "--out", str(out)]) == 0
    assert json.loads((out / "summary.json").read_text())["test_problems_of"] == of
    assert ("warning: these are test problems" in capsys.readouterr().out) is bool(of)
    request = TuneRequest(method="dpo", base="any", data=(str(out),), out=tmp_path / "tuned")
    refused = pytest.raises(UsageError, match="holds test problems of the task fractions")
    with refused if of else nullcontext():
        request.validate()


def test_only_files_of_three_tasks_may_hold_training_problems() -> None:
    assert {name for name in TASKS if not TASKS[name]().test_only} == {"gsm8k", "math", "jsonl"}


def test_step_labels_of_the_built_in_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recorded run of HGS, whose rejected steps are the wrong side."""
    path = Path(__file__).parent / "recorded" / "hgs.jsonl"
    assert main([str(path), "--out", str(tmp_path)]) == 0
    trees = read_trees(str(tmp_path))
    assert trees and all(isinstance(turn, Turn) and turn.is_pair for tree in trees for turn in tree.turns)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["left_out"]["pairs_with_unfinished_rejected"] > 0


def test_traces_without_a_pair_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[dict[str, Any]] = [
        {"event": "run", "config": {"strategy": "cot", "task": "fractions", "data": ""}},
        {"event": "problem", "problem": "w/0", "digest": "x"},
        {"event": "sample", "problem": "w/0", "at": [0], "steps": [["so = 1/2", [1], 0.0, "end", 1]],
         "spent": {}},
        {"event": "chosen", "problem": "w/0", "at": [0], "answer": "1/2"},
    ]  # fmt: skip
    path = tmp_path / "cot.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main([str(path), "--out", str(tmp_path / "out")]) == 2
    assert "no pair to make" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert main([str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "out")]) == 2
    assert "cannot read" in capsys.readouterr().err
