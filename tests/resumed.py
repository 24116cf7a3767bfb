"""A run that was cut off and goes on, beside one that was not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.runner.cli.options import parse
from bench.runner.execute import RunWatch, execute_strategy
from bench.runner.models import Models
from bench.runner.request import Run

WORDS = ["--no-baseline", "--dtype", "float32", "--concurrency", "4"]
SAME = ["correct", "policy_tokens", "policy_tokens_discarded", "samples", "judgements", "backtracks",
        "duplicates", "exhausted", "errors"]  # fmt: skip


def validated(words: Sequence[str]) -> Run:
    """The run that a command line of `search.run` asks for."""
    return parse(words).request.validate()


async def assert_finished_is_the_uninterrupted_run(trace: Path, words: list[str], models: Models) -> None:
    resumed = validated([*words, "--out", str(trace.parent), "--resume"])
    whole = validated([*words, "--out", str(trace.parents[1] / "whole")])
    rows = [
        (await execute_strategy(run, models, "hgs", RunWatch())).as_json() for run in (resumed, whole)
    ]
    assert rows[0]["replayed"] > 0 == rows[1]["replayed"]
    assert {name: rows[0][name] for name in SAME} == {name: rows[1][name] for name in SAME}


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
