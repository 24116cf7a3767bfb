"""IFEval: each instruction that is checked, on made-up responses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.grading.grade import Grade
from bench.tasks.ifeval import IfEval
from bench.tasks.instructions import CHECKS, check_instruction, follows, follows_loosely
from search.errors import UsageError
from search.types import Problem
from tests.resumed import validated

Case = tuple[str, dict[str, Any], list[str], list[str]]
CASES: list[Case] = [
    ("keywords:existence", {"keywords": ["fig", "oak"]}, ["Figs below oaks."], ["A fig.", "f.g oak"]),
    (
        "keywords:frequency", {"keyword": "fig", "frequency": 2, "relation": "at least"},
        ["fig, Fig"], ["fig"],
    ),
    ("keywords:frequency", {"keyword": "fig", "frequency": 2, "relation": "less than"}, ["fig"], ["fig fig"]),
    ("keywords:forbidden_words", {"forbidden_words": ["fig"]}, ["figs"], ["A Fig."]),
    (
        "keywords:letter_frequency", {"letter": "A", "let_frequency": 2, "let_relation": "at least"},
        ["aA"], ["a", "bb"],
    ),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, ["a, b"], ["a b c"]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, ["a b-c"], ["a b"]),
    (
        "length_constraints:number_paragraphs", {"num_paragraphs": 2},
        ["a *** b", "***\na\n***\nb\n***"], ["a", "a *** b *** c", "a *** *** b"],
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "figs"},
        ["a\n\nFigs, then.", 'a\n\n"Figs" then'], ["a\n\nOaks", "Figs", "figs\n\na\n\nb", "a\n\n\n\nfigs"],
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[a] [b]"], ["[a]", "[a b"]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, ["a\nP.S. b", "p. s. b"], ["PS b"]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["P.P.S. b"], ["P.S. b"]),
    ("detectable_content:postscript", {"postscript_marker": "N.B."}, ["n.b. a"], ["nxbx a"]),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, ["* a\n- b"], ["* a", "**a**\n- b"]),
    ("detectable_format:constrained_response", {}, ["Well. My answer is no."], ["No."]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, ["*a* *b*"], ["*a*", "* * *a*"]),
    (
        "detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2},
        ["SECTION 1\na\nSECTION 2\nb"], ["SECTION 1\na", "Section 1 Section 2"],
    ),
    ("detectable_format:json_format", {}, ['{"a": 1}', "```json\n[1]\n```"], ["{a: 1}", "so: 1"]),
    ("detectable_format:title", {}, ["<<figs>>\na"], ["<figs>", "<< >>"]),
    ("combination:two_responses", {}, ["a ****** b", "******a******b"], ["a******a", "a******b******c"]),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, ["say it. It."], ["It. Say it."]),
    ("startend:end_checker", {"end_phrase": "The end."}, ['a. the end."\n'], ["The end. a"]),
    ("startend:quotation", {}, ['"a"\n'], ['"a', '"']),
    ("punctuation:no_comma", {}, ["a b"], ["a, b"]),
]  # fmt: skip
ROW = {
    "key": 7, "prompt": "Write about figs without commas. Use 2 bullets.",
    "instruction_id_list": ["punctuation:no_comma", "detectable_format:number_bullet_lists"],
    "kwargs": [{}, {"num_bullets": 2}],
}  # fmt: skip


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(("name", "arguments", "right", "wrong"), CASES)
def test_an_instruction(name: str, arguments: dict[str, Any], right: list[str], wrong: list[str]) -> None:
    check_instruction(name, arguments)
    assert [text for text in right if not follows(text, name, arguments)] == []
    assert [text for text in [*wrong, "", " \n"] if follows(text, name, arguments)] == []


def test_every_instruction_that_is_checked_has_a_case() -> None:
    assert {name for name, *_ in CASES} == set(CHECKS) and len(CHECKS) == 20


def test_loosely_means_without_first_line_last_line_or_asterisks() -> None:
    text = 'Sure, here it is:\n**"Figs"**\nI hope so.'
    assert not follows(text, "startend:quotation", {})
    assert follows_loosely(text, "startend:quotation", {})
    assert follows_loosely('"a"\nBye.', "startend:quotation", {})
    assert not follows_loosely('A\nB\n"a"\nC\nD', "startend:quotation", {})


def test_a_prompt_is_right_if_all_of_its_instructions_are_followed(tmp_path: Path) -> None:
    task = IfEval()
    [example] = task.load(write(tmp_path / "input_data.jsonl", ROW), None)
    assert example.problem == Problem("ifeval/7", str(ROW["prompt"]))
    bullets = "detectable_format:number_bullet_lists"
    assert task.grade(example.problem, task.extract("- figs\n- oaks")) == Grade(True, "followed")
    assert task.grade(example.problem, task.extract("- figs")) == Grade(False, bullets)
    commas = task.extract("a, b\nc, d\n- e, f")
    assert task.grade(example.problem, commas) == Grade(False, "punctuation:no_comma")
    assert task.grade(example.problem, task.extract(" ")) == Grade(False, "no answer")


@pytest.mark.parametrize("reference", ["no JSON", "3", '["a"]', '[["a", 1]]', '[["made:up", {}]]'])
def test_another_reference_is_refused(reference: str) -> None:
    with pytest.raises(UsageError, match=r"a reference of ifeval looks like|cannot be checked"):
        IfEval().compare("a", reference)


def test_arguments_that_are_null_on_the_hub_are_left_out(tmp_path: Path) -> None:
    arguments = [dict.fromkeys(("num_bullets", "letter")), {"num_bullets": 2, "letter": None}]
    task = IfEval()
    [example] = task.load(write(tmp_path / "rows.jsonl", {**ROW, "kwargs": arguments}), None)
    assert json.loads(example.reference)[1] == ["detectable_format:number_bullet_lists", {"num_bullets": 2}]


@pytest.mark.parametrize(
    ("names", "arguments", "reason"),
    [
        ([3], [{}], "the instruction 3 cannot be checked"),
        (["punctuation:no_comma"], [], "must be lists of the same length"),
        (["punctuation:no_comma"], [None], "must hold an object for each instruction"),
        (["punctuation:no_comma"], [{"a": 1}], "takes no arguments, not a"),
        (["startend:end_checker"], [{}], "takes end_phrase, not none"),
        (["startend:end_checker"], [{"end_phrase": 1}], "end_phrase cannot be 1"),
        (["detectable_format:number_bullet_lists"], [{"num_bullets": "2"}], "num_bullets cannot be '2'"),
        (["keywords:existence"], [{"keywords": "fig"}], "keywords cannot be 'fig'"),
        (
            ["length_constraints:number_words"], [{"num_words": 3, "relation": "around"}],
            "relation cannot be 'around'",
        ),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_by_name(
    names: list[object], arguments: list[object], reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "rows.jsonl", {**ROW, "instruction_id_list": names, "kwargs": arguments})
    with pytest.raises(UsageError) as raised:
        IfEval().load(path, None)
    assert str(raised.value).startswith(f"{path}, line 1: ") and reason in str(raised.value)


LANGUAGE = {
    **ROW, "key": 8, "instruction_id_list": ["punctuation:no_comma", "language:response_language"],
    "kwargs": [{}, {"language": "de"}],
}  # fmt: skip


def test_prompts_that_cannot_be_checked_are_left_out_and_counted(tmp_path: Path) -> None:
    made_up = {**LANGUAGE, "key": 9, "instruction_id_list": ["made:up", "made:up"]}
    path = write(tmp_path / "rows.jsonl", LANGUAGE, ROW, made_up, LANGUAGE, {**ROW, "key": 10})
    task = IfEval()
    assert [example.problem.id for example in task.load(path, None)] == ["ifeval/7", "ifeval/10"]
    [note] = task.notes
    assert note.splitlines() == [
        f"rows left out: 3 of 5 of {path}",
        f"  2 x language:response_language cannot be checked (first: {path}, line 1: "
        "language:response_language cannot be checked)",
        f"  1 x made:up cannot be checked (first: {path}, line 3: made:up cannot be checked)",
    ]
    assert len(task.load(path, 1)) == 1 and "rows left out: 1 of 2 of" in task.notes[0]
    assert IfEval().load(write(path, ROW), None) and IfEval().notes == ()


def test_a_file_without_a_prompt_that_can_be_checked_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", LANGUAGE)
    reason = f"{path}: no prompt can be checked; the first, {path}, line 1: language:response_language"
    with pytest.raises(UsageError, match=reason):
        IfEval().load(path, None)


def test_a_run_says_what_was_left_out(tmp_path: Path) -> None:
    data = str(write(tmp_path / "rows.jsonl", LANGUAGE, ROW))
    words = ["--task", "ifeval", "--data", data, "--prompt", "raw", "--strategy", "cot", "--engine", "hf"]
    run = validated([*words, "--out", str(tmp_path / "run")])
    assert len(run.examples) == 1 and "1 of 2" in run.warnings[0]
