"""The page of a grid says what its figures say, whichever way they go; and the words of the command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.report import comparison, sides
from bench.report.comparison import ALPHA
from bench.report.diagnosed import diagnosed
from bench.report.grid import Cell, Grid, read_grid
from bench.report.grid_page import draw, page, write_page
from bench.report.grid_pool import pool_of
from bench.report.grid_table import Line, tables_of
from bench.report.recorded import read_trace
from bench.report.stats import wilson
from bench.report.summary import Graded, Summary
from bench.runner.budget import Budget
from bench.runner.cli import grid as command
from bench.tasks import TASKS
from search.engine import Outcome
from search.errors import UsageError
from search.limits import Cost, Events
from search.types import Problem
from tests.fakes import FractionAnswers
from tests.grids import finish, grid_at
from tests.random_runs import Fractions

PROBLEMS = [Problem(f"p{i}", f"question {i}") for i in range(200)]


def cell(strategy: str, right: list[bool], *, budget: str = "4x", seed: int = 0, tokens: int = 100) -> Cell:
    graded = [
        Graded(Outcome(problem, (), "1", None, Cost(total_tokens=tokens), Events(), 0.1), correct)
        for problem, correct in zip(PROBLEMS, right, strict=False)
    ]
    summary = Summary(strategy, {}, "fractions", seed, "world", None, "here", 1.0, graded)
    return Cell(strategy=strategy, budget=budget, seed=seed, trace=Path("none"), summary=summary)


def grid_of(*cells: Cell, baseline: str = "vote") -> Grid:
    n = len(cells[0].summary.graded)
    return Grid(
        title="fractions", command="python -m it", baseline=baseline, task="fractions", policy="world",
        prm=None, problems={problem.id: problem for problem in PROBLEMS[:n]}, references={}, cells=cells,
    )  # fmt: skip


def table(grid: Grid) -> Mapping[str, Line]:
    return {line.method.strategy: line for line in tables_of(grid)["4x"]}


def share(n: int, right: int) -> list[bool]:
    return [i < right for i in range(n)]


# -- statistics ------------------------------------------------------------------------------------


def test_verdicts_are_those_of_the_corrected_p() -> None:
    """Ten more of a hundred: p = 0.002, and 0.006 in a table of three tests."""
    grid = grid_of(
        cell("vote", share(100, 50)), cell("good", share(100, 60)), cell("bad", share(100, 40)),
        cell("same", share(100, 53)), cell("oracle_best_of_n", share(100, 90)),
    )  # fmt: skip
    found = table(grid)
    assert {name: line.verdict for name, line in found.items()} == {
        "good": "better", "same": "within the noise", "vote": "baseline", "bad": "worse",
        "oracle_best_of_n": "bound",
    }  # fmt: skip
    good, same = found["good"], found["same"]
    assert good.versus is not None and same.versus is not None
    p = good.versus.comparison.p
    assert p == pytest.approx(2 / 2**10) and good.versus.p == pytest.approx(3 * p)
    alike = same.versus.comparison
    assert alike.difference == pytest.approx(3) and alike.needed is not None
    assert list(found) == ["good", "same", "vote", "bad", "oracle_best_of_n"]


def test_correction_makes_noise_of_what_alone_would_be_more() -> None:
    """Seven of a hundred: p = 0.016 alone, 0.08 in a table of five tests."""
    others = [cell(name, share(100, 50)) for name in ("a", "b", "c", "d")]
    alone = table(grid_of(cell("vote", share(100, 50)), cell("good", share(100, 57))))
    among = table(grid_of(cell("vote", share(100, 50)), cell("good", share(100, 57)), *others))
    assert (alone["good"].verdict, among["good"].verdict) == ("better", "within the noise")


def test_a_problem_counts_once_however_many_seeds_there_are() -> None:
    """With three equal seeds, intervals and p are those of the problems, not of three times as many."""
    def three(strategy: str, right: list[bool]) -> list[Cell]:
        return [cell(strategy, right, seed=seed) for seed in range(3)]

    one = table(grid_of(cell("vote", share(60, 30)), cell("good", share(60, 34))))["good"]
    many = table(grid_of(*three("vote", share(60, 30)), *three("good", share(60, 34))))["good"]
    assert one.versus is not None and many.versus is not None
    assert many.versus.p == pytest.approx(one.versus.p)
    assert many.versus.comparison.interval == pytest.approx(one.versus.comparison.interval)
    none = table(grid_of(*three("vote", share(60, 0)), *three("good", share(60, 60))))
    assert none["vote"].method.interval == pytest.approx(wilson(0, 60))
    assert none["good"].method.interval == pytest.approx(wilson(60, 60))
    assert many.method.answers == 180 and many.method.total_tokens == 100


def test_of_tables_without_any_difference_five_per_cent_find_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four strategies that are alike, 100 problems of all difficulties, 2 seeds, each table corrected."""
    monkeypatch.setattr(comparison, "bootstrap", lambda values: (0.0, 0.0))  # no verdict depends on it
    rng, tables, found = np.random.default_rng(0), 150, 0
    for _ in range(tables):
        solves = rng.beta(0.5, 0.5, size=100)
        cells = [
            cell(name, (rng.random(100) < solves).tolist(), seed=seed)
            for name in ("vote", "a", "b", "c")
            for seed in range(2)
        ]
        found += any(line.verdict in ("better", "worse") for line in table(grid_of(*cells)).values())
    assert 0 < found / tables < ALPHA + 0.03  # the standard error is 0.018


