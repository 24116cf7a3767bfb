"""The split guard keeps problems of evaluation sets out of training data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prm.data import guard as split_guard
from prm.data.guard import Guard
from prm.data.guard.__main__ import main as guard_command
from prm.data.labels import LabelledSolution
from tests.test_prm_data import GSM8K_TEST


def solution(question: str, split: str = "train") -> LabelledSolution:
    return LabelledSolution(question, ("a",), (1,), "s", split, "human")


def test_the_guard_knows_the_evaluation_sets_without_their_files() -> None:
    guard = Guard.known()
    assert guard.overlap(GSM8K_TEST) == "GSM8K test: same text"
    assert guard.overlap(GSM8K_TEST.upper().replace(".", " .")) == "GSM8K test: same text"
    part = "Anna's ducks lay 5 eggs. She sells the remainder at the farmers' market daily for $2 each."
    assert guard.overlap(part) == "GSM8K test: eight words"
    assert guard.overlap("What is 2 + 2?") is None


def test_the_hashes_are_rebuilt_from_the_files_of_the_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "one two three four five six seven eight nine"
    (tmp_path / "mine.jsonl").write_text(json.dumps({"question": text}))
    (tmp_path / "svamp.jsonl").write_text(json.dumps({"Body": "Two and", "Question": "two?"}))
    files = [split_guard.EvaluationFile(name, str(tmp_path / f"{name}.jsonl")) for name in ("mine", "svamp")]
    split_guard.rebuild(files, tmp_path / "hashes.npz")
    assert capsys.readouterr().out.startswith("mine: 1 problems, 2 runs of 8 words\n")
    monkeypatch.setattr(split_guard, "HASHES", tmp_path / "hashes.npz")
    split_guard._load.cache_clear()
    try:
        rebuilt = Guard.known()
    finally:
        split_guard._load.cache_clear()
    assert rebuilt.overlap(f"now {text}") == "mine: eight words"
    assert rebuilt.overlap("two and two") == "svamp: same text"
    assert guard_command(["nameless"]) == 2
    assert guard_command([f"mine={tmp_path / 'absent.jsonl'}"]) == 2


def test_the_guard_drops_and_says_what() -> None:
    guard = Guard.known()
    guard.add("mine", ["one two three four five six seven eight nine"])
    given = [
        solution("fine"), solution(GSM8K_TEST), solution(GSM8K_TEST), solution("held", "test"),
        solution("so: two three four five six seven eight nine!"), solution("fine"),
    ]  # fmt: skip
    assert [s.question for s in guard.filter(given)] == ["fine", "fine"]
    assert guard.report() == {
        "problems_kept": 1,
        "problems_dropped": {"GSM8K test: same text": 1, "marked as test": 1, "mine: eight words": 1},
        "records_dropped": 4,
    }
    assert "Janet" in guard.describe() and "[mine: eight words] so: two" in guard.describe()


@pytest.mark.parametrize("splits", [("train", "test", "train"), ("test", "train", "train")])
def test_records_marked_as_test_are_dropped_in_any_order(splits: tuple[str, ...]) -> None:
    guard = Guard.known()
    assert [s.split for s in guard.filter(solution("fine", split) for split in splits)] == ["train", "train"]
    assert guard.report() == {"problems_kept": 1, "problems_dropped": {}, "records_dropped": 1}
    given = [solution(GSM8K_TEST, split) for split in splits]
    assert list(guard.filter(given)) == []
    assert guard.dropped == {GSM8K_TEST: "GSM8K test: same text"}
