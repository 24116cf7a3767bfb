"""A run killed without warning, and brought to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.runner.models import load_run
from tests.resumed import WORDS, assert_finished_is_the_uninterrupted_run, lines, validated


@pytest.mark.slow
async def test_killed_then_finished_it_is_the_uninterrupted_run(tmp_path: Path) -> None:
    """On transformers: what a kill leaves behind is the trace, which no engine writes."""
    words = [*WORDS, "--limit", "4", "--engine", "hf"]
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
    async with load_run(validated([*words, "--out", str(tmp_path / "whole")])) as models:
        await assert_finished_is_the_uninterrupted_run(trace, words, models)
