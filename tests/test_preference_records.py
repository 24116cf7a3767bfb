"""Preference trees in UltraInteract's files: written, read, the same; the published rows; contradictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prm.data.left_out import LeftOut
from prm.preference.augment import cross_turn_pairs
from prm.preference.files import read_trees, write_trees
from prm.preference.records import (
    PairRow,
    RowId,
    pair_rows,
    read_pairs,
    read_sft,
    sft_rows,
    trees_of,
)
from prm.preference.tree import (
    Observation,
    PreferenceTree,
    Turn,
    canonical,
    instruction_id,
    task_name,
    tree_id,
)
from search.errors import UsageError

WRONG = Observation.of(False)


def tree(*turns: Turn, instruction: str = "What is 2 + 2?", key: str = "", depth: int = 0) -> PreferenceTree:
    return PreferenceTree(
        tree_id(instruction, key), instruction_id(instruction), "Math_CoT", "gsm8k", instruction, turns, depth
    )


THREE = tree(
    Turn("4", "5", WRONG), Turn(None, "6", Observation.of(False, critique="Count.")), Turn("four", "7")
)  # fmt: skip


# -- the form of trees ---------------------------------------------------------------------------------


def test_what_files_cannot_hold_is_not_kept() -> None:
    pair, alone = Turn("a", "b", WRONG), Turn("c")
    assert canonical([pair]) == (Turn("a", "b"),)  # the observation stands in no later pair
    assert canonical([pair, alone]) == (Turn("a", "b"), alone)
    assert canonical([pair, Turn(None, "x", WRONG), alone]) == (Turn("a", "b"),)
    assert canonical([Turn(None, "x", WRONG), pair]) == (Turn(None, "x", WRONG), Turn("a", "b"))
    assert canonical([Turn("a"), pair]) == (Turn("a"),)  # nothing was answered that could be followed
    assert canonical([Turn(None, "x", WRONG)]) == canonical([]) == ()
    with pytest.raises(UsageError, match="incomplete"):
        tree(pair)
    with pytest.raises(UsageError, match="a depth of 1"):
        tree(pair, Turn("c", "d"), depth=1)
    with pytest.raises(UsageError, match="blank"):
        tree(Turn("a", " \n"))


def test_an_observation_has_parts() -> None:
    seen = Observation.of(False, output="3\nYour answer is correct.", critique="Add, do not count.\nAgain.")
    assert seen.text == ("Out: 3\nYour answer is correct.\nYour answer is wrong.\nAdd, do not count.\nAgain.")
    assert seen.output == "3\nYour answer is correct." and seen.critique == "Add, do not count.\nAgain."
    assert Observation.of(True).text == "Your answer is correct."
    assert (Observation("No.").output, Observation("No.").critique) == ("", "No.")
    assert (Observation("Out: 3").output, Observation("Out: 3").critique) == ("3", "")


def test_tasks_are_compared_without_their_case() -> None:
    assert [task_name(t) for t in ("Math_Cot", "coding", "Chat")] == ["Math_CoT", "Coding", "Chat"]


# -- rows ----------------------------------------------------------------------------------------------


def test_the_rows_of_a_tree() -> None:
    first, last = pair_rows(THREE)
    assert [str(row.id).removeprefix(THREE.id) for row in (first, last)] == ["_3_1", "_3_3"]
    assert first.trajectory == ("What is 2 + 2?",) and (first.chosen, first.rejected) == ("4", "5")
    assert last.trajectory == (
        "What is 2 + 2?", "5", "Your answer is wrong.", "6", "Your answer is wrong.\nCount.",
    )  # fmt: skip
    assert [(row.id.turn, row.instruction, row.response) for row in sft_rows(THREE)] == [
        (1, "What is 2 + 2?", "4"), (3, "What is 2 + 2?", "four"),
    ]  # fmt: skip
    assert THREE.parent_id == THREE.id == instruction_id("What is 2 + 2?")
    assert tree(Turn("4", "5"), key="b").parent_id == THREE.id != tree(Turn("4", "5"), key="b").id


def test_an_action_that_is_in_two_pairs_is_one_row_of_sft() -> None:
    same = tree(Turn("4", "5", WRONG), Turn("4", "6"))
    assert [row.id.turn for row in sft_rows(same)] == [1]
    assert list(trees_of(pair_rows(same), sft_rows(same))) == [same]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
OBSERVATION = st.builds(Observation, TEXT)
TURN = st.builds(Turn, TEXT, TEXT, OBSERVATION) | st.builds(
    Turn, st.none() | TEXT, st.none() | TEXT, st.none() | OBSERVATION
)
TURNS = st.lists(TURN, min_size=1, max_size=6)


@given(TURNS)
def test_the_form_is_kept(turns: list[Turn]) -> None:
    kept = canonical(turns)
    assert canonical(kept) == kept
    assert (kept == ()) == (turns[0].correct is None and not any(turn.is_pair for turn in kept))
    assert kept == () or tree(*kept).turns == kept


@st.composite
def trees(draw: st.DrawFn) -> list[PreferenceTree]:
    made = {}
    for number, instruction in enumerate(draw(st.lists(TEXT, min_size=1, max_size=4))):
        turns = canonical(draw(TURNS))
        if turns:
            key = draw(st.sampled_from(["", f"{number}"]))
            depth = len(turns) + draw(st.integers(0, 2))
            made[tree_id(instruction, key)] = tree(*turns, instruction=instruction, key=key, depth=depth)
    return list(made.values())


@settings(max_examples=60, deadline=None)
@given(trees())
def test_trees_are_the_same_after_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, written: list[PreferenceTree]
) -> None:
    folder = tmp_path_factory.mktemp("trees")
    write_trees(folder, written, {})
    read = read_trees(str(folder)) if written else []
    assert sorted(read, key=lambda t: t.id) == sorted(written, key=lambda t: t.id)


def test_the_files_load_with_datasets(tmp_path: Path) -> None:
    from datasets import load_dataset

    write_trees(tmp_path, [THREE, tree(Turn("x", "y"), instruction="Which?")], {})
    loaded = {
        name: load_dataset(
            "json", data_files=str(tmp_path / f"{name}.jsonl"), split="train", cache_dir=str(tmp_path / "c")
        )
        for name in ("sft", "pairs", "augmented")
    }  # fmt: skip
    assert set(loaded["sft"].column_names) == {
        "id", "parent_id", "task", "dataset", "instruction", "response",
    }  # fmt: skip
    assert set(loaded["pairs"].column_names) == set(loaded["augmented"].column_names) == {
        "id", "parent_id", "task", "dataset", "trajectory", "chosen", "rejected",
    }  # fmt: skip
    assert loaded["pairs"][1]["trajectory"][1] == {"from": "assistant", "value": "5"}
    parquet, jsonl_file = (str(tmp_path / f"pairs.{kind}") for kind in ("parquet", "jsonl"))
    loaded["pairs"].to_parquet(parquet)
    assert list(read_pairs(parquet)) == list(read_pairs(jsonl_file))
    assert len(loaded["augmented"]) == 4


def test_a_failed_writing_leaves_the_files_as_they_were(tmp_path: Path) -> None:
    write_trees(tmp_path, [THREE], {})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="the same id"):
        write_trees(tmp_path, [THREE, THREE], {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# -- files as they are published -----------------------------------------------------------------------

PUBLISHED: dict[str, Any] = {  # the fields and ids of the example in the README of UltraInteract
    "id": "d1f094e0e13096bc1bb6260e1e0d807e2c4ebfbbf4a4373f04cbed001c385c3c_5_3",
    "parent_id": "d1f094e0e13096bc1bb6260e1e0d807e2c4ebfbbf4a4373f04cbed001c385c3c",
    "task": "Math_PoT", "dataset": "MATH",
    "trajectory": [
        {"from": "user", "value": "Solve the following math problem step-by-step.\nSimplify 1 + i - i."},
        {"from": "assistant", "value": "```python\n1 + i - i\n```"},
        {"from": "user", "value": "Out: NameError: i\nYour answer is wrong.\nPython writes 1j."},
        {"from": "assistant", "value": "```python\n1 + 1j\n```"},
        {"from": "user", "value": "Out: (1+1j)\nYour answer is wrong.\nSubtract it."},
    ],
    "chosen": "```python\n1 + 1j - 1j\n```", "rejected": "```python\n1 - 1j\n```",
}  # fmt: skip


def jsonl(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_published_row_holds_the_turns_before_it(tmp_path: Path) -> None:
    [read] = read_trees(jsonl(tmp_path / "p.jsonl", PUBLISHED))
    assert (read.depth, len(read.turns), read.task) == (5, 3, "Math_PoT")
    assert [turn.correct for turn in read.turns] == [None, None, "```python\n1 + 1j - 1j\n```"]
    [(_, first), (_, second)] = read.history(3)
    assert (first.output, first.critique) == ("NameError: i", "Python writes 1j.")
    assert (second.output, second.critique) == ("(1+1j)", "Subtract it.")
    [row] = pair_rows(read)
    assert str(row.id) == PUBLISHED["id"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"id": "abc_1"}, "HASH_DEPTH_TURN"),
        ({"id": "abc_1_2"}, "between 1 and its depth"),
        ({"id": 7}, "HASH_DEPTH_TURN"),
        ({"chosen": " "}, "'chosen' must be a text"),
        ({"trajectory": []}, "in turn"),
        ({"trajectory": [{"from": "assistant", "value": "x"}]}, "in turn"),
        ({"trajectory": PUBLISHED["trajectory"][:2]}, "in turn"),
        ({"dataset": None}, "'dataset' must be a text"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_or_counted(
    change: dict[str, Any], why: str, tmp_path: Path
) -> None:
    path = jsonl(tmp_path / "p.jsonl", PUBLISHED, {**PUBLISHED, **change})
    with pytest.raises(UsageError, match=rf"line 2: .*{why}.*looks like this"):
        list(read_pairs(path))
    left_out = LeftOut()
    assert len(list(read_pairs(path, left_out=left_out))) == 1
    assert "1 of 2" in left_out.describe()


def test_rows_that_contradict_each_other_are_left_out(tmp_path: Path) -> None:
    rows = list(pair_rows(THREE))
    other = PairRow(rows[0].id, "p", "Logic", "d", ("What is 2 + 2?",), "4", "never this")
    with pytest.raises(UsageError, match=r"_3_1: two texts"):
        list(trees_of([*rows, other]))
    left_out = LeftOut()
    assert [t.turns for t in trees_of([*rows, other], left_out=left_out)] == [THREE.turns]
    elsewhere = PairRow(rows[0].id, "p", "Logic", "d", ("Which?",), "4", "5")
    assert len(list(trees_of([*rows, elsewhere], left_out=left_out))) == 1
    late = next(sft_rows(tree(Turn("9"), key="late", depth=4)))
    late = type(late)(RowId(late.id.tree, 4, 3), *(getattr(late, n) for n in late.__slots__[1:]))
    assert list(trees_of([], [late], left_out=left_out)) == []
    assert {reason for _, reason in left_out.counts} == {
        "two texts for one place in a tree", "two instructions in one tree",
        "a correct action whose history is in no pair",
    }  # fmt: skip


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither sft\.jsonl nor pairs\.jsonl"):
        read_trees(str(tmp_path))


def test_rows_are_streamed(tmp_path: Path) -> None:
    """The first rows are there before a damaged line further down is read."""
    row = {"id": "a_1_1", "parent_id": "a", "task": "Logic", "dataset": "d"}
    row |= {"instruction": "?", "response": "!"}
    path = tmp_path / "sft.jsonl"
    path.write_text(json.dumps(row) + "\n" + "{damaged\n")
    rows = read_sft(str(path))
    assert next(rows).response == "!"
    with pytest.raises(UsageError, match="line 2"):
        next(rows)


# -- pairs across turns --------------------------------------------------------------------------------


def full(n: int) -> PreferenceTree:
    turns = [Turn(f"c{i}", f"w{i}", WRONG) for i in range(n)]
    return tree(*canonical(turns))


def test_actions_are_paired_across_turns() -> None:
    made = list(cross_turn_pairs(full(3)))
    assert sorted((row.chosen, row.rejected) for row in made) == [
        (f"c{a}", f"w{b}") for a in range(3) for b in range(3) if a != b
    ]
    assert all(row.trajectory == ("What is 2 + 2?",) and str(row.id).endswith("_1_1") for row in made)
    assert len({row.id for row in made}) == 6 and {row.parent_id for row in made} == {THREE.parent_id}
    assert len(list(cross_turn_pairs(full(2)))) == 2 and list(cross_turn_pairs(full(1))) == []
    assert list(cross_turn_pairs(full(4))) == []  # 16 products


def test_no_action_is_used_too_often_and_equal_texts_are_no_pair() -> None:
    unknown = [Turn(None, f"w{i}", WRONG) for i in range(4)]
    lone = tree(*canonical([*unknown, Turn("c", "w4")]))  # one correct action, five incorrect ones
    assert [row.rejected for row in cross_turn_pairs(lone)] == ["w3", "w2"]  # with its own pair, three
    assert [row.rejected for row in cross_turn_pairs(tree(Turn("a", "b", WRONG), Turn("b", "c")))] == ["c"]
