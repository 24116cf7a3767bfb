"""A scripted search in, a diagnosis out: each reason to lose is reached by one picture."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.report import sides
from bench.report.diagnosis import Backtracks, Diagnosis, diagnose
from bench.report.diagnosis_text import diagnosis_lines
from bench.report.losses import Cause
from bench.report.recorded import read_trace
from bench.report.reranking import discrimination
from bench.report.sides import Graders
from bench.report.sizes import Sizes
from bench.report.subsets import Pool
from bench.runner.cli.diagnose import main
from bench.runner.replaying import replayed_summary, with_neutral
from bench.tasks import TASKS
from search.engine import Outcome, solve
from search.limits import CostLimits, Events, LengthLimits
from search.params import params
from search.strategies.best_of_n import BestOfN
from search.strategies.cot import ChainOfThought
from search.strategies.hgs import HGS
from search.strategies.mcts import MCTS
from search.strategies.self_consistency import SelfConsistency
from search.trace import Trace
from search.tree import Strategy
from tests.cells import Cell, Checked, Plain, cell
from tests.fakes import BAD, FractionAnswers, RandomWorld
from tests.pictures import Script, of_value

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture(autouse=True)
def tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "TASKS", {**TASKS, "plain": Plain, "checked": Checked})


def picture(path: Path, *args: Any, **how: Any) -> Diagnosis:
    return diagnose([cell(path / f"{len(list(path.iterdir()))}.jsonl", *args, **how)])


TWO = {"": ["so = 1/2.", "so = 3."]}
WRONG = {"so = 1/2.": of_value(0.3), "so = 3.": of_value(0.9)}


# -- why does search lose here? --------------------------------------------------------------------


def test_the_prm_cannot_rank(tmp_path: Path) -> None:
    got = picture(tmp_path, BestOfN(n=2), TWO, WRONG)
    assert got.sentence == (
        "The PRM cannot rank: 100.0% of problems have a right candidate, 0.0% are solved; its AUC within "
        "problems is 0.00 [0.00, 0.00], not above chance. Of 6 wrong answers: 6 with a right candidate that "
        "was not chosen."
    )
    assert (got.accuracy, got.oracle, got.gap, got.candidates, got.mixed) == (0, 1, 1, 2, 6)
    assert got.losses[0].why == (
        "1 of 2 candidates are right, and another one was chosen. Its value is 0.9, that of the best right "
        "one 0.3."
    )


def test_the_prm_ranks_but_not_well_enough(tmp_path: Path) -> None:
    script = {"": ["so = 1/2.", "so = 3.", "so = 4.", "so = 5."]}
    scores = {"so = 4.": of_value(0.1), "so = 5.": of_value(0.2), "so = 3.": of_value(0.9)}
    got = picture(tmp_path, BestOfN(n=4), script, scores | {"so = 1/2.": of_value(0.8)})
    assert got.auc_within == pytest.approx((2 / 3,) * 3)
    assert got.sentence.startswith("The PRM does not rank well enough: 100.0% of problems")
    assert "AUC within problems is 0.67 [0.67, 0.67]." in got.sentence


def test_the_vote_picks_the_wrong_answer(tmp_path: Path) -> None:
    got = picture(tmp_path, SelfConsistency(n=3), {"": ["so = 3.", "so = 0.5.", "so = 3."]})
    assert got.sentence.startswith("The vote picks the wrong answer: 100.0% of problems have a")
    assert not got.scored and got.as_json()["auc_within"] is None


def test_the_prm_scores_a_wrong_step_as_right(tmp_path: Path) -> None:
    script = {"": ["bad,"], "bad,": ["so = 3."]}
    got = picture(tmp_path, HGS(width=2), script, task="checked")
    assert got.causes == {Cause.STEP: 6}
    assert got.sentence.startswith("The PRM scores wrong steps as right: ")
    assert got.losses[0].why == (
        "The reward model scored a wrong step of the chosen solution as right. Its first wrong step is step "
        "1, scored 0.90: bad,"
    )
    # Best-of-N commits to no step, so there it is the policy that gives nothing better.
    assert picture(tmp_path, BestOfN(n=1), script, task="checked").causes == {Cause.POOL: 6}


def test_the_pool_holds_no_answer(tmp_path: Path) -> None:
    got = picture(tmp_path, BestOfN(n=2), {"": ["so = 4.", "so = 3."]})
    assert got.sentence == (
        "The pool holds no answer where it loses: 0.0% of problems have a right one among their 2.0 "
        "candidates, so no selector gains more than 0.0 points. Of 6 wrong answers: 6 without a right "
        "candidate."
    )
    assert got.losses[0].why == "None of its 2 candidates is right." and got.mixed == 0


def test_the_budget_ended(tmp_path: Path) -> None:
    script = {"": ["one,", "two,", "so = 3.", "so = 1/2."]}
    got = picture(tmp_path, HGS(width=8, max_samples=2), script, {"one,": BAD, "two,": BAD})
    assert got.exhausted == 6 and got.causes == {Cause.BUDGET: 6}
    assert got.sentence.startswith("The budget ended: 6 of 6 searches reached a limit. 0% of all ")
    assert got.losses[0].why == "Its limit ended the search, and its one candidate is wrong."
    many = {"": ["so = 2.", "so = 3.", "so = 4."]}
    wide = picture(tmp_path, HGS(width=3, max_samples=2), many, dict.fromkeys(many[""], BAD))
    assert wide.exhausted == 6 and wide.causes == {Cause.POOL: 6}  # it has solutions of its own
    cut = picture(tmp_path, ChainOfThought(), {"": ["on and on,"], "on and on,": ["so = 1/2."]},
                  solution_tokens=12)  # fmt: skip
    assert cut.losses[0].why == "The chosen solution was cut at the length limit." and not cut.exhausted


def test_the_grader_has_nothing_to_read(tmp_path: Path) -> None:
    others = {f"p/{i}": {"": ["who knows."]} for i in range(2)}
    got = picture(tmp_path, ChainOfThought(), {"": ["guess = 3."]}, others=others)
    assert got.causes == {Cause.GUESS: 4, Cause.UNREAD: 2}
    assert got.sentence == (
        "The grader has nothing to read: solutions state no answer as the task expects it. Of 6 wrong "
        "answers: 4 without a stated answer (a guess was graded); 2 without a readable answer."
    )
    whys = {loss.cause: loss.why for loss in got.losses}
    assert whys[Cause.GUESS].endswith("so its last mathematics or number was graded: 3.")


def test_errors(tmp_path: Path) -> None:
    """The script has nothing to give, which is an error of the policy."""
    got = picture(tmp_path, ChainOfThought(), {}, replay=False)
    assert got.causes == {Cause.ERROR: 6} and got.sentence.startswith("Problems failed with errors. Of 6")
    assert "the script has ()" in got.losses[0].why


def test_nothing_is_lost_little_is_lost_and_no_single_cause(tmp_path: Path) -> None:
    right: Script = {"": ["so = 1/2."]}
    assert picture(tmp_path, ChainOfThought(), right).sentence == "Nothing is lost: all 6 answers are right."
    few = cell(tmp_path / "few.jsonl", ChainOfThought(), right, others={"p/1": {"": ["so = 3."]}})
    assert diagnose([few]).sentence == (
        "Only 1 of 6 answers is wrong, too few to name a cause: 1 without a right candidate."
    )
    kinds: list[Script] = [TWO, {"": ["so = 3.", "so = 4."]}, {"": ["guess = 3.", "guess = 3."]}]
    others = {f"p/{i}": kinds[i % 3] for i in range(6)}
    mixed = cell(tmp_path / "mixed.jsonl", BestOfN(n=2), right, WRONG, others=others)
    assert diagnose([mixed]).sentence.startswith("No single cause. Of 6 wrong answers: 2 ")


# -- where the search went -------------------------------------------------------------------------


def backtracks(**counts: int) -> Backtracks:
    none = {"helped": 0, "hurt": 0, "unknown": 0, "restarts": 0, "recovered": 0, "far": 0}
    return Backtracks(**{**none, **counts})


def test_a_wrong_prefix_is_left_and_the_problem_is_solved(tmp_path: Path) -> None:
    no = ["no,"] * 3
    script = {"": ["bad,", "bad too,", "so = 1/2."], "bad,": no, "bad too,": no}
    got = picture(tmp_path, HGS(width=3), script, {"no,": BAD}, n=2, task="checked")
    assert got.backtracks == backtracks(helped=4, recovered=2) and got.accuracy == 1
    assert (got.rejected, got.rejected_right, got.duplicates) == (4, 0, 8)


def test_the_search_goes_back_over_two_wrong_steps(tmp_path: Path) -> None:
    script = {"": ["bad,", "so = 1/2."], "bad,": ["on,", "on,"], "bad,on,": ["no,", "no,"]}
    got = picture(tmp_path, HGS(width=2), script, {"no,": BAD}, n=1, task="checked")
    assert got.backtracks == backtracks(helped=2, recovered=1, far=1)


def test_a_right_prefix_is_left(tmp_path: Path) -> None:
    script = {"": ["good,", "so = 3."], "good,": ["so = 1/2.", "bad,"]}
    got = picture(tmp_path, HGS(width=2), script, {"so = 1/2.": BAD, "bad,": BAD}, n=1, task="checked")
    assert got.backtracks == backtracks(hurt=1) and (got.rejected, got.rejected_right) == (2, 1)
    assert got.losses[0].cause is Cause.CHOICE  # the rejected solution is a candidate all the same


def test_without_labels_only_a_right_solution_tells(tmp_path: Path) -> None:
    script = {"": ["good,", "odd,", "so = 3."], "good,": ["so = 1/2."] * 3, "odd,": ["no,"] * 3}
    got = picture(tmp_path, HGS(width=3), script, {"so = 1/2.": BAD, "no,": BAD}, n=1)
    assert got.backtracks == backtracks(hurt=1, unknown=1) and got.rejected_right is None


def test_a_tree_that_is_rejected_whole_is_no_backtrack(tmp_path: Path) -> None:
    script = {"": ["one,", "two,"], "one,": ["so = 1/2."]}
    got = picture(tmp_path, HGS(width=2), script, {"one,": BAD, "two,": BAD}, n=1, task="checked")
    assert got.backtracks == backtracks(restarts=1) and got.accuracy == 1


def test_the_prm_by_depth_counts_steps_after_a_right_prefix(tmp_path: Path) -> None:
    right = {"a,": ["b,"], "a,b,": ["so = 1/2."]}
    script = {"": ["a,", "bad,", "a,"], **right, "bad,": ["bad c,"], "bad,bad c,": ["so = 4."]}
    scores = {"a,": of_value(0.4), "bad,": of_value(0.6)}
    got = picture(tmp_path, BestOfN(n=3), script, scores, n=3, task="checked")
    rows = [(row.first, row.last, row.steps, row.wrong) for row in got.by_depth]
    assert rows == [(1, 1, 6, 3), (2, 2, 3, 0), (3, 4, 3, 0)]
    assert got.by_depth[0].auc == 0 and got.as_json()["by_depth"][1]["auc"] is None


# -- difficulty, seeds, cost -----------------------------------------------------------------------


def test_difficulty_is_the_tasks_own_or_what_the_baseline_solves(tmp_path: Path) -> None:
    others = {"p/0": {"": ["so = 3."]}}
    ours = cell(tmp_path / "a.jsonl", ChainOfThought(), {"": ["so = 1/2."]}, others=others, task="checked")
    got = diagnose([ours])
    assert [(g.name, g.n, g.accuracy) for g in got.groups] == [("easy", 4, 1.0), ("hard", 2, 0.5)]
    plain = cell(tmp_path / "b.jsonl", ChainOfThought(), {"": ["so = 1/2."]}, others=others)
    assert diagnose([plain]).groups == []
    base = [
        cell(tmp_path / f"c{s}.jsonl", ChainOfThought(), {"": ["so = 3."]}, seed=s, others=solved)
        for s, solved in enumerate([{"p/1": TWO, "p/2": TWO}, {"p/1": TWO}])
    ]
    grouped = diagnose([plain], baseline=base)
    assert [(g.name, g.n) for g in grouped.groups] == [
        ("not solved by cot", 4), ("solved by cot", 1), ("solved by some seeds of cot", 1),
    ]  # fmt: skip
    assert grouped.grouped_by == "what cot solves"


def test_several_seeds_are_one_diagnosis(tmp_path: Path) -> None:
    scripts: list[Script] = [{"": ["so = 1/2.", "so = 4."]}, TWO]
    cells = [
        cell(tmp_path / f"{s}.jsonl", BestOfN(n=2), script, WRONG, seed=s) for s, script in enumerate(scripts)
    ]
    got = diagnose(cells)
    assert (got.seeds, got.problems, got.answers, got.mixed) == (2, 6, 12, 12)
    assert {(loss.seed, loss.cause) for loss in got.losses} == {(0, Cause.CHOICE), (1, Cause.CHOICE)}
    assert [loss.problem for loss in got.losses[:4]] == ["p/0", "p/0", "p/1", "p/1"]
    assert "p/0, seed 1 (choice)" in "\n".join(diagnosis_lines(got, listed=99))


def test_a_problem_counts_once_however_many_seeds_it_has() -> None:
    good, bad = Pool([True, False], [0, 1], [0.9, 0.1]), Pool([True, False], [0, 1], [0.1, 0.9])
    within, _, mixed = discrimination([good, good, good, bad], of=["a", "a", "a", "b"])
    assert (within[0], mixed) == (0.5, 4)


def test_compute_is_twice_parameters_times_tokens(tmp_path: Path) -> None:
    ours = cell(tmp_path / "a.jsonl", ChainOfThought(), {"": ["so = 1/2."]}, n=4)
    got = diagnose([ours], sizes=Sizes(policy=1000))
    assert got.policy_tokens == 4 * len("so = 1/2.") and got.discarded == 0
    assert got.flops_policy == 2 * 1000 * len("so = 1/2.") and got.flops_prm == 0.0
    assert diagnose([ours]).flops_policy is None
    timed = [
        replace(g, outcome=replace(g.outcome, seconds=float(i), events=Events()))
        for i, g in enumerate(ours.summary.graded)
    ]
    assert got.seconds is None  # replayed
    seconds = diagnose([Cell(ours.trace, replace(ours.summary, graded=timed))]).seconds
    assert seconds == pytest.approx((1.5, 2.85))


# -- what the run counted, from its trace ----------------------------------------------------------

SEARCHES: dict[str, Strategy] = {
    "hgs": HGS(width=3, max_samples=9), "mcts": MCTS(simulations=6), "best_of_n": BestOfN(n=5),
}  # fmt: skip


@pytest.mark.parametrize("name", SEARCHES)
def test_a_trace_alone_gives_what_the_run_counted(name: str, tmp_path: Path) -> None:
    world, strategy, path = RandomWorld(jitter=1), SEARCHES[name], tmp_path / "t.jsonl"
    config = {
        "strategy": name, "params": params(strategy), "task": "plain", "seed": 3, "data": "",
        "limits": [None, 120, None], "lengths": [12, 40],
    }  # fmt: skip

    async def run() -> dict[str, Outcome]:
        with closing(Trace(path, config)) as trace:
            outcomes = solve(
                [e.problem for e in Plain().load(None, 12)], strategy, world, world, seed=3, trace=trace,
                limits=CostLimits(policy_tokens=120), lengths=LengthLimits(12, 40), answers=FractionAnswers(),
            )  # fmt: skip
            return {outcome.problem.id: outcome async for outcome in outcomes}

    counted = asyncio.run(run())
    before = path.read_bytes()
    read = read_trace(path)
    again = {g.outcome.problem.id: g.outcome for g in replayed_summary(read, Graders(read)).graded}
    assert any(outcome.events.exhausted for outcome in counted.values())
    for problem, outcome in counted.items():
        if outcome.error is None:
            events = replace(again[problem].events, replayed=0)
            assert (again[problem].answer, again[problem].cost, events) == (
                outcome.answer, outcome.cost, outcome.events,
            )  # fmt: skip
    assert path.read_bytes() == before


@pytest.mark.parametrize("recorded", [True, False])
def test_the_leaf_is_the_recorded_one_however_the_run_made_values(recorded: bool, tmp_path: Path) -> None:
    """With min, the run took the longer guess at its limit; the product would take the answer."""
    script = {"": ["one,"], "one,": ["so = 1/2.", "two,"], "one,two,": ["guess = 3."]}
    scores = {"one,": of_value(0.96), "two,": of_value(0.96)}
    scores |= {"so = 1/2.": of_value(0.8), "guess = 3.": of_value(0.81)}
    path, strategy = tmp_path / "t.jsonl", HGS(width=2, accept=0.95)
    how: dict[str, Any] = {"n": 1, "samples": 4, "aggregate": "min", "recorded": recorded, "replay": False}
    [counted] = cell(path, strategy, script, scores, **how).summary.graded
    read = read_trace(path)
    [again] = replayed_summary(read, Graders(read)).graded
    assert counted.fallback and counted.outcome.answer == "3" and counted.outcome.events.exhausted
    for got in (counted, again):
        assert (got.fallback, got.ending, got.outcome.value) == (True, "answered", 0.81)
        assert got.outcome.cost.policy_tokens_discarded == len("so = 1/2.")
    [answer] = with_neutral(read, Graders(read), "defer").values()
    assert answer == ("3" if recorded else "1/2"), "of an old trace, the product"


# -- the command -----------------------------------------------------------------------------------


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RECORDED / "hgs.jsonl")]) == 0
    printed = capsys.readouterr().out
    for part in ("hgs: 3 problems", "why         ", "oracle (pass@N", "difficulty  ", "problem: policy "):
        assert part in printed
    assert "not known" not in printed.split("time")[0]  # the bundled models' sizes are
    assert main([str(RECORDED), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["strategy"] for row in rows] == ["cot", "hgs"]
    assert rows[1]["oracle"] >= rows[1]["accuracy"] and rows[1]["backtracks"]["hurt"] >= 0
    assert main([str(tmp_path)]) == 2
    assert "holds no trace" in capsys.readouterr().err
    bad = tmp_path / "t.jsonl"
    bad.write_text((RECORDED / "hgs.jsonl").read_text().replace('"strategy": "hgs"', '"strategy": "own"'))
    assert main([str(bad)]) == 2
    assert "cannot be run again: unknown strategy 'own'" in capsys.readouterr().err


def test_a_strategy_that_was_interrupted_early_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (RECORDED / "hgs.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "hgs.jsonl").write_text("".join(x for x in lines if '"event": "chosen"' not in x))
    assert main([str(tmp_path)]) == 2
    assert f"error: {tmp_path}: no problem is at its end in any" in capsys.readouterr().err
    (tmp_path / "cot.jsonl").write_bytes((RECORDED / "cot.jsonl").read_bytes())
    assert main([str(tmp_path)]) == 0
    printed, told = capsys.readouterr()
    assert printed.startswith("cot: 3 problems") and "hgs" not in printed
    assert f"note: {tmp_path / 'hgs.jsonl'} is left out: no problem is at its end" in told
    assert main([str(tmp_path / "hgs.jsonl")]) == 2
