"""Reading rows: byte-order marks, blank lines, Windows line ends, columns of mixed types, odd rows."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from prm.data import FORMATS, load
from prm.data.labels import read_labels
from prm.data.left_out import LeftOut
from prm.data.pairs import ultrainteract
from prm.data.rows import hub_rows, json_lines, read_rows
from search.errors import UsageError
from search.prompts import read_template
from tests.test_prm_data import read


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_blank_lines_windows_line_ends_and_a_byte_order_mark_are_skipped(name: str, tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": "\xc3\xa9"}'
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    rows = list(read_rows(str(path)))
    assert [(row.number, row.fields) for row in rows] == [(1, {"a": 1}), (4, {"a": "\u00e9"})]
    assert rows[1].where == f"{path}, line 4" and rows[1].text("b", "a") == "\u00e9"
    with pytest.raises(UsageError, match="line 1: 'a' must be a non-empty string, not 1"):
        rows[0].text("a")


def test_a_byte_order_mark_may_also_begin_a_later_line(tmp_path: Path) -> None:
    """Where files that a Windows tool saved were put together."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\xef\xbb\xbf\r\n\xef\xbb\xbf{"a": 2}\r\n')
    assert [row.fields for row in read_rows(str(path))] == [{"a": 1}, {"a": 2}]


def test_a_byte_order_mark_is_no_part_of_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_bytes(b"\xef\xbb\xbfQ: {question}\r\nA:")
    assert read_template(path).template == "Q: {question}\nA:"


