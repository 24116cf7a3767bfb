"""The page on strategies: its figures are those of the runs, whichever way they go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.experiments.strategies import ScoredSteps
from bench.report.strategies_page import ORACLE, POOL, Ranking, Results, draw, page
from bench.report.strategies_text import ABOUT
from bench.report.summary import Summary
from bench.runner.budget import Budget
from bench.strategies import _request
from search.node import Node, TreeEvent
from search.strategies import STRATEGIES
from search.types import Label, Problem
from tests.budgets import executed, run_at
from tests.fakes import BAD, GOOD, step
from tests.random_runs import Fractions

EVERY = {name: kind() for name, kind in STRATEGIES.items() if name != "cot"} | {ORACLE: STRATEGIES[POOL]()}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("runs")
    cells = {
        times: executed(run_at(Budget(times=times), EVERY, out / str(times), n_problems=4))
        for times in (4, 16)
    }
    return Results(cells, cells[4]["hgs"], cells[4][POOL], [Ranking(1, 9, 3, 0.75)], "python -m it")


def with_correct(summary: Summary, correct: bool) -> Summary:
    return replace(summary, graded=[replace(graded, correct=correct) for graded in summary.graded])


def resumed(summary: Summary) -> Summary:
    outcomes = [replace(g.outcome, events=replace(g.outcome.events, replayed=1)) for g in summary.graded]
    graded = [replace(g, outcome=outcome) for g, outcome in zip(summary.graded, outcomes, strict=True)]
    return replace(summary, graded=graded)


def test_every_strategy_has_its_words_and_its_figures(results: Results) -> None:
    text = page(results)
    assert set(ABOUT) == set(STRATEGIES)
    for name in STRATEGIES:
        assert f"### {name}\n" in text and ABOUT[name].helps in text
        assert 2 <= len(ABOUT[name].code.splitlines()) <= 10
    summary = results.cells[16]["mcts"]
    total = f"{summary.cost.total_tokens / 4:,.0f}"
    row = next(line for line in text.partition("### mcts")[2].splitlines() if line.startswith("| 16x"))
    assert f"| {100 * summary.correct / 4:.1f} %" in row and f"| {total} |" in row
    assert "python -m it" in text and "| 1 | 9 | 3 | 0.750 |" in text and "times 2.50" in text


def test_the_verdicts_follow_the_figures(results: Results) -> None:
    row = results.cells[16]
    right = {name: with_correct(s, name == POOL) for name, s in row.items()}
    text = page(replace(results, cells={**results.cells, 16: right}))
    assert f"is less accurate than `{POOL}`" in text and "Why it is behind" in text
    wrong = {name: with_correct(s, name in ("beam", ORACLE)) for name, s in row.items()}
    text = page(replace(results, cells={**results.cells, 16: wrong}))
    assert "`beam` with 100.0 %" in text and f"is at least as accurate as `{POOL}`" in text
    assert "What is left" in text and "choice loses 100.0 points" in text
    won, lost = with_correct(results.default, True), with_correct(results.matched, False)
    assert "So HGS is more accurate: HGS alone solves 4" in page(replace(results, default=won, matched=lost))
    assert "So best-of-N is more accurate" in page(
        replace(results, default=with_correct(won, False), matched=with_correct(lost, True))
    )
    assert "alone solves 0 of the problems" in page(replace(results, default=won, matched=won))
    assert "So neither is more accurate" in page(replace(results, default=won, matched=won))


def test_the_picture_is_drawn(results: Results, tmp_path: Path) -> None:
    draw(results, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


class Checked(Fractions):
    def step_labels(self, problem: Problem, steps: list[str]) -> list[Label]:  # type: ignore[override]
        return [Label.NEGATIVE if text.startswith("no") else Label.POSITIVE for text in steps]


def test_ranking_is_read_off_the_scored_steps_of_best_of_n() -> None:
    watch, problem = ScoredSteps(Checked()), Problem("p", "?")
    root = Node((), None, None)
    for number, (text, score) in enumerate([("no,", BAD), ("yes,", GOOD), ("no way,", GOOD), ("yes.", GOOD)]):
        for strategy in ("mcts", POOL):
            watch.begin(strategy, 1)
            node = Node((number,), root, step(text))
            node.score = score
            watch.event(problem, TreeEvent.SAMPLE, node)
            watch.event(problem, TreeEvent.SCORE, node)
    # Of four pairs of a right and a wrong step, two are ranked, two tie.
    assert watch.rankings() == [Ranking(1, 4, 2, 0.75)]


def test_the_command_line() -> None:
    plain, quick = _request([]), _request(["--quick", "--engine", "hf"])
    assert plain.times == (2, 4, 8, 16, 32) and plain.page == Path("docs/results/strategies.md")
    assert quick.limit < plain.limit and quick.page == Path("runs/strategies-quick/page.md")
    assert quick.command == "python -m bench.strategies --quick --engine hf"


def test_a_column_without_a_figure_is_left_out(results: Results) -> None:
    row = results.cells[16]
    text = page(replace(results, cells={16: {name: resumed(summary) for name, summary in row.items()}}))
    assert "| seconds |" in page(replace(results, cells={16: row})) and "| seconds |" not in text
