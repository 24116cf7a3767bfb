"""Sampled solutions in the shapes in which other projects publish them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report.candidates import Candidates, read_candidates
from bench.runner.cli.rerank import main
from bench.tasks import TEXT_TASKS
from prm.data.left_out import LeftOut
from search.errors import UsageError

TEXTS = ["2 + 2 = $4$.", "It is $5$."]
ROWS = {
    "ours": {"id": "q", "question": "2 + 2?", "candidates": TEXTS, "correct": [1, 0],
             "scores": [[0.9, 0.8], [0.1]]},
    "monkeys": {"orig_dset_idx": 3, "question": "2 + 2?", "samples": TEXTS, "is_corrects": [True, False],
                "gt_answer": "4"},
    "search-and-learn": {"unique_id": "test/algebra/1.json", "problem": "2 + 2?", "answer": "4",
                         "completions": TEXTS, "scores": [[0.9, 0.8], [0.1]], "pred": "4"},
    "crucible": {"problem_id": "math500-0", "gold": "4", "difficulty": "level-2", "traces": [
        {"text": TEXTS[0], "tokens": 9, "correct": True, "prm_score": 0.7},
        {"text": TEXTS[1], "tokens": 5, "correct": False, "prm_score": None}]},
}  # fmt: skip
READ = {
    "ours": ("q", "2 + 2?", [(0.9, 0.8), (0.1,)]),
    "monkeys": ("row 1", "2 + 2?", None),
    "search-and-learn": ("test/algebra/1.json", "2 + 2?", [(0.9, 0.8), (0.1,)]),
    "crucible": ("math500-0", "", [0.7, None]),
}


def read(path: Path, row: object) -> Candidates:
    path.write_text(json.dumps(row) + "\n")
    [got] = read_candidates(str(path), answers=TEXT_TASKS["math"]())
    return got


@pytest.mark.parametrize("shape", ROWS)
def test_a_published_row_is_read_as_it_is(shape: str, tmp_path: Path) -> None:
    got = read(tmp_path / "rows.jsonl", ROWS[shape])
    assert (got.id, got.question, got.scores) == READ[shape]
    assert got.texts == TEXTS and got.right == [True, False]


def test_a_row_with_the_reference_alone_is_marked_by_comparing_answers(tmp_path: Path) -> None:
    texts = [r"\boxed{\frac12}", "I do not know.", ["x", "= $2$"]]
    row = {"problem": "?", "answer": "0.5", "completions": texts}
    assert read(tmp_path / "rows.jsonl", row).right == [True, False, False]


def test_a_file_with_a_head_is_read_and_odd_traces_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**ROWS["crucible"], "problem_id": f"p{i}"} for i in range(4)]
    path = tmp_path / "bestofn.json"
    path.write_text(json.dumps({"meta": {"max_n": 2}, "records": [*rows, {"traces": ["text"]}]}))
    left_out = LeftOut()
    assert [row.id for row in read_candidates(str(path), left_out=left_out)] == ["p0", "p1", "p2", "p3"]
    assert "'traces' must be objects with 'text' and 'correct'" in left_out.describe()
    assert main([str(path)]) == 0
    assert "4 problems, 8 candidates" in capsys.readouterr().out


def test_a_reward_model_is_not_asked_about_a_row_without_its_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS["crucible"]) + "\n")
    assert main([str(path), "--prm", "builtin", "--keep", str(tmp_path / "kept.jsonl")]) == 2
    assert "row math500-0 has no question" in capsys.readouterr().err
    assert not (tmp_path / "kept.jsonl").exists()


def test_a_json_file_without_records_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"rows": []}))
    with pytest.raises(UsageError, match="must be a JSON array"):
        read_candidates(str(path))
