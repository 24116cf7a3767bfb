"""The command that makes the built-in models, from end to end, at a size that takes seconds."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("torch")

from bench.builtin import card, make, recipe, sampling
from bench.builtin.networks import Size
from bench.runner.resolve import resolve_policy, resolve_prm
from bench.runner.specs import PolicySpec, PRMSpec
from bench.tasks.builtin import Builtin
from prm.data.labels import read_labels
from search import solve
from search.limits import LengthLimits
from search.strategies.hgs import HGS
from search.strategies.mcts import MCTS


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "POLICY": Size(128, 2), "BACKBONE": Size(128, 3), "MAX_POLICY_STEPS": 3, "BACKBONE_STEPS": 3,
        "SOLUTIONS": 8, "SEARCHED": 1, "UNSEEN": 4, "EXAMINED": 4, "EXERCISE_STEPS": 2, "BATCH": 512,
    }.items():
        monkeypatch.setattr(recipe, name, value)
    monkeypatch.setattr(card, "MEASURED_ON", 4)
    short = LengthLimits(step_tokens=20, solution_tokens=40)  # an untrained policy never ends
    monkeypatch.setattr(sampling, "solve", partial(solve, lengths=short))
    monkeypatch.setattr(sampling, "SEARCHES", (HGS(max_samples=6), MCTS(simulations=2)))
    monkeypatch.setattr(sampling, "choose_engine", lambda name, servers: "hf")


@pytest.mark.slow
def test_every_model_is_made_and_nothing_twice(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    arguments = ["--work", str(work), "--out", str(out)]
    assert make.main(arguments) == 0

    # Both are accepted as what they should be.
    resolve_policy(PolicySpec(name=str(out / "policy"), engine="hf"), Builtin(), [])
    resolve_prm(PRMSpec(name=str(out / "prm")), Builtin(), "hf")
    assert {s.split for s in read_labels(work / "labels-train.jsonl")} == {"train"}
    assert {s.split for s in read_labels(work / "labels-unseen.jsonl")} == {"validation"}
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["prm"]["parameters"] > metrics["prm-weak"]["parameters"]
    page = (out / "README.md").read_text()
    assert "| `policy` | 0.0 % [0.0, 49.0] |" in page and "curves.png" in page
    assert (out / "curves.png").stat().st_size > 10_000

    weights = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert len(weights) == 4
    capsys.readouterr()
    assert make.main(arguments) == 0
    assert capsys.readouterr().out.count("done before") == len(recipe.STAGES)
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
