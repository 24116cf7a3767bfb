"""Loaders of the public data sets, on hand-written rows in their formats."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from prm.data import load
from prm.data.labels import LabelledSolution, read_labels, write_labels
from prm.data.pairs import ultrainteract
from prm.data.rows import Row
from search.errors import UsageError


def completion(text: str, rating: int | None, flagged: bool = False) -> dict[str, Any]:
    return {"text": text, "rating": rating, "flagged": flagged}


def step(
    completions: list[dict[str, Any]] | None, chosen: int | None, human: str | None = None
) -> dict[str, Any]:
    written = {"text": human, "rating": None, "source": "human", "flagged": False} if human else None
    return {"completions": completions, "human_completion": written, "chosen_completion": chosen}


def raw(steps: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A row of PRM800K as it ships; of phase 2 where `pre` gives a whole solution and its answer."""
    question: dict[str, Any] = {"problem": "What is 1 + 1?", "ground_truth_answer": "2"}
    if "pre" in changes:
        question |= {"pre_generated_steps": changes["pre"], "pre_generated_answer": changes["answer"]}
    return {
        "labeler": "x", "timestamp": "2022", "generation": 3 if "pre" in changes else None,
        "is_quality_control_question": changes.get("control", False),
        "is_initial_screening_question": changes.get("screening", False),
        "question": question,
        "label": {"steps": steps, "total_time": 1, "finish_reason": changes.get("finish", "solution")},
    }  # fmt: skip


def read(tmp_path: Path, format_: str, *rows: Any, name: str = "rows.jsonl") -> list[LabelledSolution]:
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(load(f"{format_}:{path}"))


def counted(records: list[LabelledSolution]) -> list[tuple[str, int]]:
    return [(record.steps[i], record.labels[i]) for record in records for i in record.counted]


def test_prm800k_siblings_follow_the_path_and_are_never_continued(tmp_path: Path) -> None:
    records = read(tmp_path, "prm800k", raw([
        step([completion("a", 1), completion("b", -1)], 0),
        step([completion("c", 0), completion("d", 1)], 1),
    ]))  # fmt: skip
    assert [(r.steps, r.labels, r.context) for r in records] == [
        (("b",), (-1,), ()),
        (("a", "c"), (1, 0), (0,)),
        (("a", "d"), (1, 1), ()),
    ]
    assert sorted(counted(records)) == [("a", 1), ("b", -1), ("c", 0), ("d", 1)]  # each label once
    assert {r.source for r in records} == {"prm800k/phase1"}


def test_prm800k_null_ratings_and_flagged_completions_are_no_labels(tmp_path: Path) -> None:
    records = read(tmp_path, "prm800k", raw([
        step([completion("a", None), completion("b", 1, flagged=True)], 0),
        step([completion("c", 1)], 0),
    ]))  # fmt: skip
    assert [(r.steps, r.context) for r in records] == [(("a", "c"), (0,))]
    assert counted(records) == [("c", 1)]


def test_prm800k_human_completions_are_objects_and_the_path_goes_on_with_them(tmp_path: Path) -> None:
    records = read(tmp_path, "prm800k", raw([
        step([completion("wrong", -1)], None, human="right"),
        step([completion("so 2\n\n# Answer\n\n2", 1)], 0),
    ]))  # fmt: skip
    assert [(r.steps, r.labels, r.context) for r in records] == [
        (("wrong",), (-1,), ()),
        (("right", "so 2 The answer is 2."), (1, 1), (0,)),
    ]


def test_prm800k_all_may_be_null(tmp_path: Path) -> None:
    steps = [step([completion("a", 1)], 0), step(None, None)]
    records = read(tmp_path, "prm800k", raw(steps, finish="give_up"))
    assert counted(records) == [("a", 1)]
    assert read(tmp_path, "prm800k", raw([step([], None)]), raw([step([completion("a", 1)], 0)]))


def test_prm800k_a_path_ends_at_its_first_error(tmp_path: Path) -> None:
    steps = [step([completion("a", 1)], 0), step([completion("b", -1)], 0), step([completion("c", 1)], 0)]
    assert counted(read(tmp_path, "prm800k", raw(steps))) == [("a", 1), ("b", -1)]


