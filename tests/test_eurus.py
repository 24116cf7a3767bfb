"""The Eurus loop: its stages in order, what is interrupted and resumed, and the page; nothing is trained."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.experiments import eurus, eurus_stages
from bench.experiments.eurus_stages import Stages, clusters, hindsight_tree
from bench.report.eurus_cells import pairs_by_turn
from bench.report.reranking import rerank
from bench.report.subsets import Pool
from bench.report.summary import Graded, Summary
from bench.runner.attempts import AttemptLog, Recorded, recorded_attempts
from bench.runner.collect import ATTEMPTS, CollectRequest
from bench.runner.collect_problems import Instruction
from prm.preference.collection import Attempt, Place, Status
from prm.preference.files import write_trees
from prm.preference.records import pair_rows
from prm.preference.tree import Observation, PreferenceTree, Turn
from search.engine import Outcome
from search.errors import UsageError
from search.limits import Cost, Events
from search.tree import TextAnswers
from search.types import Problem

WRONG = Observation.of(False, critique="The tests ended with: assertion.")
PROBLEM = Problem("p", "Write f.")


def attempt(text: str, *, right: bool = False) -> Attempt:
    return Attempt(text, Status.CORRECT if right else Status.WRONG, Observation.of(True) if right else WRONG)


# -- episodes in hindsight -----------------------------------------------------------------------------


def test_every_history_in_hindsight_ends_with_a_right_action() -> None:
    tree = hindsight_tree(PROBLEM, [attempt("a"), attempt("b"), attempt("a "), attempt("r", right=True)])
    assert tree is not None
    rows = [(row.trajectory, row.chosen, row.rejected) for row in pair_rows(tree)]
    assert [(chosen, rejected) for _, chosen, rejected in rows] == [("r", "a "), ("r", "b"), ("r", "b")]
    assert rows[-1][0] == ("Write f.", "a ", WRONG.text, "b", WRONG.text)


def test_without_a_right_action_there_is_nothing_to_learn() -> None:
    assert hindsight_tree(PROBLEM, [attempt("a")]) is None


def test_a_problem_that_is_always_solved_teaches_its_first_turn() -> None:
    tree = hindsight_tree(PROBLEM, [attempt("r", right=True)])
    assert tree is not None and tree.turns == (Turn("r"),)


def test_attempts_are_read_in_the_order_of_their_places(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path / ATTEMPTS, {})
    for number in (10, 9):
        log.add("p", Place(1, 0, -1, number), Recorded(attempt(f"x{number}"), 1))
    log.close()
    assert [one.text for one in recorded_attempts(tmp_path / ATTEMPTS)["p"]] == ["x9", "x10"]


def test_equal_answers_are_one_cluster_and_no_answer_is_none() -> None:
    assert clusters(["a", None, "b", "a"], TextAnswers()) == [0, None, 1, 0]


def test_pairs_are_counted_by_turn_whatever_they_hold(tmp_path: Path) -> None:
    rows = [{"id": f"t_{turn}", "chosen": "a\u2028b\u2029c\u0085d"} for turn in (1, 1, 2)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "pairs.jsonl").write_text(lines, encoding="utf-8")
    assert pairs_by_turn(tmp_path) == {1: 2, 2: 1}


# -- the stages ----------------------------------------------------------------------------------------


class Script:
    """In place of collecting, training and searching: writes what they would, and notes what was asked.

    stop: the name of a stage that is interrupted, once, before it ends.
    """

    def __init__(self, stop: str = ""):
        self.made = list[str]()
        self.resumed = list[str]()
        self.stop = stop

    def begin(self, out: Path, resume: bool, record: str) -> None:
        out.mkdir(parents=True, exist_ok=True)
        (out / record).touch()
        if resume:
            self.resumed.append(out.name)
        if out.name == self.stop:
            self.stop = ""
            raise KeyboardInterrupt
        self.made.append(out.name)

    def collect(self, request: CollectRequest) -> None:
        self.begin(request.out, request.resume, ATTEMPTS)
        log = AttemptLog(request.out / ATTEMPTS, {"ladder": {"samples": 4}, "tokens": 96, "seed": 0})
        log.add("p", Place(1, 0, -1, 0), Recorded(attempt("a"), 1))
        log.add("p", Place(1, 0, -1, 1), Recorded(attempt("r", right=True), 1))
        log.close()
        tree = PreferenceTree("t", "t", "Coding", "builtin-code", "Write f.", (Turn("r", "a"),))
        write_trees(request.out, [tree], {"problems": 1, "attempts": {"correct": 1, "wrong": 1}})

    def train(self, request: Any) -> None:
        record = "tune.json" if hasattr(request, "method") else "train.json"
        self.begin(request.out, request.resume, record)
        rewards = {"eval_chosen_mean": 1.0, "eval_chosen_std": 0.5, "eval_rejected_mean": -1.0,
                   "eval_rejected_std": 0.5}  # fmt: skip
        history = [{"step": 1, "rewards/chosen": 0.1, "rewards/rejected": -0.1, **rewards}]
        measured = {f"held_out_{name}": value for name, value in (
            ("accuracy", 0.75), ("chosen_mean", 1.0), ("chosen_std", 0.5), ("rejected_mean", -1.0),
            ("rejected_std", 0.5))}  # fmt: skip
        written = {"command": f"train {request.out.name}", "data": {"train": {"pairs": 3}},
                   "metrics": measured, "history": history}  # fmt: skip
        (request.out / "metrics.json").write_text(json.dumps(written))
        (request.out / "README.md").touch()


def summary(name: str, turns: bool) -> Summary:
    """Ten problems; a policy of the higher learning rate solves one more at the second turn."""
    graded = []
    for number in range(10):
        outcome = Outcome(Problem(str(number), "q"), (), "a", None, Cost(), Events(), 0.0, finished=True)
        later = number < (7 if name.endswith("0.002") else 6)
        graded.append(Graded(outcome, later, turns=(number < 5, later) if turns else ()))
    return Summary("cot", {}, "builtin-code", 0, name, None, "", 0.0, graded)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], None]:
    def use(script: Script) -> None:
        source = type("Source", (), {"instructions": [Instruction(PROBLEM, ())]})
        pools = [Pool([True, False] * 8, [0, 1] * 8, [random.Random(n).random() for n in range(16)])] * 3
        replaced: dict[str, Any] = {
            "collect_trees": script.collect, "tune": script.train, "train": script.train,
            "read_source": lambda *_: source,
        }  # fmt: skip
        for name, function in replaced.items():
            monkeypatch.setattr(eurus_stages, name, function)
        for name in ("check_installed", "check_sandbox"):
            monkeypatch.setattr(eurus, name, lambda: None)
        monkeypatch.setattr(Stages, "episodes", lambda _, name, *args, **more: summary(name, True))
        monkeypatch.setattr(Stages, "searched", lambda _, name, *args: summary(name, False))
        monkeypatch.setattr(Stages, "reranked", lambda *_: rerank(pools))

    return use


def request(work: Path) -> eurus.EurusRequest:
    rates = {name: (1e-3, 2e-3) for name in eurus.RATES}
    return eurus.EurusRequest(sizes=eurus.QUICK, work=work, page=work / "page.md", rates=rates, rounds=2)


def test_the_stages_end_with_a_page(script: Callable[[Script], None], tmp_path: Path) -> None:
    made = Script()
    script(made)
    eurus.run(request(tmp_path))
    assert made.made == [
        "own", "start-0.001", "start-0.002", "trees-1", "sft-0.001", "sft-0.002", "dpo-0.001", "dpo-0.002",
        "kto-0.001", "kto-0.002", "nca-0.001", "nca-0.002", "kto-single", "bt-dr-0.001", "bt-dr-0.002",
        "bt-0.001", "bt-0.002", "dr-0.001", "dr-0.002", "trees-2", "round-2",
    ]  # fmt: skip
    page = (tmp_path / "page.md").read_text()
    assert "| `kto` | 50.0 % [23.7, 76.3] | 60.0 % [31.3, 83.2] |" in page
    assert "0.001: 58.0 %, 0.002: 66.0 %" in page, "the better rate on validation problems is shown"
    assert "train kto-0.002" in page and "train kto-0.001" not in page, "and taken"
    assert {path.name for path in tmp_path.glob("page-*.png")} == {
        "page-turns.png", "page-tuning.png", "page-rewards.png", "page-rounds.png",
    }  # fmt: skip


@pytest.mark.parametrize("stop", ["own", "trees-1", "kto-0.002", "bt-0.001", "round-2"])
def test_what_is_interrupted_continues_and_nothing_is_made_twice(
    script: Callable[[Script], None], tmp_path: Path, stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Script(stop)
    script(made)
    monkeypatch.setattr(eurus, "write_report", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        eurus.run(request(tmp_path))
    before = list(made.made)
    eurus.run(request(tmp_path))
    assert made.resumed == [stop]
    assert made.made[len(before)] == stop and len(set(made.made)) == len(made.made) == 21
    eurus.run(request(tmp_path))
    assert len(made.made) == 21


def test_stages_of_another_size_are_refused(script: Callable[[Script], None], tmp_path: Path) -> None:
    made = Script("trees-1")
    script(made)
    with pytest.raises(KeyboardInterrupt):
        eurus.run(request(tmp_path))
    other = replace(request(tmp_path), sizes=replace(eurus.QUICK, problems=7))
    with pytest.raises(UsageError, match="stages of another problems"):
        eurus.run(other)