def test_columns_of_mixed_types_are_read_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library `datasets` decodes them, and with them the texts that look like JSON."""
    import datasets

    rows = [
        {"question": "a", "answer": "4", "labels": [True, 0.5], "meta": {"answer": "4"}},
        {"question": "b", "answer": 4, "labels": [0, 1], "meta": {"answer": "x", "n": {"m": 1}}},
        {"question": "c", "answer": "true", "labels": [], "meta": None},
        {"question": "d", "answer": 'x = "1"', "labels": [], "meta": None},
        {"question": "e", "answer": "[1, 2]", "labels": [], "meta": None},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    load_dataset = datasets.load_dataset

    def from_the_file(name: str, config: str | None, *, split: str, streaming: bool) -> Any:
        assert (name, split) == ("owner/name", "train")
        return load_dataset(
            "json", data_files=str(path), split=split, streaming=streaming, cache_dir=str(tmp_path / "cache")
        )

    monkeypatch.setattr(datasets, "load_dataset", from_the_file)
    for stream in (True, False):
        found = [row.fields for row in hub_rows("owner/name", "train", stream=stream)]
        assert [row["answer"] for row in found] == ["4", "4", "true", 'x = "1"', "[1, 2]"]
        assert [row["question"] for row in found] == list("abcde")
        assert found[0]["labels"] in (["true", "0.5"], [1.0, 0.5])
        assert found[0]["meta"]["answer"] == "4"


def test_a_json_array_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b'\xef\xbb\xbf[{"a": 1}]')
    assert [row.where for row in read_rows(str(path))] == [f"{path}, record 1"]
    path.write_text("{}")
    with pytest.raises(UsageError, match=r"rows\.json: must be a JSON array, not \{\}"):
        list(read_rows(str(path)))


def test_an_empty_file_is_refused_unless_that_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n")
    with pytest.raises(UsageError, match=r"rows\.jsonl holds no records"):
        list(json_lines(path))
    assert list(json_lines(path, allow_empty=True)) == []


ODD = [
    {"input": "Q? It is 4. ки\nStep 2: 12 ки", "label": "Q? It is 4. +\nStep 2: 12 +", "task": "x"},
    {"input": "Q? Step 1: a ки", "label": "Q? Step 1: b +", "task": "x"},
    {"input": "Q? Step 1: a ки\nStep 2: b ки", "label": "Q? Step 1: a +\nStep 2: c -", "task": "x"},
    {"input": "Q? Step 1: a", "label": "Q? Step 1: a", "task": "x"},
    {"input": None, "label": "Q? Step 1: a +", "task": "x"},
    {"input": "Q? Step 1: a ки\nStep 2:  ки", "label": "Q? Step 1: a +\nStep 2:  -", "task": "x"},
]  # fmt: skip


def test_odd_rows_are_left_out_and_counted_by_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"input": "Q? Step 1: a ки", "label": "Q? Step 1: a +", "task": "x"}
    rows = [row for odd in ODD for row in (good, odd)]
    left_out = LeftOut()
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    records = list(load(f"math-shepherd:{path}", left_out=left_out))
    assert [record.steps for record in records] == [("a",)] * len(ODD)
    assert capsys.readouterr().err == ""
    described = left_out.describe()
    assert described.splitlines()[0] == f"rows left out: 6 of 12 of {path}"
    assert left_out.report()[str(path)] == {
        "the input has no 'Step 1:', where the question ends": 1,
        "the label does not repeat the input up to step N, then + or -": 2,
        "the input must end with 'ки', after its last step": 1,
        "'input' and 'label' must be text": 1,
        "step N is blank": 1,
    }
    assert f"  2 x the label does not repeat the input up to step N, then + or - (first: {path}" in described
    assert len(list(load(f"math-shepherd:{path}"))) == len(ODD)
    assert capsys.readouterr().err == described + "\n", "nobody else says it"
    with pytest.raises(UsageError, match=r"line 2: the input has no 'Step 1:'.* looks like this: "):
        list(load(f"math-shepherd:{path}", strict=True))
    assert len(read(tmp_path, "math-shepherd", good, ODD[0])) == 1


BROKEN = {"{oops": "not JSON", "null": "must be a JSON object", "[1]": "must be a JSON object"}


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_what_is_no_object_is_left_out_and_counted(suffix: str, tmp_path: Path) -> None:
    good = FORMATS["trl"].example
    lines = [good, *BROKEN, good] if suffix == ".jsonl" else [good, "null", "[1]", good]
    path = tmp_path / f"rows{suffix}"
    path.write_text("\n".join(lines) if suffix == ".jsonl" else f"[{','.join(lines)}]")
    left_out = LeftOut()
    assert len(list(load(f"trl:{path}", left_out=left_out))) == 2
    assert left_out.read[str(path)] == len(lines)
    assert left_out.report()[str(path)] == Counter(BROKEN[line] for line in lines[1:-1])
    with pytest.raises(UsageError, match=r"(line|record) 2: (not JSON|must be)"):
        list(load(f"trl:{path}", strict=True))


def test_a_line_that_is_not_utf_8_is_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(FORMATS["trl"].example.encode() + b'\n{"prompt": "\xff"}\n')
    left_out = LeftOut()
    assert len(list(load(f"trl:{path}", left_out=left_out))) == 1
    assert left_out.report()[str(path)] == {"not UTF-8": 1}


def test_a_file_without_any_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("prompt,labels\na,1\n")
    with pytest.raises(UsageError, match=r"rows\.jsonl, line 1: not JSON.* looks like this: "):
        list(load(f"trl:{path}"))


def test_pairs_leave_out_what_is_no_object(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "Q?", "chosen": "a", "rejected": "b"}\nnull\n')
    left_out = LeftOut()
    assert len(list(ultrainteract(str(path), left_out=left_out))) == 1
    assert left_out.report()[str(path)] == {"must be a JSON object": 1}
    with pytest.raises(UsageError, match="line 2: must be a JSON object"):
        list(ultrainteract(str(path)))


def test_an_odd_pair_is_refused_with_an_example(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "Q?", "chosen": "a"}\n')
    with pytest.raises(UsageError, match=r"line 1: no field 'rejected'.*a pair looks like this: ") as raised:
        list(ultrainteract(str(path)))
    path.write_text(str(raised.value).partition("looks like this: ")[2])
    assert len(list(ultrainteract(str(path)))) == 1


def test_a_task_is_not_needed(tmp_path: Path) -> None:
    row = {"input": "Q? Step 1: a ки", "label": "Q? Step 1: a +"}
    assert read(tmp_path, "math-shepherd", row)[0].source == "math-shepherd"


def test_no_step_ends_in_a_carriage_return(tmp_path: Path) -> None:
    steps = ["First.\r\n", "Then\r\nthis.\r", "Last.\n"]
    right = ("First.", "Then\r\nthis.", "Last.")
    row = {"prompt": "Q?", "completions": steps, "labels": [True] * 3}
    assert read(tmp_path, "trl", row)[0].steps == right
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"question": "Q?", "steps": steps[:1], "labels": [1], "rest": steps[1:]}))
    for record in (*read_labels(own), *load(str(own))):
        assert record.steps + record.rest == right


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_another_format_is_refused_with_an_example(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n' * 3)
    with pytest.raises(UsageError) as raised:
        list(load(f"{name}:{path}"))
    assert str(raised.value).startswith(f"{path}, line 1: no field ")
    assert str(raised.value).endswith(f"a row of format {name} looks like this: {FORMATS[name].example}")


@pytest.mark.parametrize("name", FORMATS)
def test_the_example_of_a_format_is_read_and_is_in_the_guide(name: str, tmp_path: Path) -> None:
    records = read(tmp_path, name, json.loads(FORMATS[name].example))
    assert {record.question for record in records} == {"What is 2 + 2?"}
    assert sum(len(record.counted) for record in records) in (1, 2)
    guide = Path(__file__).parents[1] / "docs" / "guides" / "reward-models.md"
    assert f"\n{FORMATS[name].example}\n" in guide.read_text()


def test_reasons_that_differ_in_numbers_only_are_one() -> None:
    left_out = LeftOut()
    for n in range(1, 30):
        left_out.add("a", f"a, line {n}", f"{n} steps but {n + 1} labels: 'Q{n}'")
        left_out.add("a", f"a, line {n}", f"a rating must be -1, 0, 1 or null, not {n}")
    assert left_out.report() == {
        "a": {"N steps but N labels": 29, "a rating must be -1, 0, 1 or null": 29}
    }  # fmt: skip