def test_prm800k_the_final_answer_is_part_of_its_step_and_makes_a_solution_whole(tmp_path: Path) -> None:
    records = read(tmp_path, "prm800k", raw([
        step([completion("so 2.\n\n# Answer\n\n2", 1), completion("so 3.\n\n# Answer\n\n3", -1),
              completion("hm", 0)], 0),
    ]))  # fmt: skip
    assert [(r.steps, r.outcome) for r in records] == [
        (("so 3. The answer is 3.",), False), (("hm",), None), (("so 2. The answer is 2.",), True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "end",
    [
        step([completion("so 3.\n\n# Answer\n\n3", None)], 0),
        step([completion("so 3.\n\n# Answer\n\n3", 1, flagged=True)], 0),
        step(None, None, human="so 3.\n\n# Answer\n\n3"),
    ],
)
def test_prm800k_an_unrated_answer_is_neither_right_nor_wrong(end: dict[str, Any], tmp_path: Path) -> None:
    [record] = read(tmp_path, "prm800k", raw([step([completion("a", 1)], 0), end]))
    assert (record.steps, record.outcome) == (("a", "so 3. The answer is 3."), None)


def test_prm800k_phase_2_ends_at_the_error_and_keeps_the_rest(tmp_path: Path) -> None:
    [record] = read(tmp_path, "prm800k", raw(
        [step([completion("a", 1)], 0), step([completion("b", -1)], None)],
        finish="found_error", pre=["a", "b", "c\n\n# Answer\n\n5"], answer="5",
    ))  # fmt: skip
    assert (record.steps, record.labels, record.rest) == (("a", "b"), (1, -1), ("c The answer is 5.",))
    assert record.source == "prm800k/phase2" and record.outcome is False


@pytest.mark.parametrize("change", [{"control": True}, {"screening": True}, {"finish": "bad_problem"}])
def test_prm800k_rows_that_are_no_labels_of_a_solution(change: dict[str, Any], tmp_path: Path) -> None:
    good, other = raw([step([completion("a", 1)], 0)]), raw([step([completion("b", 1)], 0)], **change)
    assert counted(read(tmp_path, "prm800k", good, other)) == [("a", 1)]


def test_prm800k_regrouped_and_decoded_and_their_splits(tmp_path: Path) -> None:
    chosen = {"text": "a", "rating": 1, "preferred": True}
    human = {"text": "h", "rating": None, "human": True, "preferred": True}
    end = {"text": "so 2", "answer": "2", "rating": 1, "preferred": True, "solution": True}
    row = {"problem": "P", "split_of_problem": "math500", "steps": [
        {"chosen": 0, "completions": [chosen, {"text": "b", "rating": -1, "preferred": False}]},
        {"chosen": 0, "completions": [human]}, {"chosen": 0, "completions": [end]},
    ]}  # fmt: skip
    records = read(tmp_path, "prm800k-regrouped", row)
    assert counted(records) == [("b", -1), ("a", 1), ("so 2 The answer is 2.", 1)]
    assert (records[-1].context, records[-1].outcome, records[-1].split) == ((1,), True, "test")
    row = {"problem": "P", "split_of_problem": "test_non500", "steps": ["a", "b", "c"], "ratings": [1, -1, 1],
           "truncated_tail": None}  # fmt: skip
    [record] = read(tmp_path, "prm800k-decoded", row)
    assert (record.steps, record.labels, record.split) == (("a", "b"), (1, -1), "train")


@pytest.mark.parametrize("ratings", [[1], [1, 1, 1]])
def test_prm800k_decoded_has_a_rating_for_each_step(ratings: list[int], tmp_path: Path) -> None:
    row = {"problem": "P", "split_of_problem": "train", "steps": ["a", "b"], "ratings": ratings}
    with pytest.raises(UsageError, match=f"line 1: 2 steps but {len(ratings)} ratings"):
        read(tmp_path, "prm800k-decoded", row)


def test_math_shepherd(tmp_path: Path) -> None:
    given = "How many?  Step 1: 2 + 2 = 4 ки\nStep 2: The answer is: -4 ки"
    [record] = read(tmp_path, "math-shepherd", {
        "input": given, "label": given.replace("4 ки\n", "4 +\n").replace("-4 ки", "-4 -"), "task": "GSM8K",
    })  # fmt: skip
    assert record.question == "How many?"
    assert (record.steps, record.labels) == (("2 + 2 = 4", "The answer is: -4"), (1, -1))
    with pytest.raises(UsageError, match="line 1: the label does not repeat the input up to step 2"):
        unmarked = given.replace("4 ки", "4 +", 1)
        read(tmp_path, "math-shepherd", {"input": given, "label": unmarked, "task": "x"})


def test_math_shepherds_first_step_may_be_written_in_other_ways(tmp_path: Path) -> None:
    given = "Find 2+2. step 1: It is 4. The answer is: 4 ки"
    row = {"input": given, "label": given.replace("ки", "+"), "task": "MATH"}
    [record] = read(tmp_path, "math-shepherd", row)
    assert (record.question, record.steps) == ("Find 2+2.", ("It is 4. The answer is: 4",))


@pytest.mark.parametrize(
    ("labels", "hard", "soft"),
    [
        ([True, False], (1, -1), ()),
        ([1, 0], (1, -1), ()),
        ([1.0, 0.0], (1, -1), (1.0, 0.0)),  # sure, and probabilities all the same
        ([0.9, 0.25], (1, -1), (0.9, 0.25)),
        ([1, 0.5], (1, 1), (1.0, 0.5)),
        (["true", "0.25"], (1, -1), (1.0, 0.25)),  # a column of mixed types is read as text
    ],
)
def test_trls_labels_may_be_truth_values_numbers_or_probabilities(
    labels: list[object], hard: tuple[int, ...], soft: tuple[float, ...], tmp_path: Path
) -> None:
    [record] = read(tmp_path, "trl", {"prompt": "P", "completions": ["a", "b"], "labels": labels})
    assert (record.labels, record.values) == (hard, soft)


@pytest.mark.parametrize("label", [-1, 2, 1.5, None, "maybe", float("nan"), [1]])
def test_other_labels_in_trls_format_are_refused(label: object, tmp_path: Path) -> None:
    row = {"prompt": "P", "completions": ["a", "b"], "labels": [1, label]}
    with pytest.raises(UsageError, match="line 1: labels must be true or false, 1 or 0, or between 0 and 1"):
        read(tmp_path, "trl", row)


def test_trl_processbench_and_prmbench(tmp_path: Path) -> None:
    [record] = read(tmp_path, "trl", {"prompt": "P", "completions": ["a", "b"], "labels": [True, False]})
    assert (record.steps, record.labels) == (("a", "b"), (1, -1))
    bench = [
        {"id": f"math-{i}", "generator": "g", "problem": "P", "steps": ["a", "b", "c"],
         "final_answer_correct": label < 0, "label": label}
        for i, label in enumerate((1, -1))
    ]  # fmt: skip
    path = tmp_path / "math.json"
    path.write_text(json.dumps(bench))
    wrong, right = load(f"processbench:{path}")
    assert (wrong.steps, wrong.labels, wrong.rest, wrong.outcome) == (("a", "b"), (1, -1), ("c",), False)
    assert (right.labels, right.rest, right.source) == ((1, 1, 1), (), "processbench/math")
    [record] = read(tmp_path, "prmbench", {
        "modified_question": "P", "modified_process": ["a", "b", "c"], "error_steps": [2, 9],
        "classification": "confidence", "idx": "x",
    })  # fmt: skip
    assert (record.labels, record.source) == ((1, -1, 1), "prmbench/confidence")


def test_worked_solutions_of_gsm8k_and_math(tmp_path: Path) -> None:
    row = {"question": "Q", "answer": "1+1 = <<1+1=2>>2\n#### 2"}
    [record] = read(tmp_path, "worked", row, name="train.jsonl")
    assert record.steps == ("1+1 = 2", "The answer is 2.") and record.split == "train"
    [record] = read(tmp_path, "worked", {"problem": "P", "solution": "a\n\nb"}, name="test.jsonl")
    assert record.steps == ("a", "b") and record.split == "test"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("test", "test"), ("phase1_test", "test"), ("gsm8k-Test-2", "test"), ("testset", "test"),
        ("my_tests", "test"), ("latest", "train"), ("contest", "train"), ("testimony", "train"),
    ],
)  # fmt: skip
def test_the_word_test_in_a_files_name_makes_a_test_split(name: str, split: str, tmp_path: Path) -> None:
    row = {"prompt": "P", "completions": ["a"], "labels": [True]}
    [record] = read(tmp_path, "trl", row, name=f"{name}.jsonl")
    assert record.split == split


