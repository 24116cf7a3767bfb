"""Choosing anew among recorded solutions gives what a run that chose so had given."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bench.report import sides
from bench.report.recorded import read_trace
from bench.report.reselection import Selector, reselect
from bench.runner.cli.reselect import main
from bench.tasks import TASKS
from search.engine import Outcome
from search.errors import UsageError
from search.strategies.best_of_n import BestOfN
from search.strategies.self_consistency import SelfConsistency
from search.strategies.weighted_vote import WeightedVote
from search.tree import Strategy
from search.values import Aggregate
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