# -- the page --------------------------------------------------------------------------------------


def test_the_page_says_who_is_best_and_whether_that_is_noise() -> None:
    noise = grid_of(cell("vote", share(100, 50)), cell("good", share(100, 52)))
    text = page(noise, tables_of(noise), {})
    assert "4x greedy's cost: `good` is the most accurate, with 52.0 % [42.3, 61.5]" in text
    assert "+2.0 [+0.0, +5.0] points against `vote`, which is within the noise (p = 0.500 after" in text
    assert "if it is real, about " in text and "Within the noise: `good`." in text
    clear = grid_of(cell("vote", share(100, 50)), cell("good", share(100, 90)))
    text = page(clear, tables_of(clear), {})
    assert "which is more than noise (p < 0.001 after" in text and "Better: `good`." in text
    best = grid_of(cell("vote", share(100, 50)), cell("bad", share(100, 49)))
    assert "; no strategy is above the baseline." in page(best, tables_of(best), {})


def test_failures_are_counted_and_said() -> None:
    broken = cell("good", share(100, 60))
    graded = list(broken.summary.graded)
    graded[99] = replace(graded[99], outcome=replace(graded[99].outcome, error="PolicyError: gone"))
    failing = replace(broken, summary=replace(broken.summary, graded=graded))
    grid = grid_of(cell("vote", share(100, 50)), failing)
    text = page(grid, tables_of(grid), {})
    assert "Failed with an error, and counted as wrong: `good` 1 of 100." in text


