"""Grids: what is killed goes on, what is finished is not run again, and what is recorded needs no model."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from bench.report.files import replace_text
from bench.report.grid import PROBLEMS, read_asked, read_grid
from bench.report.parquet import COLUMNS, MEASURED, write_parquet
from bench.report.recorded import read_trace
from bench.report.results import SUFFIX, read_results
from bench.runner.budget import FILE, Budget
from bench.runner.forecast import forecast
from bench.runner.grid import replay_grid
from bench.runner.models import Models
from search.errors import PolicyError, UsageError
from search.types import Problem, Step, StepScore
from tests.fakes import RandomWorld
from tests.grids import NAMES, finish, grid_at

CELLS = 2 * 2 * (len(NAMES) + 1)


def records(out: Path, *, without: Sequence[str] = ("seconds", "revision")) -> list[dict[str, Any]]:
    write_parquet(read_grid(out), out / "results.parquet")
    table = parquet.read_table(out / "results.parquet")
    return [{k: v for k, v in row.items() if k not in without} for row in table.to_pylist()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    finish(grid_at(out))
    return out


# -- killed and resumed ----------------------------------------------------------------------------


class Killed(BaseException):
    """In place of a kill: nothing catches it."""


class Mortal(RandomWorld):
    """Dies at its n-th call, after what it sampled and before that is recorded."""

    def __init__(self, calls: int):
        super().__init__(jitter=calls)
        self._left = calls

    async def propose(self, *args: Any, **how: Any) -> list[Step]:
        steps = await super().propose(*args, **how)
        self._count()
        return steps

    async def score(self, *args: Any, **how: Any) -> list[StepScore]:
        scores = await super().score(*args, **how)
        self._count()
        return scores

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed


def test_killed_at_random_moments_and_resumed_the_records_are_the_same(whole: Path, tmp_path: Path) -> None:
    """And each kill cuts off the last line of a trace."""
    rng, kills = random.Random(1), 0
    for _ in range(10):
        try:
            finish(grid_at(tmp_path), Mortal(rng.randrange(300)))
        except Killed:
            kills += 1
            traces = sorted(tmp_path.rglob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
            traces = [path for path in traces if path.parent != tmp_path]
            with traces[-1].open("r+b") as file:
                file.truncate(traces[-1].stat().st_size - 7)
    assert kills >= 5
    finish(grid_at(tmp_path))
    assert records(tmp_path) == records(whole)


def test_a_kill_while_a_plan_is_written_leaves_the_old_one(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [plan, _] = sorted(whole.rglob(FILE))
    before = plan.read_bytes()

    def dying(self: Path, text: str, **how: Any) -> None:
        with self.open("w", encoding="utf-8") as file:
            file.write(text[:5])
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", dying)
        with pytest.raises(Killed):
            replace_text(plan, "something else")
    assert plan.read_bytes() == before and grid_at(whole).is_finished


def test_what_is_finished_is_not_run_again(tmp_path: Path) -> None:
    finish(grid_at(tmp_path, seeds=(0,)))
    assert grid_at(tmp_path, seeds=(0,)).is_finished
    assert finish(grid_at(tmp_path, seeds=(0,))).calls == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob(f"*{SUFFIX}")}
    more = grid_at(tmp_path)
    assert not more.is_finished
    assert finish(more).calls > 0
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len(read_grid(tmp_path).cells) == CELLS


def test_a_strategy_has_the_same_parameters_with_every_seed(whole: Path) -> None:
    grid = read_grid(whole)
    for name in NAMES:
        first, second = grid.of(name, "3x")
        assert first.summary.params == second.summary.params
        assert first.summary.allowance == second.summary.allowance


class Failing(RandomWorld):
    async def propose(self, problem: Problem, *args: Any, **how: Any) -> list[Step]:
        if problem.id == "w/3":
            raise PolicyError("the server is gone")
        return await super().propose(problem, *args, **how)


def test_problems_that_failed_are_tried_again(whole: Path, tmp_path: Path) -> None:
    finish(grid_at(tmp_path), Failing())
    grid = read_grid(tmp_path)
    assert all(len(cell.summary.failed) == 1 for cell in grid.cells if cell.budget == "default")
    assert not grid_at(tmp_path).is_finished
    finish(grid_at(tmp_path, budgets=(None,)))
    again = read_grid(tmp_path).cells
    assert len(again) == CELLS // 2 and not any(cell.summary.failed for cell in again)


# -- reading ---------------------------------------------------------------------------------------


def test_the_grid_is_read_from_its_folder(whole: Path) -> None:
    grid = read_grid(whole)
    assert len(grid.cells) == CELLS and not grid.missing
    assert grid.budgets == ("default", "3x") and grid.strategies == ("cot", *NAMES)
    assert [cell.seed for cell in grid.of("beam", "3x")] == [0, 1]
    assert grid.references["w/0"] == "1/2" and grid.problems["w/0"].question == "Which way, 0?"
    cell = grid.of("hgs", "3x")[0]
    assert cell.summary.used is not None and 0 < cell.summary.used <= 1
    assert [g.outcome.problem.id for g in cell.summary.graded] == list(grid.problems)
    assert read_trace(cell.trace).strategy == "hgs"


def test_a_question_may_hold_any_line_separator(whole: Path, tmp_path: Path) -> None:
    """JSON need not escape all of those that str.splitlines knows."""
    out, question = tmp_path / "grid", "Which\u2028way,\u2029or\u0085not?"
    shutil.copytree(whole, out)
    first, *others = (out / PROBLEMS).read_text(encoding="utf-8").split("\n")
    changed = json.dumps(json.loads(first) | {"question": question}, ensure_ascii=False)
    (out / PROBLEMS).write_text("\n".join([changed, *others]), encoding="utf-8")
    assert read_grid(out).problems["w/0"].question == question


def test_an_unfinished_grid_says_what_is_missing(tmp_path: Path) -> None:
    finish(grid_at(tmp_path, seeds=(0,)))
    asked = read_asked(tmp_path)
    (tmp_path / "grid.json").write_text(json.dumps(asked | {"seeds": [0, 1]}), encoding="utf-8")
    grid = read_grid(tmp_path)
    assert len(grid.cells) == CELLS // 2 == len(grid.missing)
    assert grid.missing[0] == "cot at default, seed 1"


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no grid in"):
        read_grid(tmp_path)
    (tmp_path / "grid.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UsageError, match="not the record of a grid"):
        read_grid(tmp_path)
    finish(grid_at(tmp_path, seeds=(0,), budgets=(None,)))
    results = next(tmp_path.rglob(f"*{SUFFIX}"))
    results.write_text(results.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(UsageError, match="not the results of a strategy"):
        read_results(results, {})


def test_a_grid_cannot_lose_problems(whole: Path) -> None:
    with pytest.raises(UsageError, match="w/2, which the grid has not"):
        assert grid_at(whole, n_problems=2).is_finished


# -- replayed --------------------------------------------------------------------------------------


async def test_a_replay_needs_no_results_and_no_model(whole: Path, tmp_path: Path) -> None:
    grid = grid_at(tmp_path)
    await _finish(grid)
    before = records(tmp_path, without=())
    assert await replay_grid(grid_at(tmp_path)) == []
    assert records(tmp_path, without=()) == before  # the times, too
    for path in tmp_path.rglob(f"*{SUFFIX}"):
        path.unlink()
    assert await replay_grid(grid_at(tmp_path)) == []
    lost = ("seconds", "versions", "hardware", "revision")  # of the code that reads it now
    after = records(tmp_path, without=())
    assert all(row["seconds"] is None for row in after)
    assert [strip(row, lost) for row in after] == [strip(row, lost) for row in before]


async def test_a_replay_names_what_is_not_recorded_to_its_end(tmp_path: Path) -> None:
    await _finish(grid_at(tmp_path, seeds=(0,)))
    trace = tmp_path / "cells" / "default-s0" / "beam.jsonl"
    lines = trace.read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if b'"chosen"' in line)
    trace.write_bytes(b"".join(lines[:last]))
    assert await replay_grid(grid_at(tmp_path, seeds=(0,))) == ["beam at default, seed 0"]


async def _finish(grid: Any) -> None:
    from bench.runner.grid import GridWatch, execute_grid

    grid.write()
    world = RandomWorld()
    await execute_grid(grid, Models(world, world), GridWatch())


def strip(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


# -- results.parquet -------------------------------------------------------------------------------


def test_records_say_what_was_asked_answered_and_paid(whole: Path) -> None:
    rows = records(whole, without=())
    assert len(rows) == CELLS * 4 and set(rows[0]) == set(COLUMNS) >= set(MEASURED)
    grid = read_grid(whole)
    row = next(r for r in rows if (r["strategy"], r["budget"], r["doc_id"]) == ("hgs", "3x", "w/2"))
    summary = grid.of("hgs", "3x")[0].summary
    graded = next(g for g in summary.graded if g.outcome.problem.id == "w/2")
    assert row["correct"] == graded.correct and row["answer"] == graded.outcome.answer
    assert row["reference"] == "1/2" and row["policy"] == "world" and row["engine"] == "server"
    assert row["total_tokens"] == graded.outcome.cost.total_tokens > row["policy_tokens"] > 0
    assert json.loads(row["params"]) == summary.params
    assert json.loads(row["versions"])["python"] and row["hardware"]
    assert row["seconds"] is not None and row["seconds"] >= 0
    by_problem = {r["doc_id"]: (r["doc_hash"], r["prompt_hash"], r["target_hash"]) for r in rows}
    assert len({hashes[:2] for hashes in by_problem.values()}) == 4
    assert all(len(digest) == 64 for hashes in by_problem.values() for digest in hashes)
    assert len({hashes[2] for hashes in by_problem.values()}) == 1  # all references are 1/2


# -- before it runs --------------------------------------------------------------------------------


async def test_the_forecast_counts_the_tokens_of_the_budget(tmp_path: Path) -> None:
    world = RandomWorld()
    grid = grid_at(tmp_path, budgets=(Budget(times=2), Budget(times=8), Budget(seconds=3)))
    found = await forecast(grid, Models(world, world))
    assert found.at == "2x" and found.problems == 4 and not list(tmp_path.iterdir())
    two, eight, timed = found.rows
    assert two.tokens is not None and eight.tokens is not None and timed.tokens is None
    greedy = two.tokens - (eight.tokens - two.tokens) / 3  # which takes the same at every budget
    assert eight.tokens - greedy == pytest.approx(4 * (two.tokens - greedy))
    assert 0 < two.hours < eight.hours
    assert timed.hours == pytest.approx(2 * 5 * 3 / 3600)  # all problems at a time, 2 seeds, 5 strategies


async def test_the_forecast_measures_what_no_budget_says(tmp_path: Path) -> None:
    world = RandomWorld()
    found = await forecast(grid_at(tmp_path), Models(world, world))
    assert found.at == "default"
    assert all(row.tokens is not None and row.tokens > 0 for row in found.rows)