@pytest.mark.parametrize(
    ("where", "split"), [("me/test-set", "train"), ("me/test-set@test", "test"), ("me/set@dev", "dev")]
)
def test_the_split_of_a_hub_data_set_is_train_unless_another_is_asked_for(
    where: str, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(name: str, part: str) -> list[Row]:
        assert part == split
        return [Row(name, 1, {"prompt": "P", "completions": ["a"], "labels": [True]})]

    monkeypatch.setattr("prm.data.rows.hub_rows", rows)
    assert [record.split for record in load(f"trl:{where}")] == [split]


def test_the_steps_of_worked_solutions_hold_whole_formulas(tmp_path: Path) -> None:
    text = "We have\r\n\\[\r\nx = 2.\r\n\\]\r\nSo it is $2$.\r\n"
    [record] = read(tmp_path, "worked", {"problem": "P", "solution": text})
    assert record.steps == ("We have", "\\[\r\nx = 2.\r\n\\]", "So it is $2$.")
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "P", "chosen": text, "rejected": "It is 3.\r\n\r\n"}))
    [pair] = ultrainteract(str(path))
    assert (pair.chosen, pair.rejected) == (record.steps, ("It is 3.",))


def test_the_same_name_takes_every_kind_of_file(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"prompt": f"P{i}", "completions": ["a"], "labels": [True]} for i in range(3)]
    want = [f"P{i}" for i in range(3)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.json", "a.jsonl.gz", "a.parquet"):
        assert [record.question for record in load(f"trl:{tmp_path / name}")] == want


def test_loading_streams(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "P", "completions": ["a"], "labels": [True]}) + "\n{cut off")
    records = load(f"trl:{path}", strict=True)
    assert next(records).question == "P"  # before the bad line is read
    with pytest.raises(UsageError, match="line 2"):
        next(records)


