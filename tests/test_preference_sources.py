"""Pairs of other data sets, counts, and the split guard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from prm.data.left_out import LeftOut
from prm.preference.chat import FORMATS, read_chat_pairs
from prm.preference.counts import Counts, Decontamination, problem_of
from prm.preference.records import PairRow, RowId, SftRow, pair_rows, read_pairs, sft_rows, write_rows
from prm.preference.tree import Observation, PreferenceTree, Turn
from search.errors import UsageError


def made(format: str, **row: Any) -> list[PairRow]:
    return list(FORMATS[format](row))


def completions(*scored: tuple[str, Any]) -> list[dict[str, Any]]:
    return [
        {"response": text, "fine-grained_score": score, "overall_score": 1.0, "model": "m"}
        for text, score in scored
    ]


def test_ultrafeedback_gives_every_pair_whose_scores_differ() -> None:
    pairs = made(
        "ultrafeedback", source="flan", instruction="Hi?",
        completions=completions(("a", 2.5), ("b", 4.0), ("c", 2.5), ("b", 1.0)),
    )  # fmt: skip
    assert [(row.chosen, row.rejected) for row in pairs] == [("b", "a"), ("a", "b"), ("b", "c"), ("c", "b")]
    assert len({row.id for row in pairs}) == 4 and {row.trajectory for row in pairs} == {("Hi?",)}
    assert {(row.task, row.dataset) for row in pairs} == {("Chat", "UltraFeedback/flan")}
    overall = [{"response": "a", "overall_score": 7}, {"response": "b", "overall_score": 8.5}]
    [row] = made("ultrafeedback", source="x", instruction="Hi?", completions=overall)
    assert (row.chosen, row.rejected) == ("b", "a")


def rated(text: str, rating: str) -> dict[str, Any]:
    return {"response": text, "annotations": {"harmlessness": [{"Rating": rating}]}}


def test_ultrasafety_gives_one_pair_an_instruction() -> None:
    both = [rated("bad", "0"), rated("no", "1"), rated("worse", "0"), rated("never", "1")]
    [row] = made("ultrasafety", instruction="How to harm?", completions=both)
    assert (row.chosen, row.rejected, row.task) == ("no", "bad", "Safety")
    assert made("ultrasafety", instruction="How?", completions=both[::2]) == []


def test_binarized_pairs_are_texts_or_conversations() -> None:
    def chat(*texts: str) -> list[dict[str, str]]:
        return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]

    [plain] = made("binarized", prompt="Hi?", chosen="Yes.", rejected="No.", source="mine")
    assert (plain.trajectory, plain.dataset, str(plain.id)[-4:]) == (("Hi?",), "mine", "_1_1")
    yes, no = (chat("a", "b", "c", last) for last in "de")
    [long] = made("binarized", prompt="Hi?", chosen=yes, rejected=no)
    assert (long.trajectory, long.chosen, long.rejected) == (("a", "b", "c"), "d", "e")
    assert str(long.id).endswith("_2_2")
    system = [{"role": "system", "content": "Be brief."}, *chat("Hi?")]
    [row] = made("binarized", prompt=system, chosen=[{"role": "assistant", "content": "Y"}], rejected="N")
    assert row.trajectory == ("Be brief.\n\nHi?",)
    assert made("binarized", prompt="Hi?", chosen="Same.", rejected="Same.") == []


@pytest.mark.parametrize(
    ("format", "row", "why"),
    [
        ("ultrafeedback", {"instruction": "?", "source": "s",
                           "completions": completions(("a", 1), ("b", "N/A"))}, "a score must be a number"),
        ("ultrafeedback", {"instruction": " ", "source": "s",
                           "completions": completions(("a", 1), ("b", 2))}, "not blank"),
        ("ultrasafety", {"instruction": "?", "completions": [rated("a", "2")]}, "rated 0 or 1"),
        ("binarized", {"prompt": "?", "chosen": [{"role": "tool", "content": "x"}],
                       "rejected": "n"}, "in turn"),
        ("binarized", {"chosen": "y", "rejected": "n"}, "to one of the user"),
    ],
)  # fmt: skip
def test_rows_of_another_form_are_counted(format: str, row: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UsageError, match=f"line 1: .*{why}"):
        list(read_chat_pairs(format, str(path)))
    left_out = LeftOut()
    assert list(read_chat_pairs(format, str(path), left_out=left_out)) == [] and left_out


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UsageError, match="the formats are ultrafeedback, ultrasafety, binarized"):
        read_chat_pairs("nectar", "x.jsonl")


# -- counts and guard ----------------------------------------------------------------------------------

IDS = count()


def tree(instruction: str, task: str, dataset: str, n: int) -> PreferenceTree:
    turns = [Turn(f"c{i}", f"w{i}", Observation.of(False) if i < n - 1 else None) for i in range(n)]
    return PreferenceTree(f"t{next(IDS)}", instruction, task, dataset, instruction, tuple(turns))


def test_rows_are_counted_by_task_data_set_and_turn() -> None:
    trees = [
        tree("a", "Coding", "mbpp", 2), tree("a", "Coding", "mbpp", 1), tree("b", "Math_CoT", "MATH", 3),
    ]  # fmt: skip
    counts = Counts()
    assert len(list(counts.paired(row for t in trees for row in pair_rows(t)))) == 6
    assert len(list(counts.sft(row for t in trees[:2] for row in sft_rows(t)))) == 3
    assert counts.describe().splitlines() == [
        "2 instructions, 3 trees, 3 correct actions, 6 pairs",
        "",
        "task      data set  correct  pairs, turn 1  pairs, turn 2  pairs, turn 3",
        "Coding    mbpp            3              2              1              0",
        "Math_CoT  MATH            0              1              1              1",
    ]
    assert counts.report()["by_source"][1]["pairs_by_turn"] == {"1": 1, "2": 1, "3": 1}


SHARED = "one two three four five six seven eight"


def test_instructions_that_overlap_an_evaluation_set_are_left_out() -> None:
    guard = Decontamination()
    guard.guard.add("held", [f"{SHARED} nine", "Add 2 and 2."])
    trees = [
        tree(f"Begin, {SHARED}!", "Logic", "d", 2),
        tree("one two three four five six seven", "Logic", "d", 1),
        tree("Solve the following math problem step-by-step.\nAdd 2 and 2", "Math_CoT", "d", 1),
    ]  # fmt: skip
    assert [row.instruction for row in guard.pairs(row for t in trees for row in pair_rows(t))] == [
        "one two three four five six seven"
    ]
    assert len(list(guard.sft(row for t in trees for row in sft_rows(t)))) == 1
    assert guard.report() == {
        "instructions_kept": 1, "rows_dropped": 6,
        "instructions_dropped": {"held: eight words": 1, "held: same text": 1},
    }  # fmt: skip
    assert "3 instructions, 2 overlap an evaluation set" in guard.describe()


def test_the_bundled_evaluation_sets_are_guarded() -> None:
    problem = (
        "Convert the point $(0,3)$ in rectangular coordinates to polar coordinates.  Enter your answer in "
        "the form $(r,\\theta),$ where $r > 0$ and $0 \\le \\theta < 2 \\pi.$"
    )
    assert not Decontamination().allows("x", f"Simplify your answer as much as possible.\n{problem}")


def test_only_the_known_lines_before_a_problem_are_cut() -> None:
    framed = (
        "Tool available:\n[1] Python interpreter\nWhen you send a message containing Python code to python, "
        "it will be executed in a stateful Jupyter notebook environment.\nSolve the following math problem "
        "step-by-step.\nSimplify your answer as much as possible.\nWhat is 2 + 2?\nSolve the following too."
    )
    assert problem_of(framed) == "What is 2 + 2?\nSolve the following too."
    assert problem_of("Write Python code to solve the task.") == "Write Python code to solve the task."


def test_counting_many_rows_keeps_none_of_them(tmp_path: Path) -> None:
    """Nothing grows with the rows but the ids."""
    alive = [0]

    def rows() -> Iterator[SftRow]:
        for n in range(50):
            yield SftRow(RowId(f"t{n}", 1, 1), "p", "Logic", "d", "?", "!" * 10)
            alive[0] += 1

    counts = Counts()
    for n, _ in enumerate(counts.sft(rows())):
        assert alive[0] == n
    assert counts.report()["trees"] == 50


def test_no_file_is_written_for_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    assert write_rows(path, [{"a": 1}]) == 1 and path.exists()
    assert write_rows(path, []) == 0 and not path.exists()
    with pytest.raises(UsageError, match="no such file"):
        list(read_pairs(str(path)))
