"""Scores that are kept are reused for the same weights, layout and data, and for nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench.runner.checkpoints import BUILTIN
from bench.tasks.generated.problems import generate
from prm.calibrate import main as calibrate
from prm.evaluate import main as evaluate
from prm.reading.layout import read_layout
from prm.score import main as score
from tests.test_fingerprints import change_weights

pytestmark = [pytest.mark.slow]


@pytest.fixture
def prm(tmp_path: Path) -> Path:
    shutil.copytree(BUILTIN / "prm-weak", tmp_path / "prm")
    return tmp_path / "prm"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return labels(tmp_path / "labels.jsonl", seed=5)


def labels(path: Path, seed: int) -> Path:
    """Right solutions whose last steps are right, neutral or wrong, as the labels have it."""
    rows = [
        {"question": p.question, "steps": list(p.steps), "labels": [1] * (len(p.steps) - 1) + [n % 3 - 1],
         "source": "x", "split": "validation", "produced_by": "x"}
        for n, p in enumerate(generate("validation", seed, 9))
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def retrain(prm: Path) -> None:
    """Other weights under the same name: the sign of the head's first row is flipped."""
    from safetensors.torch import load_file, save_file

    path = prm / "model.safetensors"
    weights = load_file(path)
    weights["score.weight"][0] *= -1
    save_file(weights, path, {"format": "pt"})


def temperature(prm: Path) -> float:
    return read_layout(str(prm)).calibration.temperature


def test_calibrating_twice_gives_the_same_result_with_and_without_kept_scores(
    prm: Path, data: Path, tmp_path: Path
) -> None:
    command = ["--prm", str(prm), "--data", str(data)]
    kept = [*command, "--keep", str(tmp_path / "kept.jsonl")]
    found = []
    for words in (kept, kept, command, kept):
        assert calibrate(words) == 0
        found.append(read_layout(str(prm)).calibration)
    assert found[0].temperature != 1
    assert found == [found[0]] * 4


def test_kept_scores_of_other_weights_or_of_another_layout_are_refused(
    prm: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.jsonl"
    command = ["--prm", str(prm), "--data", str(data), "--keep", str(kept)]
    assert calibrate(command) == 0
    before, first = kept.read_bytes(), temperature(prm)
    fields = json.loads((prm / "prm.json").read_text())
    (prm / "prm.json").write_text(json.dumps(fields | {"question": "Q: {question}\n"}))
    assert calibrate(command) == 2
    (prm / "prm.json").write_text(json.dumps(fields))
    assert calibrate(command) == 0 and temperature(prm) == first
    retrain(prm)
    assert calibrate(command) == 2
    error = capsys.readouterr().err
    assert str(kept) in error and "prm_weights was" in error
    assert kept.read_bytes() == before
    assert calibrate(command[:-2]) == 0 and temperature(prm) != first


def test_kept_scores_of_other_data_are_refused_and_those_of_the_first_records_are_reused(
    prm: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.jsonl"
    command = ["--prm", str(prm), "--data", str(data), "--keep", str(kept)]
    assert calibrate(command) == 0
    header, *scored = kept.read_text().splitlines()
    labels(data, seed=6)  # the same name, other content
    assert calibrate(command) == 2
    assert "is of another solution" in capsys.readouterr().err
    labels(data, seed=5)
    kept.write_text("\n".join([header, *scored[:4]]) + "\n" + scored[4][:20])  # killed there
    assert calibrate(command) == 0
    assert kept.read_text().splitlines() == [header, *scored]


def test_scores_of_version_0_1_0_are_refused(
    prm: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text('{"judgements": [], "error": null}\n')
    assert calibrate(["--prm", str(prm), "--data", str(data), "--keep", str(kept)]) == 2
    assert "version 0.1.0" in capsys.readouterr().err


def test_an_evaluation_does_not_reuse_scores_after_retraining_in_place(
    prm: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["--prm", "weak", str(prm), "--data", str(data), "--out", str(out)]
    assert evaluate(command) == 0
    kept = [path.read_bytes() for path in sorted(out.glob("judgements-*.jsonl"))]
    assert evaluate(command) == 0
    assert kept == [path.read_bytes() for path in sorted(out.glob("judgements-*.jsonl"))]
    retrain(prm)
    assert evaluate(command) == 2
    assert "judgements-1-0.jsonl" in capsys.readouterr().err
    (out / "judgements-1-0.jsonl").unlink()
    before = json.loads((out / "report.json").read_text())["results"]
    assert evaluate(command) == 0
    after = json.loads((out / "report.json").read_text())["results"]
    assert before[0] == after[0] and before[1] != after[1]
    labels(data, seed=6)
    assert evaluate(command) == 2
    assert "is of another solution" in capsys.readouterr().err


def test_scoring_a_file_is_not_resumed_with_other_weights(
    prm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": p.question, "steps": list(p.steps)} for p in generate("validation", 5, 3)]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [str(source), "--prm", str(prm), "--out", str(out)]
    assert score(command) == 0
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) // 2])
    assert score([*command, "--resume"]) == 0
    assert len(out.read_bytes().splitlines()) == 3 and out.read_bytes().startswith(whole[: len(whole) // 3])
    out.write_bytes(whole[: len(whole) // 2])
    change_weights(prm)
    assert score([*command, "--resume"]) == 2
    assert "another model, or" in capsys.readouterr().err
    assert len({json.loads(line)["prm_weights"] for line in whole.splitlines()}) == 1
