"""The PRM800K recipe end to end, on a handful of hand-written problems in the original formats."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from bench.experiments import prm800k, recipe
from bench.prm800k import main
from prm.data.labels import read_labels
from prm.training.trainer import last_checkpoint
from tests.recipes import in_turn
from tests.terminal import CTRL_C, Terminal
from tests.test_prm_data import GSM8K_TEST, completion, raw, step

pytestmark = [pytest.mark.slow]
__all__ = ["in_turn"]


def trajectory(n: int) -> dict[str, Any]:
    row = raw([
        step([completion(f"First we take {n}.", 1), completion("Then nothing.", 0)], 0),
        step([completion(f"So it is {n + 2}.", -1), completion(f"So {n} + 1 = {n + 1}.", 1)], 1),
    ])  # fmt: skip
    row["question"]["problem"] = f"What comes after {n}?"
    return row


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"

    def write(name: str, rows: list[dict[str, Any]]) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(r) + "\n" for r in rows)
        path.write_text(whole)

    write("phase1_train.jsonl", [trajectory(n) for n in range(60)])
    write("phase2_train.jsonl", [trajectory(n) for n in range(200, 230)])
    write("phase1_test.jsonl", [trajectory(n) for n in range(100, 106)])
    gsm8k = [{"question": f"Add {n} and 1?", "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}"} for n in range(20)]
    write("gsm8k/train.jsonl", [*gsm8k, {"question": GSM8K_TEST, "answer": "leaked\n#### 18"}])
    write("math/test.jsonl", [
        {"problem": "Double 3?", "solution": "It is $6$.", "in_math500": False},
        {"problem": "Double 4?", "solution": "held out", "in_math500": True},
    ])  # fmt: skip
    write("processbench/gsm8k.json", [
        {"id": f"gsm8k-{n}", "generator": "g", "problem": f"After {n}?", "steps": [f"It is {n}.", "So."],
         "final_answer_correct": n % 2 == 0, "label": -1 if n % 2 == 0 else 1}
        for n in range(6)
    ])  # fmt: skip
    return folder


@pytest.mark.usefixtures("in_turn")
def test_from_the_raw_files_to_the_report(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    options = ["--data", str(data), "--work", str(work), "--hidden", "64", "--layers", "1", "--epochs", "1"]
    monkeypatch.setattr(prm800k, "SHARES", (1.0,))
    assert main(options) == 0
    text = (work / "text.jsonl").read_text()
    assert "Double 3?" in text and "What comes after 3?" in text
    assert "leaked" not in text and "held out" not in text  # of evaluation sets
    assert {s.labels[-1] for s in read_labels(work / "corrupted.jsonl")} == {-1, 0, 1}
    results = json.loads((work / "report" / "report.json").read_text())["results"]
    assert {(row["judge"].rpartition("/")[2], row["data"].rpartition("/")[2]) for row in results} == {
        (score, name)
        for score in ("prm-100", "majority", "position", "n-grams")
        for name in ("phase1_test.jsonl", "gsm8k.json")
    }
    assert (work / "report" / "learning-curve.png").exists()
    layout = json.loads((work / "prm-100" / "prm.json").read_text())
    assert layout["members"] == ["0", "1"] and len(layout["bias"]) == 3, "it was calibrated as a whole"
    settings = json.loads((work / "report" / "settings.json").read_text())
    assert settings["hidden"] == 64 and settings["label_lr"] == 7e-4
    capsys.readouterr()
    assert main(options) == 0  # all stages are done: nothing is trained or scored again
    assert capsys.readouterr().out.count("already done") == 4 * 2  # stages, members


@pytest.mark.usefixtures("in_turn")
def test_on_a_pretrained_model_nothing_is_made_from_random_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    monkeypatch.setattr(prm800k, "SHARES", (1.0,))
    options = ["--data", str(data), "--work", str(work), "--base", "builtin"]
    assert main([*options, "--top-layers", "1", "--adapter", str(tmp_path / "bundled")]) == 0
    assert not any((work / name).exists() for name in ("text.jsonl", "base", "sft", "corrupted", "phase2"))
    bundled = tmp_path / "bundled"
    assert json.loads((bundled / "adapter_config.json").read_text())["base_model_name_or_path"] == "builtin"
    assert (bundled / "prm.json").read_text() == (work / "prm-100" / "prm.json").read_text(), "calibrated"
    learnt = json.loads((work / "prm-100" / "train.json").read_text())["data"]
    assert [Path(file).name for file in learnt] == ["phase1.jsonl", "phase2.jsonl"]
    adapter = json.loads((work / "prm-100" / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "builtin" and adapter["r"] == recipe.LORA
    last = AutoConfig.from_pretrained(work / "prm-100").num_hidden_layers - 1
    assert {target.split(".")[2] for target in adapter["target_modules"]} == {str(last)}
    results = json.loads((work / "report" / "report.json").read_text())["results"]
    assert "prm-100" in {Path(row["judge"]).name for row in results}
    capsys.readouterr()
    for other in ([], ["--limit", "200"], ["--label-lr", "9"]):  # stages of two requests are never mixed
        assert main([*options, *other]) == 2
        assert "holds stages of another" in capsys.readouterr().err


def test_a_folder_without_the_labels_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--work", str(tmp_path / "w")]) == 2
    assert f"--data {tmp_path}: must contain" in capsys.readouterr().err
    assert main(["--data", str(tmp_path / "absent"), "--work", str(tmp_path / "w"), "--layers", "0"]) == 2
    assert "--layers 0: must be at least 1" in capsys.readouterr().err
    here = ["--data", str(tmp_path), "--work", str(tmp_path / "w")]
    assert main([*here, "--base", "builtin", "--layers", "9", "--top-layers", "-1"]) == 2
    shown = capsys.readouterr().err
    assert "--layers is for models with random weights" in shown
    assert "--top-layers -1: must be 0 (all) to" in shown
    assert main([*here, "--hidden", "100", "--label-lr", "0", "--top-layers", "1", "--adapter", "."]) == 2
    shown = capsys.readouterr().err
    assert "--adapter is for one reward model" in shown and "--adapter: . is no adapter" in shown
    assert "--hidden 100: must be a multiple" in shown and "--label-lr 0.0: must be more" in shown
    assert "--top-layers is for a pretrained model" in shown
    assert not (tmp_path / "w").exists()


def test_a_trial_without_a_problem_to_validate_with_is_refused_before_it_trains(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    assert main(["--data", str(data), "--work", str(work), "--limit", "1"]) == 2
    assert not work.exists()
    assert "a problem to validate with; --limit 1 is too low" in capsys.readouterr().err


def test_ctrl_c_in_a_stage_loses_nothing(data: Path, tmp_path: Path) -> None:
    options = ["--data", str(data), "--work", str(tmp_path), "--hidden", "64", "--layers", "1"]
    command = [sys.executable, "-m", "bench.prm800k", *options, "--epochs", "1000"]
    shown = Terminal(command, Path.cwd(), os.environ)
    logged = tmp_path / "sft" / "1.log"  # of the second member; the first one's is shown
    shown.wait_for(lambda: "'loss'" in shown.text and logged.exists() and "'loss'" in logged.read_text(), 200)
    shown.press(CTRL_C)
    assert shown.end(60) == 130, shown.text
    assert "nothing is lost" in shown.text and "Traceback" not in shown.text, shown.text
    for member in "01":
        assert last_checkpoint(tmp_path / "sft" / member / "checkpoints") is not None
