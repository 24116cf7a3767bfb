"""A run on the real vLLM, killed without warning, goes on to the same end at the same cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

RUN = [sys.executable, "-m", "search.run", "--limit", "10", "--no-baseline", "--dtype", "float32"]
SAME = ["correct", "policy_tokens", "policy_tokens_discarded", "samples", "judgements", "backtracks",
        "duplicates", "exhausted", "errors"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1200)  # three starts of two engines
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_a_killed_vllm_run_resumes_to_the_same_end(tmp_path: Path) -> None:
    whole = _finish([*RUN, "--out", str(tmp_path / "whole"), "--json", str(tmp_path / "whole.json")])
    command = [*RUN, "--out", str(tmp_path / "cut")]
    victim = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    trace = tmp_path / "cut" / "hgs.jsonl"
    deadline = time.monotonic() + 400
    while victim.poll() is None and time.monotonic() < deadline:
        if trace.exists() and trace.read_bytes().count(b"\n") > 60:
            break
        time.sleep(0.01)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    with trace.open("r+b") as file:  # and in the middle of a line
        file.truncate(trace.stat().st_size - 7)
    resumed = _finish([*command, "--resume", "--json", str(tmp_path / "cut.json")])
    assert resumed["replayed"] > 0
    assert {name: resumed[name] for name in SAME} == {name: whole[name] for name in SAME}


def _finish(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(Path(command[command.index("--json") + 1]).read_text())
    return found
