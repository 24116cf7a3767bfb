"""Runs on real engines, killed without warning or interrupted at a terminal, and brought to their end."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console

from bench.models import load_models
from bench.summary import Summary
from search.cli.request import Run, check
from search.run import solve_with
from tests.terminal import CTRL_C, Terminal

WORDS = ["--no-baseline", "--dtype", "float32", "--concurrency", "4"]
SAME = ["correct", "policy_tokens", "policy_tokens_discarded", "samples", "judgements", "backtracks",
        "duplicates", "exhausted", "errors"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1200)  # two starts of two engines
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_interrupted_on_vllm_then_finished_it_is_the_uninterrupted_run(tmp_path: Path) -> None:
    trace = tmp_path / "cut" / "hgs.jsonl"
    words = [*WORDS, "--limit", "30"]
    command = [sys.executable, "-m", "search.run", *words, "--out", str(trace.parent)]
    shown = Terminal(command, Path.cwd(), os.environ)
    shown.wait_for(lambda: lines(trace) > 90, 400)
    shown.press(CTRL_C)
    assert shown.end(60) == 130, shown.text
    assert "Traceback" not in shown.text and "ERROR" not in shown.text, shown.text
    told, resume = shown.text.rstrip().splitlines()[-2:]
    assert told == "interrupted; to go on where it stopped:" and shlex.split(resume)[-1] == "--resume"
    assert_finished_is_the_uninterrupted_run(trace, words)


@pytest.mark.slow
def test_killed_then_finished_it_is_the_uninterrupted_run(tmp_path: Path) -> None:
    """On transformers: what a kill leaves behind is the trace, which no engine writes."""
    words = [*WORDS, "--limit", "8", "--engine", "hf"]
    trace = tmp_path / "cut" / "hgs.jsonl"
    victim = subprocess.Popen(
        [sys.executable, "-m", "search.run", *words, "--out", str(trace.parent)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 400
    while victim.poll() is None and time.monotonic() < deadline and lines(trace) < 30:
        time.sleep(0.01)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    with trace.open("r+b") as file:  # and in the middle of a line
        file.truncate(trace.stat().st_size - 7)
    assert_finished_is_the_uninterrupted_run(trace, words)


def assert_finished_is_the_uninterrupted_run(trace: Path, words: list[str]) -> None:
    whole = check([*words, "--out", str(trace.parents[1] / "whole")])
    resumed = check([*words, "--out", str(trace.parent), "--resume"])
    rows = [summary.as_json() for summary in asyncio.run(run([resumed, whole]))]
    assert rows[0]["replayed"] > 0 == rows[1]["replayed"]
    assert {name: rows[0][name] for name in SAME} == {name: rows[1][name] for name in SAME}


async def run(runs: list[Run]) -> list[Summary]:
    """One after the other, on the same models."""
    models = await load_models(runs[0].models)
    try:
        return [await solve_with(models, run, "hgs", Console(quiet=True)) for run in runs]
    finally:
        await models.close()


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
