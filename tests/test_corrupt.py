"""Steps made wrong by rule."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.corrupt import augmented, corrupted, made_wrong
from prm.labels import LabelledSolution

EGGS = LabelledSolution(
    "A crate holds 12 eggs. How many do 3 crates hold?",
    ("Each holds 12. So 3 hold 12 * 3 = 36.", "We are done.", "The answer is 36."), (1, 1, 1),
    "gsm8k", "train", "human",
)  # fmt: skip
SENTENCES = ("Each holds 12.", "So 3 hold 12 * 3 = 36.", "We are done.", "The answer is 36.")


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        ("We are done.", {None}),
        ("So $n > m$.", {"So $n < m$.", "So $m > m$.", "So $n > n$."}),
        ("x < y", {"x > y"}),
        ("It is \\sin a.", {None}),  # one name, and that of a function
    ],
)
def test_an_operator_or_a_variable_is_exchanged(step: str, wrong: set[str | None]) -> None:
    assert {made_wrong(step, "", Random(seed)) for seed in range(200)} == wrong


def test_a_number_becomes_another_that_was_said_or_one_near_it() -> None:
    made = {made_wrong("It is 36.", "Of 12 and 3:", Random(seed)) for seed in range(500)}
    assert {"It is 12.", "It is 3.", "It is 35.", "It is 37.", "It is 38.", "It is 46."} <= made
    assert "It is 36." not in made and None not in made
    assert {made_wrong("It is 0.5.", "", Random(s)) for s in range(200)} == {
        "It is 0.05.", "It is 0.25.", "It is 1.", "It is 5."
    }  # fmt: skip


def test_the_solution_in_sentences_and_beginnings_that_end_in_no_step_of_it() -> None:
    whole, *beginnings = corrupted(EGGS)
    assert (whole.steps, whole.labels) == (SENTENCES, (1, 1, 1, 1))
    assert whole.counted == [0, 1, 3], "only those that stand beside a wrong one"
    wrong = [s for s in beginnings if s.labels[-1] == -1]
    assert [len(s.steps) - 1 for s in wrong] == [0, 1, 3], "all but the one that holds nothing to exchange"
    for s in wrong:
        assert s.steps[:-1] == SENTENCES[: len(s.steps) - 1] and s.steps[-1] != SENTENCES[len(s.steps) - 1]
    for s in beginnings:
        assert s.counted == [len(s.steps) - 1] and s.produced_by == "corruption"
        assert (s.question, s.source, s.split) == (EGGS.question, "gsm8k", "train")


def test_what_was_asked_or_said_before_comes_again_beside_some_steps() -> None:
    steps = tuple(f"{n} + 1 = {n + 1}" for n in range(400))
    many = LabelledSolution("We count. What is 1?", steps, (1,) * 400, "s", "train", "human")
    again = [s for s in corrupted(many) if s.labels[-1] == 0]
    assert 120 < len(again) < 200
    assert all(s.steps[-1] in ("We count.", "What is 1?", *s.steps[:-1]) for s in again)
    firsts = [replace(many, steps=(step,), labels=(1,)) for step in steps]
    asked = {s.steps[-1] for first in firsts for s in corrupted(first) if s.labels[-1] == 0}
    assert asked == {"We count.", "What is 1?"}, "before a first step there is the question alone"
    assert all(s.labels[-1] != 0 for first in firsts for s in corrupted(replace(first, question=" ")))


def test_labels_keep_what_they_have_and_get_made_up_steps_beside_right_ones() -> None:
    steps = tuple(f"{n} + 1 = {n + 1}" for n in range(400))
    labels = tuple((1, 0, 1, -1)[n % 4] for n in range(400))
    given = LabelledSolution("q", steps, labels, "s", "train", "human", context=(0, 1, 2, 3, 4))
    same, *made = augmented(given, 0.5)
    assert same is given and list(augmented(given, 0.0)) == [given]
    beside = {len(s.steps) - 1 for s in made}
    assert all(labels[i] == 1 and i > 4 for i in beside), "right ones whose labels count"
    assert 60 < len(beside) < 140, "half of them"
    assert {s.labels[-1] for s in made} == {-1, 0}
    assert all(s.counted == [len(s.steps) - 1] for s in made)


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_any_text_can_be_corrupted_and_always_in_the_same_way(steps: list[str]) -> None:
    solution = LabelledSolution("q", tuple(steps), (1,) * len(steps), "s", "train", "human")
    records = list(corrupted(solution))
    assert records == list(corrupted(solution))
    for record in records[1:]:
        if record.labels[-1] == -1:
            assert record.steps[-1] != records[0].steps[len(record.steps) - 1]
