"""python -m bench.run on transformers with tiny models: it writes a folder, extends it, and says how long."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import parquet

from bench.report.grid import read_grid
from bench.runner.cli.grid import main


def test_a_grid_is_run_extended_replayed_and_forecast(
    here: Path, models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--strategies", "best_of_n,hgs", "--set", "n=2", "max_samples=4", "--limit", "2", *models]
    assert main([*words, "--budget", "default", "--seeds", "1", "--out", "grid"]) == 0
    err = capfd.readouterr().err
    assert "3 of 3 cells: hgs at default, seed 0: " in err
    assert "written: grid/report.md, grid/report.html, grid/results.parquet" in err
    first = parquet.read_table("grid/results.parquet").to_pylist()
    assert len(first) == 6 and first[0]["engine"] == "hf" and len(first[0]["policy_weights"]) == 32
    assert sum(row["total_tokens"] for row in first) > 0
    assert "</html>" in Path("grid/report.html").read_text(encoding="utf-8")

    assert main(["--out", "grid", "--resume", "--seeds", "2", "--baseline", "hgs"]) == 0
    err = capfd.readouterr().err
    assert "4 of 6 cells: cot at default, seed 1" in err and "seed 0:" not in err
    grid = read_grid(Path("grid"))
    assert grid.baseline == "hgs" and len(grid.cells) == 6
    assert "Compared with `hgs`" in Path("grid/report.md").read_text(encoding="utf-8")
    assert "--out" in grid.command and "--resume" not in grid.command

    assert main(["--out", "grid", "--resume", "--baseline", "cot"]) == 0
    assert "ready in" not in capfd.readouterr().err  # no model was loaded
    assert read_grid(Path("grid")).baseline == "cot"

    before = Path("grid/results.parquet").read_bytes()
    assert main(["--out", "grid", "--replay"]) == 0
    assert "ready in" not in capfd.readouterr().err
    rows = parquet.read_table("grid/results.parquet").to_pylist()
    assert [row for row in rows if row["seed"] == 0] == first
    assert Path("grid/results.parquet").read_bytes() == before

    assert main([*words[:-4], "--budget", "2x,8x", "--seeds", "1", "--dry-run"]) == 2
    assert "--set n" in capfd.readouterr().err  # which the budget sets
    assert main([*words[:2], *words[5:], "--budget", "2x,8x", "--dry-run"]) == 0
    out = capfd.readouterr().out
    assert out.startswith("2 problems x 3 strategies x 2 budgets x 3 seeds = 18 cells\n")
    assert "total tokens, at most" in out and "Measured: all strategies at 2x on the first 2 problems" in out
    assert sorted(path.name for path in here.iterdir()) == ["grid"]
