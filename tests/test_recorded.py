"""A run recorded by version 0.1.0, before names changed, still replays to what it came to.

tests/recorded holds its traces and its summary:

    python -m search.run --engine hf --strategy hgs --limit 3 --out DIR --json summary.json
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench.runner.cli.run import main
from search.trace import Trace

RECORDED = Path(__file__).parent / "recorded"


def test_an_old_run_replays_to_the_same_summary_without_a_model(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, summary = tmp_path / "run", tmp_path / "summary.json"
    shutil.copytree(RECORDED, out)
    words = ["--engine", "hf", "--strategy", "hgs", "--limit", "3", "--out", str(out), "--resume"]
    assert main([*words, "--json", str(summary)]) == 0
    assert "all of it is recorded: no model was loaded" in capfd.readouterr().err
    row = json.loads(summary.read_text())
    for name, old in json.loads((RECORDED / "summary.json").read_text()).items():
        new = row if name == "hgs" else row["baseline"]
        assert new["replayed"] > 0
        assert {field: new[field] for field in old if field != "replayed"} == {
            field: value for field, value in old.items() if field != "replayed"
        }


def test_an_old_trace_of_another_configuration_is_still_refused(tmp_path: Path) -> None:
    path = tmp_path / "hgs.jsonl"
    shutil.copy(RECORDED / "hgs.jsonl", path)
    config = json.loads(path.read_bytes().splitlines()[0])["config"]
    with pytest.raises(Exception, match="seed was 0, is 1"):
        Trace(path, {**config, "seed": 1})
