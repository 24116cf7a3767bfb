"""The record that all reward-model data is kept in."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm.data import load
from prm.data.labels import LabelledSolution, read_labels, until_first_error, without_returns, write_labels
from search.errors import UsageError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def labelled(draw: st.DrawFn) -> LabelledSolution:
    labels = draw(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=5))
    steps = [draw(TEXT) for _ in labels]
    return LabelledSolution(draw(TEXT), tuple(steps), tuple(labels), draw(TEXT), "train", "checker")


@given(st.lists(labelled(), max_size=4))
def test_what_is_written_is_read(solutions: list[LabelledSolution]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.jsonl"
        assert write_labels(path, solutions) == len(solutions)
        assert list(read_labels(path)) == list(map(without_returns, solutions))
        assert len(path.read_bytes().splitlines()) == len(solutions)  # one a line, whatever is in it


def test_steps_end_at_the_first_error() -> None:
    assert until_first_error("abcd", [1, 0, -1, 1]) == (("a", "b", "c"), (1, 0, -1))
    assert until_first_error("ab", [1, 0]) == (("a", "b"), (1, 0))
    assert until_first_error([], []) == ((), ())


GOOD: dict[str, Any] = {
    "question": "2 + 2?", "steps": ["4"], "labels": [1], "source": "s", "split": "train", "produced_by": "me",
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON: "),
        ("[]", "must be a JSON object, not []"),
        ("{} {}", "not JSON: Extra data"),
        (json.dumps({**GOOD, "steps": []}), "1 labels"),
        (json.dumps({**GOOD, "steps": [], "labels": []}), "a solution without steps"),
        (json.dumps({**GOOD, "labels": [2]}), "labels must be -1, 0 or 1"),
        (json.dumps({**GOOD, "labels": None}), "TypeError"),
        (json.dumps({**GOOD, "steps": "4"}), "TypeError: 'steps' and 'labels' must be lists"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "labels"}), "no field 'labels'"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "question"}), "no field 'problem'"),
    ],
)
def test_a_bad_line_is_named_with_its_file(line: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{line}\n")
    records = read_labels(path)
    assert next(records).question == "2 + 2?"
    with pytest.raises(UsageError) as raised:
        next(records)
    assert str(raised.value).startswith(f"{path}, line 2: ")
    assert reason in str(raised.value)


def test_only_the_question_the_steps_and_the_labels_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"problem": "2 + 2?", "steps": ["4", "5"], "labels": [1, -1]}\n')
    [record] = read_labels(path)
    assert (record.question, record.steps, record.labels) == ("2 + 2?", ("4", "5"), (1, -1))
    assert (record.source, record.split, record.produced_by) == ("unknown", "train", "unknown")
    path.write_text('{"question": "2 + 2?", "problem": "no. 7", "steps": ["4", "5"], "labels": [true, -1.0]}')
    [record] = read_labels(path)
    assert (record.question, record.labels) == ("2 + 2?", (1, -1))
    [record] = load(str(path.rename(tmp_path / "test.jsonl")))
    assert record.split == "test", "the name of the file says so"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        list(read_labels(tmp_path / "absent.jsonl"))


@pytest.mark.parametrize("steps", [("a", "b"), ()])
def test_a_record_that_makes_no_sense_cannot_be_made(steps: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="'2 \\+ 2"):
        LabelledSolution("2 + 2?", steps, (1,) * (len(steps) // 2), "s", "train", "me")
