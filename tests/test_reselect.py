"""Choosing anew among recorded solutions gives what a run that chose so had given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.report import rescoring, sides
from bench.report.recorded import read_trace
from bench.report.rescoring import rescore
from bench.report.reselection import Selector, reselect
from bench.report.sides import Graders
from bench.runner.cli.reselect import main
from bench.runner.replaying import Neutral, with_neutral
from bench.tasks import TASKS
from search.engine import Outcome, solve
from search.errors import UsageError
from search.limits import LengthLimits
from search.params import params
from search.strategies.best_of_n import BestOfN
from search.strategies.hgs import HGS
from search.strategies.self_consistency import SelfConsistency
from search.strategies.weighted_vote import WeightedVote
from search.trace import Trace
from search.tree import Strategy
from search.types import Problem, Step, StepScore
from search.values import Aggregate
from tests.fakes import FractionAnswers, RandomWorld
from tests.random_runs import PROBLEMS, Fractions, recorded

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture(autouse=True)
def fractions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "TASKS", {**TASKS, "fractions": Fractions})


def grades(outcomes: list[Outcome]) -> list[bool]:
    by_problem = {outcome.problem.id: outcome.answer for outcome in outcomes}
    return [Fractions().grade(problem, by_problem[problem.id]).correct for problem in PROBLEMS]


@pytest.mark.parametrize("aggregate", ["last", "min", "product", "mean"])
def test_each_selector_gives_what_its_strategy_gives(aggregate: Aggregate, tmp_path: Path) -> None:
    strategies: tuple[Strategy, ...] = (
        BestOfN(n=8, temperature=1.0, aggregate=aggregate),
        SelfConsistency(n=8, temperature=1.0),
        WeightedVote(n=8, temperature=1.0, aggregate=aggregate),
    )
    runs = [asyncio.run(recorded(tmp_path / f"{i}.jsonl", s)) for i, s in enumerate(strategies)]
    (best, best_outcomes), (_, vote_outcomes), (_, weighted_outcomes) = runs
    selectors = [Selector("best", aggregate), Selector("vote", None), Selector("weighted_vote", aggregate)]
    got = reselect(best, selectors)
    assert list(got.recorded) == grades(best_outcomes) == list(got.selected[0].correct)
    assert list(got.selected[1].correct) == grades(vote_outcomes)
    assert list(got.selected[2].correct) == grades(weighted_outcomes)
    assert (got.selected[0].versus.won, got.selected[0].versus.lost, got.unscored) == (0, 0, 0)
    assert all(o >= c for s in got.selected for o, c in zip(got.oracle, s.correct, strict=True))
    assert sum(got.oracle) > sum(got.recorded)  # a test that could fail: choosing matters


def test_an_outcome_model_is_read_at_the_end(tmp_path: Path) -> None:
    strategy = BestOfN(n=6, temperature=1.0)
    run, outcomes = asyncio.run(recorded(tmp_path / "t.jsonl", strategy, outcome=True))
    assert any(tree.is_outcome for tree in run.trees.values())
    [got] = reselect(run, [Selector("best", "product")]).selected
    assert list(got.correct) == grades(outcomes)


def test_without_scores_only_a_vote_is_possible() -> None:
    cot = read_trace(RECORDED / "cot.jsonl")
    [vote] = reselect(cot, [Selector("best", "min"), Selector("vote", None)]).selected
    assert vote.name == "vote"
    with pytest.raises(UsageError, match="only --choose vote"):
        reselect(cot, [Selector("best", "min")])


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace = str(RECORDED / "hgs.jsonl")
    assert main([trace, "--choose", "best", "vote", "--aggregate", "min", "last"]) == 0
    printed = capsys.readouterr().out
    for part in ("3 problems, 1.0 finished", "as recorded: hgs", "best min", "best last", "vote", "oracle"):
        assert part in printed
    assert main([trace, "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert len(got["selectors"]) == 9 and got["run"] == "hgs" and got["problems"] == 3
    assert got["recorded"]["accuracy"] == got["selectors"][0]["accuracy"]
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes((RECORDED / "hgs.jsonl").read_bytes().splitlines(keepends=True)[0])
    assert main([str(empty)]) == 2
    assert "no problem is at its end" in capsys.readouterr().err


# -- another neutral policy ------------------------------------------------------------------------


def hgs(path: Path, neutral: Neutral) -> dict[str, str | None]:
    """The answers of HGS in the random world, recorded."""
    strategy, world = HGS(width=3, max_samples=25, neutral=neutral), RandomWorld()
    config = {
        "strategy": "hgs", "params": params(strategy), "task": "fractions", "data": "", "seed": 5,
        "limits": [None, None, None], "lengths": [12, 40],
    }  # fmt: skip

    async def run() -> dict[str, str | None]:
        with closing(Trace(path, config)) as trace:
            outcomes = solve(
                PROBLEMS, strategy, world, world, seed=5, trace=trace, answers=FractionAnswers(),
                lengths=LengthLimits(12, 40),
            )  # fmt: skip
            return {o.problem.id: o.answer async for o in outcomes if o.error is None}

    return asyncio.run(run())


def test_another_neutral_policy_gives_what_a_run_with_it_gives(tmp_path: Path) -> None:
    policies: tuple[Neutral, ...] = ("defer", "accept", "reject")
    runs = {neutral: hgs(tmp_path / f"{neutral}.jsonl", neutral) for neutral in policies}
    for recorded_as, own in runs.items():
        run = read_trace(tmp_path / f"{recorded_as}.jsonl")
        graders = Graders(run)
        for neutral, expected in runs.items():
            again = with_neutral(run, graders, neutral)
            assert again == {name: expected[name] for name in again}
            assert again == own if neutral == recorded_as else 0 < len(again) < len(PROBLEMS)


def test_the_command_says_what_another_neutral_policy_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "hgs.jsonl"
    hgs(trace, "defer")
    assert main([str(trace), "--choose", "vote", "--neutral", "reject"]) == 0
    printed = capsys.readouterr().out
    assert "neutral=reject: " in printed and "of 15 problems. The other " in printed
    assert main([str(trace), "--neutral", "reject", "accept", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["neutral"]
    assert [row["selector"] for row in rows] == ["neutral=reject", "neutral=accept"]
    assert all(0 < row["problems"] < 15 for row in rows)
    assert main([str(RECORDED / "cot.jsonl"), "--neutral", "accept"]) == 2
    assert "--neutral is for traces of hgs, not of cot" in capsys.readouterr().err


# -- another reward model --------------------------------------------------------------------------


class Other(RandomWorld):
    """Another reward model: it likes what the recorded one does not."""

    async def __aenter__(self) -> Other:
        return self

    async def __aexit__(self, *error: object) -> None: ...

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        values = [0.9 if "0.5" in step.text else 0.1 for step in steps[num_scored:]]
        return [StepScore(1 - value, 0.0, value) for value in values]


def test_another_reward_model_scores_the_recorded_solutions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, keep = tmp_path / "t.jsonl", tmp_path / "scores.jsonl"
    run, _ = asyncio.run(recorded(path, BestOfN(n=8, temperature=1.0)))
    before = path.read_bytes()
    monkeypatch.setattr(rescoring, "load_scorer", lambda *args, **how: Other())
    words = [str(path), "--prm", "builtin", "--keep", str(keep), "--aggregate", "last", "--choose", "best"]
    assert main(words) == 0
    assert "finished solutions of each, scored by builtin" in capsys.readouterr().out
    solutions = [tree.solutions for tree in run.trees.values()]
    likes = [any("= 0.5" in node.text for node in nodes) for nodes in solutions]
    rescore(run, Graders(run), "builtin", keep)  # all of it is kept
    [got] = reselect(run, [Selector("best", "last")]).selected
    assert sum(likes) > 0 and all(right for right, liked in zip(got.correct, likes, strict=True) if liked)
    assert path.read_bytes() == before
    leaves = [node for nodes in solutions for node in nodes if node.score is not None]
    assert {round(node.value, 6) for node in leaves} == {0.1, 0.9}
    monkeypatch.setattr(rescoring, "load_scorer", None)
    assert main(words) == 0
    assert main(words[:3]) == 2
    assert "--keep FILE" in capsys.readouterr().err


def test_an_outcome_model_scores_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = asyncio.run(recorded(tmp_path / "t.jsonl", BestOfN(n=4, temperature=1.0)))
    layout = SimpleNamespace(is_outcome=True)
    monkeypatch.setattr(rescoring, "find", lambda name: SimpleNamespace(layout=layout))
    monkeypatch.setattr(rescoring, "load_scorer", lambda *args, **how: Other())
    rescore(run, Graders(run), "builtin", tmp_path / "scores.jsonl")
    assert any(tree.is_outcome for tree in run.trees.values())
    for tree in run.trees.values():
        ends = {leaf for leaf in tree.solutions if leaf.score is not None}
        assert all(node in ends for node in tree.nodes if node.score is not None)
