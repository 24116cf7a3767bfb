"""The command line at a real terminal: what is drawn, and what Ctrl-C does."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

pytest.importorskip("pty", reason="a terminal of this kind is a POSIX one")

from tests.conftest import Checkpoints
from tests.terminal import CTRL_C, Terminal
from tests.test_run import SHORT, SLOW, environment

RUN = [sys.executable, "-m", "search.run", "--engine", "hf", *SHORT]


@pytest.fixture
def run(checkpoints: Checkpoints) -> list[str]:
    return [*RUN, "--policy", checkpoints.policy, "--prm", checkpoints.prm]


def test_ctrl_c_stops_the_search_and_what_it_says_goes_on(tmp_path: Path, run: list[str]) -> None:
    out = tmp_path / "run"
    shown = Terminal([*run, *SLOW, "--out", str(out)], tmp_path, environment())
    trace = out / "best_of_n.jsonl"
    shown.wait_for(lambda: trace.exists() and trace.read_bytes().count(b"\n") > 12, 250)
    shown.wait_for(lambda: "best_of_n " in shown.text and " tok/s, 0 backtracks" in shown.text, 10)
    shown.press(CTRL_C)
    assert shown.end(60) == 130
    assert "Traceback" not in shown.text
    told, command = shown.text.rstrip().splitlines()[-2:]
    assert told == "interrupted; to continue where it stopped:"
    resumed = Terminal(shlex.split(command), tmp_path, environment())
    assert resumed.end(250) == 0
    assert "recorded in" in resumed.text and "8/8" in resumed.text


def test_a_question_is_searched_before_ones_eyes(tmp_path: Path, run: list[str]) -> None:
    question = "Ann has 7 coins. Ben has 2 more coins than Ann. How many coins does Ben have?"
    words = ["--question", question, "--set", "width=2", "max_samples=6", "reject=0"]
    shown = Terminal([*run, *words], tmp_path, environment(), columns=80)
    assert shown.end(250) == 0
    for part in ("Ann has 7 coins.", "rejected", "<- nothing left to try after", "solution:", "answer: "):
        assert part in shown.text
