"""Steps made wrong by rule."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.experiments.corrupt import corrupted, made_wrong
from prm.data.labels import LabelledSolution

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
    whole, *beginnings = corrupted(EGGS, 1.0)
    assert (whole.steps, whole.labels, whole.context) == (SENTENCES, (1, 1, 1, 1), ())
    wrong = [s for s in beginnings if s.labels[-1] == -1]
    assert [len(s.steps) - 1 for s in wrong] == [0, 1, 3], "all but the one that holds nothing to exchange"
    for s in wrong:
        assert s.steps[:-1] == SENTENCES[: len(s.steps) - 1] and s.steps[-1] != SENTENCES[len(s.steps) - 1]
    for s in beginnings:
        assert s.counted == [len(s.steps) - 1] and s.produced_by == "corruption"
        assert (s.question, s.source, s.split) == (EGGS.question, "gsm8k", "train")


def test_of_the_drawn_steps_all_are_made_wrong_and_some_have_an_earlier_one_beside_them() -> None:
    steps = tuple(f"{n} + 1 = {n + 1}" for n in range(400))
    many = LabelledSolution("q", steps, (1,) * 400, "s", "train", "human")
    whole, *beginnings = corrupted(many, 0.4)
    wrong = [s for s in beginnings if s.labels[-1] == -1]
    again = [s for s in beginnings if s.labels[-1] == 0]
    assert 120 < len(wrong) < 200 and 40 < len(again) < 90
    assert all(s.steps[-1] in s.steps[:-1] for s in again)
    assert list(corrupted(many, 0.0)) == [whole]


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_any_text_can_be_corrupted_and_always_in_the_same_way(steps: list[str]) -> None:
    solution = LabelledSolution("q", tuple(steps), (1,) * len(steps), "s", "train", "human")
    records = list(corrupted(solution, 1.0))
    assert records == list(corrupted(solution, 1.0))
    for record in records[1:]:
        if record.labels[-1] == -1:
            assert record.steps[-1] != records[0].steps[len(record.steps) - 1]
