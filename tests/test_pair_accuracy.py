"""Accuracy on pairs, and RewardBench's rows, sections and score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prm.data.pairs import Pair
from prm.evaluate_pairs import main
from prm.evaluation.pairs import SECTIONS, measure
from prm.preference.files import write_trees
from prm.training.train import train
from tests.test_pair_rewards import request, trees
from tests.test_prm_train import random_model

pytestmark = [pytest.mark.slow]

ROW = {
    "prompt": "Problem 3?", "chosen": "left 3", "chosen_model": "human", "rejected": "eggs 3",
    "rejected_model": "gpt4-fail", "subset": "hep-python", "id": 7,
}  # fmt: skip
"""As published; `left` is what the model below learns to prefer."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_trees(folder / "trees", trees(60), {})
    made = request(random_model(folder / "base"), folder / "trees", folder / "rm", validation_share=0.0)
    train(made)
    return made.out


def bench(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps({**ROW, **row}) + "\n" for row in rows))
    return f"rewardbench:{path}"


def test_rewardbench_is_read_and_scored(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = {"chosen": "eggs 5", "rejected": "left 5"}
    rows = [
        {}, {"prompt": "Problem 4?"}, {"subset": "math-prm", **swapped}, {"subset": "donotanswer"},
        {"subset": "mt-bench-hard"}, {"subset": "mt-bench-med"}, {"subset": "mt-bench-med", **swapped},
        {"chosen": " "}, {"subset": "hep-go", "rejected": "left 3"}, {"prompt": "ducks " * 3000},
    ]  # fmt: skip
    data, out = bench(tmp_path / "bench.jsonl", *rows), tmp_path / "out"
    words = ["--prm", str(model), "--data", data, "--out", str(out)]
    assert main(words) == 0
    report = json.loads((out / "report.json").read_text())
    found = {name: value for name, (value, _, _) in report["measures"].items()}
    assert (found["hep-python"], found["math-prm"], found["hep-go"]) == (1.0, 0.0, 0.5)  # a tie is half
    reasoning = (0 + (1 + 1 + 0.5) / 3) / 2  # mathematics counts as much as all code
    assert found["Reasoning"] == pytest.approx(reasoning)
    assert (found["Chat"], found["Chat Hard"], found["Safety"]) == (0.5, 1.0, 1.0)
    assert found["score"] == pytest.approx((0.5 + 1 + 1 + reasoning) / 4)
    assert found["all"] == pytest.approx(5.5 / 8) and report["pairs"]["all"] == 8
    shown = capsys.readouterr().out
    assert "1 pairs could not be scored" in shown and "'chosen' and 'rejected' must be text" in shown
    assert "| Reasoning | 4 | 41.7 |" in (out / "report.md").read_text()
    assert main(words) == 0 and capsys.readouterr().out == shown, "the scores are kept"


def test_sections_hold_the_published_subsets() -> None:
    subsets = [name for section in SECTIONS.values() for name in section]
    assert len(subsets) == len(set(subsets)) == 23
    assert [*SECTIONS] == ["Chat", "Chat Hard", "Safety", "Reasoning"]


def test_pairs_of_one_problem_are_resampled_together() -> None:
    pairs = [Pair(f"Q{n // 10}", ("a",), ("b",), "toy") for n in range(40)]
    preferred = np.repeat([1.0, 0.0, 1.0, 1.0], 10)
    measures, counts = measure(pairs, preferred)
    value, low, high = measures["all"]
    assert value == 0.75 and low <= 0.25 and high == 1.0, "as uncertain as four problems"
    assert counts == {"toy": 40, "all": 40, "score": 40} and "score" not in measures


def test_what_cannot_be_measured_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--prm", str(model), "--out", str(tmp_path / "out"), "--data"]
    assert main([*words, "sft:x.jsonl"]) == 2
    assert "the formats are pairs, rewardbench" in capsys.readouterr().err
    assert main([*words, bench(tmp_path / "b.jsonl", {"subset": ""})]) == 2
    assert "there is no pair to score; rows left out: 1 of 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words, bench(tmp_path / "b.jsonl", {"prompt": "ducks " * 3000})]) == 2
    assert "none of the 1 pairs could be scored" in capsys.readouterr().err
