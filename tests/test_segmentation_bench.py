"""The benchmark of segmentation: what it counts and prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.experiments.segmentation import Cuts, count_cuts
from bench.segmentation import main
from prm.data.labels import LabelledSolution


def record(*steps: str) -> LabelledSolution:
    return LabelledSolution("Q", steps, (1,) * len(steps), "toy", "train", "human")


def test_steps_that_would_be_cut_are_counted() -> None:
    formula = "It is:\n\\[\nx\n\\]"
    count = count_cuts([record("a", formula, "so\n$x$"), record(formula), record("b\n", "c")])
    assert (count.records, count.steps) == (3, 6)
    assert count.by_lines == Cuts(records=2, steps=3, parts=4 + 4 + 2)
    assert count.by_newline == Cuts(records=1, steps=1, parts=2)


def test_the_figures_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "Q", "steps": ["so\n$x$"], "labels": [1]}))
    assert main(["--data", str(path), "--tokens", "60"]) == 0
    printed = capsys.readouterr().out
    assert "cut by newline: 1 steps, into 2, in 1 records" in printed
    assert "60 tokens, 5 steps: split in 0.0" in printed