GOOD = json.dumps(raw([step([completion("a", 1)], 0)])).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no records"),
        (GOOD + b"\n" + GOOD[:40], "line 2: not JSON"),
        (GOOD + b"\n\xff\xfe{}\n", "line 2: not UTF-8"),
        (b'{"prompt": "P"}\n', "line 1: no field 'is_quality_control_question'; a row of format prm800k"),
        (b"[1]\n", "line 1: must be a JSON object, not [1]"),
        (GOOD.replace(b'"rating": 1', b'"rating": 2'), "line 1: a rating must be -1, 0, 1 or null, not 2"),
        (GOOD.replace(b'"steps": [', b'"steps": [3, '), "line 1: TypeError"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_line_and_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "phase1.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        list(load(f"prm800k:{path}", strict=True))
    assert str(raised.value).startswith(str(path)) and reason in str(raised.value)


def test_a_cut_off_gzip_stream_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD * 50)[:-20])
    with pytest.raises(UsageError, match=r"a\.jsonl\.gz"):
        list(load(f"prm800k:{path}"))


@pytest.mark.parametrize("spec", ["prm80k:x.jsonl", "prm800k:absent.jsonl", "absent.jsonl", "prm800k:."])
def test_what_is_not_there_is_said_at_once(spec: str) -> None:
    with pytest.raises(UsageError):
        list(load(spec))


def test_nothing_is_written_if_a_record_is_bad(tmp_path: Path) -> None:
    source, out = tmp_path / "trl.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"prompt": "P", "completions": ["a"], "labels": [True]}) + "\n{")
    with pytest.raises(UsageError):
        write_labels(out, load(f"trl:{source}", strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["trl.jsonl"]


def test_optional_fields_survive_the_file(tmp_path: Path) -> None:
    optional = ((0.5, 0.0), (0,), ("c",), False)
    full = LabelledSolution("Q", ("a", "b"), (1, -1), "s", "train", "rollouts", *optional)
    plain = LabelledSolution("Q", ("a",), (1,), "s", "train", "human")
    write_labels(tmp_path / "l.jsonl", [full, plain])
    assert list(read_labels(tmp_path / "l.jsonl")) == [full, plain]
    assert set(json.loads((tmp_path / "l.jsonl").read_text().splitlines()[1])) == {
        "question", "steps", "labels", "source", "split", "produced_by",
    }  # fmt: skip


GSM8K_TEST = (
    "Janet\u2019s ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes "
    "muffins for her friends every day with four. She sells the remainder at the farmers' market daily "
    "for $2 per fresh duck egg. How much in dollars does she make every day at the farmers' market?"
)
