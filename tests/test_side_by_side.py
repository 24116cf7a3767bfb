"""Requests run side by side, each in a process of its own."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.experiments.side_by_side import run_side_by_side
from search.errors import UsageError

pytestmark = [pytest.mark.slow]


@dataclass(frozen=True)
class Job:
    name: str
    seconds: float = 0.0
    fails: bool = False


def work(job: Job) -> None:
    import torch

    Path(job.name).write_text(f"{os.getpid()} {torch.get_num_threads()}")
    print(f"working on {job.name}")
    if job.fails:
        raise UsageError("the request is wrong")
    time.sleep(job.seconds)


def test_each_request_has_a_process_a_log_and_a_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_side_by_side(work, {Path("logs/a.log"): Job("alone")})
    run_side_by_side(work, {Path(f"logs/{name}.log"): Job(name) for name in "bc"})
    alone, *both = ((tmp_path / name).read_text().split() for name in ("alone", "b", "c"))
    assert len({os.getpid(), int(alone[0]), *(int(pid) for pid, _ in both)}) == 4
    assert {int(threads) for _, threads in both} == {max(1, int(alone[1]) // 2)}
    assert {path.name: path.read_text() for path in Path("logs").iterdir()} == {"c.log": "working on c\n"}


def test_if_one_fails_the_others_are_stopped_and_the_end_of_its_log_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begun = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        run_side_by_side(work, {Path("a.log"): Job("a", seconds=300), Path("b.log"): Job("b", fails=True)})
    assert ended.value.code == 2 and time.monotonic() - begun < 200
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "b.log:" and "error: the request is wrong" in shown
