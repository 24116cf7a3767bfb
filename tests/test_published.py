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
ROWS: dict[str, dict[str, object]] = {
    "ours": {"id": "q", "question": "2 + 2?", "candidates": TEXTS, "correct": [1, 0],
             "scores": [[0.9, 0.8], [0.1]]},
    "monkeys": {"orig_dset_idx": 3, "question": "2 + 2?", "samples": TEXTS, "is_corrects": [True, False],
                "gt_answer": "4"},
    "search-and-learn": {"unique_id": "test/algebra/1.json", "problem": "2 + 2?", "answer": "4",
                         "completions": TEXTS, "scores": [[0.9, 0.8], [0.1]], "pred": "4"},
    "qwen2.5-math": {"idx": 7, "question": "2 + 2?", "gt_cot": "It is 4.", "gt": "4", "code": TEXTS,
                     "pred": ["4", "5"], "report": [None, None], "score": [True, False],
                     "pred_score": [[1.5], [-0.5]]},
    "rlhflow": {"prompt": "2 + 2?", "answers": [*TEXTS, "It is 6."], "label": [1, 0, 0],
                "step_scores": [[0.9, 0.8], [0.1]]},
    "openr": {"question": "2 + 2?", "groundtruth": "4", "result": {"majority_vote": 1}, "output": [
        {"path_idx": 0, "text": TEXTS[0], "value": [0.9, 0.8], "completion_tokens": 9},
        {"path_idx": 1, "text": TEXTS[1], "value": [0.1], "completion_tokens": 5}]},
    "crucible": {"problem_id": "math500-0", "gold": "4", "difficulty": "level-2", "traces": [
        {"text": TEXTS[0], "tokens": 9, "correct": True, "prm_score": 0.7},
        {"text": TEXTS[1], "tokens": 5, "correct": False, "prm_score": None}]},
}  # fmt: skip
READ = {
    "ours": ("q", "2 + 2?", [(0.9, 0.8), (0.1,)]),
    "monkeys": ("row 1", "2 + 2?", None),
    "search-and-learn": ("test/algebra/1.json", "2 + 2?", [(0.9, 0.8), (0.1,)]),
    "qwen2.5-math": ("7", "2 + 2?", [(1.5,), (-0.5,)]),
    "rlhflow": ("row 1", "2 + 2?", [(0.9, 0.8), (0.1,)]),
    "openr": ("row 1", "2 + 2?", [(0.9, 0.8), (0.1,)]),
    "crucible": ("math500-0", "", [0.7, None]),
}


def written(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(path: Path, row: object) -> Candidates:
    written(path, row)
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


@pytest.mark.parametrize("shape", ["openr", "rlhflow"])
def test_steps_are_split_at_their_tag(shape: str, tmp_path: Path) -> None:
    """So that the tag is no part of the answer."""
    text = "Step 1: 2 + 2 = 4. ки\nStep 2: The answer is: 4 ки"
    row = json.loads(json.dumps(ROWS[shape], ensure_ascii=False).replace(TEXTS[0], text.replace("\n", "\\n")))
    got = read(tmp_path / "rows.jsonl", row)
    assert got.texts == [("Step 1: 2 + 2 = 4.", "Step 2: The answer is: 4"), TEXTS[1]]
    assert got.right == [True, False] and TEXT_TASKS["math"]().extract(got.text(0)) == "4"


def sample(problem: str, answer: str, right: bool, score: float | None = 0.5) -> dict[str, object]:
    """A row of PRM800K's scored samples."""
    steps = ["I add.", f"So it is {answer}.\n\n# Answer\n\n{answer}"]
    return {"problem": problem, "answer": answer, "steps": steps, "is_correct": right, "prm_score": score,
            "orm_score": 0.1, "rating_probs": [{"1": 0.9}, {"1": 0.8}]}  # fmt: skip


def test_single_samples_are_put_together_by_their_problem(tmp_path: Path) -> None:
    rows = [sample("2 + 2?", "4", True, 0.9), sample("1 + 1?", "2", True), sample("2 + 2?", "5", False, None)]
    first, second = read_candidates(written(tmp_path / "rows.jsonl", *rows))
    assert (first.id, first.question, second.id, second.question) == ("row 1", "2 + 2?", "row 2", "1 + 1?")
    assert (first.right, first.scores, second.scores) == ([True, False], [0.9, None], [0.5])
    math = TEXT_TASKS["math"]()
    assert [math.extract(first.text(i)) for i in range(2)] == ["4", "5"]


def test_an_odd_sample_is_named_by_its_line(tmp_path: Path) -> None:
    odd = {**sample("2 + 2?", "4", True), "is_correct": "yes"}
    path = written(tmp_path / "rows.jsonl", sample("2 + 2?", "4", True), odd)
    with pytest.raises(UsageError, match="line 2: 'correct' must be true or false"):
        read_candidates(path)
    left_out = LeftOut()
    [row] = read_candidates(path, left_out=left_out)
    assert len(row.texts) == 1 and left_out.read == {path: 2}


def test_of_very_many_candidates_the_first_are_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.report.candidates.MOST_CANDIDATES", 2)
    monkeypatch.setattr("bench.runner.cli.rerank.MOST_CANDIDATES", 2)
    row = {**ROWS["ours"], "candidates": [*TEXTS, "It is $6$."], "correct": [1, 0, 0], "scores": [1, 0, 0]}
    one_by_one = [sample("1 + 1?", answer, answer == "2") for answer in ("1", "2", "3", "4")]
    path = written(tmp_path / "rows.jsonl", row, *one_by_one)
    first, second = read_candidates(path)
    assert (first.texts, first.right, first.scores, first.unread) == (TEXTS, [True, False], [1.0, 0.0], 1)
    assert (second.right, second.scores, second.unread) == ([False, True], [0.5, 0.5], 2)
    assert main([path]) == 0
    assert "2 problems have more than 2 candidates: the first 2 of each are used" in capsys.readouterr().out


@pytest.mark.parametrize("odd", ["text", [1], [{"value": 1}]])
def test_an_output_that_holds_no_texts_is_refused(odd: object, tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", {**ROWS["openr"], "output": odd})
    with pytest.raises(UsageError, match="line 1: 'output' must be objects with 'text'"):
        read_candidates(path)


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
    path = written(tmp_path / "rows.jsonl", ROWS["crucible"])
    assert main([path, "--prm", "builtin", "--keep", str(tmp_path / "kept.jsonl")]) == 2
    assert "row math500-0 has no question" in capsys.readouterr().err
    assert not (tmp_path / "kept.jsonl").exists()


def test_a_json_file_without_records_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"rows": []}))
    with pytest.raises(UsageError, match="must be a JSON array"):
        read_candidates(str(path))