def test_a_grid_is_written_as_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "TASKS", {**TASKS, "fractions": Fractions})
    finish(grid_at(tmp_path, seeds=(0,), budgets=(Budget(times=3), None)))
    grid = read_grid(tmp_path)
    write_page(diagnosed(grid), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    for name in grid.strategies:
        assert f"- `{name}`: " in text.partition("## Why problems are lost, at default")[2]
    below = text.partition("## 3x greedy's cost")[2].splitlines()
    row = next(line for line in below if line.startswith("| `hgs`"))
    [method] = [line.method for line in tables_of(grid)["3x"] if line.method.strategy == "hgs"]
    assert f"| {100 * method.accuracy:.1f} % [" in row and f"| {method.total_tokens:,.0f} |" in row
    assert "## pass@k" in text and "`self_consistency` at default parameters" in text
    assert "times 2.50" in text and "McNemar's exact test" in text and "python -m bench.run --seeds 2" in text


def test_pass_at_k_is_that_of_the_finished_solutions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted here from the traces: of n finished solutions c are right, and k = 2 are drawn."""
    monkeypatch.setattr(sides, "TASKS", {**TASKS, "fractions": Fractions})
    finish(grid_at(tmp_path, budgets=(None,)))
    grid, by_problem = read_grid(tmp_path), dict[str, list[float]]()
    cells = grid.of("self_consistency", "default")
    graders = sides.Graders(read_trace(cells[0].trace))
    for one in cells:
        for name, tree in read_trace(one.trace).trees.items():
            texts = ["".join(step.text for step in node.steps) for node in tree.solutions]
            n, c = len(texts), sum(graders.grade(name, FractionAnswers().extract(text)) for text in texts)
            assert n >= 2
            chance = 1 - (n - c) * (n - c - 1) / (n * (n - 1))
            by_problem.setdefault(name, []).append(chance)
    pool = pool_of(grid, "default", graders)
    assert pool is not None and pool.strategy == "self_consistency" and pool.ks[:2] == [1, 2]
    expected = sum(sum(values) / len(values) for values in by_problem.values()) / len(by_problem)
    assert pool.shares[1][0] == pytest.approx(expected)
    assert pool_of(grid_of(cell("beam", share(4, 2))), "4x", graders) is None


def test_lines_are_drawn_for_strategies_and_bounds(tmp_path: Path) -> None:
    cells = [
        cell(name, share(100, right + times), budget=f"{times}x", tokens=100 * times)
        for name, right in (("vote", 40), ("good", 50), ("oracle_best_of_n", 80))
        for times in (1, 4)
    ]
    grid = grid_of(*cells)
    draw(tables_of(grid), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


# -- the command -----------------------------------------------------------------------------------


def test_words_become_a_request() -> None:
    request = command._request(
        ["--strategies", "best_of_n,hgs", "--budget", "default,4x,tokens=900", "--seeds", "0,7",
         "--limit", "5", "--set", "neutral=accept", "--engine", "hf"], Path("here"),
    )  # fmt: skip
    assert list(request.base.strategies) == ["cot", "best_of_n", "hgs"]
    assert request.budgets == (None, Budget(times=4), Budget(tokens=900)) and request.seeds == (0, 7)
    assert request.base.limit == 5 and request.base.budget is None and request.baseline == "best_of_n"
    plain = command._request([], None)
    assert plain.seeds == (0, 1, 2) and plain.baseline == "self_consistency" and len(plain.budgets) == 3
    assert str(plain.out).startswith("runs/grid-builtin-")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--seeds", "0"], "--seeds takes"), (["--seeds", "1,1"], "--seeds takes"),
        (["--budget", "4"], "--budget takes 8x.*; or default"), (["--strategies", "hsg"], "did you mean hgs"),
        (["--strategy", "hgs"], "unrecognized arguments: --strategy"),
        (["--strategies", "best_of_n", "--budget", "default,4x", "--set", "n=3"], "--budget scales"),
        (["--question", "2 + 2?"], "unrecognized arguments: --question"),
    ],
)  # fmt: skip
def test_wrong_words_are_refused(words: list[str], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        command._request(words, None)


def test_a_resumed_grid_takes_its_recorded_words() -> None:
    before = ["--task", "gsm8k", "--seeds", "3", "--set", "width=2", "max_samples=9"]
    now = ["--out", "x", "--resume", "--seeds", "5"]
    assert command._merged(before, now) == ["--task", "gsm8k", "--set", "width=2", "max_samples=9", *now]
    assert command._merged(before, ["--problems", "f.jsonl"])[:2] == ["--seeds", "3"]
    quick = ["--limit", "10", "--budget", "1x,4x", "--seeds", "2"]
    assert command._quick(["--quick", "--seeds", "2"]) == quick


def test_a_folder_that_holds_a_grid_is_not_overwritten(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    finish(grid_at(tmp_path, seeds=(0,), budgets=(None,), n_problems=1))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert command.main(["--out", str(tmp_path)]) == 2
    assert "already holds a grid: add --resume" in capfd.readouterr().err
    assert command.main(["--resume"]) == 2
    assert command.main(["--resume", "--out", str(tmp_path / "other")]) == 2
    assert "there is no grid in" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
