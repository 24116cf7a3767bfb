"""A run that was cut off and goes on, beside one that was not."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bench.runner.cli.run import solve_with
from bench.runner.models import Models
from bench.runner.request import check

WORDS = ["--no-baseline", "--dtype", "float32", "--concurrency", "4"]
SAME = ["correct", "policy_tokens", "policy_tokens_discarded", "samples", "judgements", "backtracks",
        "duplicates", "exhausted", "errors"]  # fmt: skip


async def assert_finished_is_the_uninterrupted_run(trace: Path, words: list[str], models: Models) -> None:
    resumed = check([*words, "--out", str(trace.parent), "--resume"])
    whole = check([*words, "--out", str(trace.parents[1] / "whole")])
    rows = [
        (await solve_with(models, run, "hgs", Console(quiet=True))).as_json() for run in (resumed, whole)
    ]
    assert rows[0]["replayed"] > 0 == rows[1]["replayed"]
    assert {name: rows[0][name] for name in SAME} == {name: rows[1][name] for name in SAME}


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
