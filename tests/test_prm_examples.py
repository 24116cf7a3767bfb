"""What reward models are trained on: examples of labelled solutions, class weights, losses, batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from prm.data.labels import LabelledSolution
from prm.reading.encoder import Encoder
from prm.reading.head import Head
from prm.reading.layout import Layout
from prm.reading.template import Template
from prm.training.examples import Examples, class_weights
from prm.training.objectives import class_loss, pair_loss, soft_loss
from prm.training.sequences import IGNORED, collate
from prm.training.trainer import Buckets
from search.errors import UsageError
from tests.zoo_models import TOKENIZERS

WORDS = {1: "left", 0: "How", -1: "eggs"}
"""What the models are to learn: a step is what its word says."""


def solution(n: int, labels: Sequence[int], **more: Any) -> LabelledSolution:
    steps = tuple(f"{WORDS[label]} {n % 7}" for label in labels)
    return LabelledSolution(f"Problem {n}?", steps, tuple(labels), "toy", "train", "checker", **more)


def encoder(labels: tuple[str, ...] = ("negative", "neutral", "positive")) -> Encoder:
    return Encoder(Layout(head=Head(labels=labels)), TOKENIZERS["llama3"]())


def test_labels_sit_on_the_last_token_of_their_step_and_context_has_none() -> None:
    made = Examples(encoder(), "classes3", 1000)
    [example] = made.of([solution(1, [1, 0, -1], context=(1,))])
    pieces = made.encoder("Problem 1?", solution(1, [1, 0, -1]).steps)
    ends = np.cumsum([len(piece) for piece in pieces])[1:] - 1
    at = np.flatnonzero(example.targets != IGNORED)
    assert at.tolist() == [ends[0], ends[2]]
    assert example.targets[at].tolist() == [2, 0]
    assert made.counts == {"labels +1": 1, "labels -1": 1}


FORMULA = "It becomes\n\\[ x = 1.\n\\]"
"""A step of PRM800K's kind, that a search cuts before the formula."""


def test_a_step_that_a_search_cuts_is_read_in_parts_and_only_the_last_is_labelled() -> None:
    steps = ("left 1", FORMULA, "So it is 1.")
    made = Examples(encoder(), "classes3", 1000)
    [example] = made.of([LabelledSolution("Q?", steps, (1, -1, 0), "toy", "train", "human", context=(2,))])
    pieces = made.encoder("Q?", ["left 1", "It becomes", "\\[ x = 1.\n\\]", "So it is 1."])
    assert example.token_ids.tolist() == [token for piece in pieces for token in piece]
    ends = np.cumsum([len(piece) for piece in pieces])[1:] - 1
    at = np.flatnonzero(example.targets != IGNORED)
    assert at.tolist() == [ends[0], ends[2]] and example.targets[at].tolist() == [2, 0]
    assert (example.inner[ends[0] + 1 : ends[1] + 1] == IGNORED).all(), "the first part is context"
    assert made.counts == {"labels +1": 1, "labels -1": 1, "labels of steps cut at inner line ends": 1}


@pytest.mark.parametrize("step", ["\\[ x = 1.\n\\]", "We see:\n\\[ x = 1. \\]", "x = f(\n    1,\n)"])
def test_a_step_that_a_search_keeps_whole_is_read_whole(step: str) -> None:
    made = Examples(encoder(), "classes3", 1000)
    [example] = made.of([LabelledSolution("Q?", (step,), (1,), "toy", "train", "human")])
    assert example.token_ids.tolist() == [token for piece in made.encoder("Q?", [step]) for token in piece]
    assert "labels of steps cut at inner line ends" not in made.counts


@pytest.mark.parametrize("form", ["outcome", "sft"])
def test_whole_solutions_are_read_in_the_same_parts(form: Any) -> None:
    encode = encoder(("negative", "positive"))
    given = LabelledSolution("Q?", (FORMULA,), (1,), "toy", "train", "human", outcome=True)
    parts = replace(given, steps=("It becomes", "\\[ x = 1.\n\\]"), labels=(1, 1))
    [one], [two] = (Examples(encode, form, 1000).of([solution]) for solution in (given, parts))
    assert one.token_ids.tolist() == two.token_ids.tolist()
    assert one.targets.tolist() == two.targets.tolist()


def test_where_steps_are_not_lines_they_are_read_whole() -> None:
    layout = Layout(Template(separator="\n\n"))
    made = Examples(Encoder(layout, TOKENIZERS["llama3"]()), "classes3", 1000)
    [example] = made.of([LabelledSolution("Q?", (FORMULA,), (1,), "toy", "train", "human")])
    assert example.token_ids.tolist() == [token for piece in made.encoder("Q?", [FORMULA]) for token in piece]


def test_a_whole_solution_that_is_read_ends_with_the_end_token() -> None:
    encode = encoder()
    whole, cut = Examples(encode, "sft", 1000).of([solution(1, [1, 1], outcome=True), solution(1, [1, 1])])
    assert [*cut.token_ids, *encode.end] == [*whole.token_ids] and len(encode.end) == 1
    begin = len(encode("Problem 1?", [])[0])
    assert [*whole.targets] == [IGNORED] * (begin - 1) + [*whole.token_ids[begin:], IGNORED]


def test_what_is_too_long_is_cut_at_the_head_of_the_question_never_through_steps() -> None:
    long = LabelledSolution("far " * 50 + "near?", ("left 1", "eggs 2"), (1, -1), "toy", "train", "human")
    whole = Examples(encoder(), "classes3", 1000).of([long])[0]
    made = Examples(encoder(), "classes3", 40)
    [example] = made.of([long])
    assert len(example) == 40 and example.token_ids[0] == whole.token_ids[0]  # what begins any text stays
    assert example.token_ids[1:].tolist() == whole.token_ids[-39:].tolist()
    assert (example.targets != IGNORED).sum() == 2
    assert made.counts["sequences cut at the head of the question"] == 1
    for short, cut in ((40, False), (8, True)):
        dropped = Examples(encoder(), "classes3", short, cut)
        with pytest.raises(UsageError, match="2 labels dropped, too long"):
            dropped.of([long])


def test_neutral_steps_are_what_they_are_said_to_be() -> None:
    for neutral, want in (("positive", [1, 1, 0]), ("negative", [1, 0, 0]), ("drop", [1, 0])):
        made = Examples(encoder(("negative", "positive")), "classes2", 1000, True, neutral)  # type: ignore[arg-type]
        [example] = made.of([solution(1, [1, 0, -1])])
        assert example.targets[example.targets != IGNORED].tolist() == want


def test_class_weights_make_classes_count_the_same() -> None:
    examples = Examples(encoder(), "classes3", 1000).of([solution(n, [1, 1, 0, -1]) for n in range(3)])
    assert class_weights(examples, 3) == pytest.approx([4 / 3, 4 / 3, 2 / 3])
    with pytest.raises(UsageError, match="no label of class 1"):
        class_weights(Examples(encoder(), "classes3", 1000).of([solution(1, [1, -1])]), 3)


def test_a_batch_without_labels_raises() -> None:
    [example] = Examples(encoder(), "classes3", 1000).of([solution(1, [1])])
    example.targets[:] = IGNORED
    with pytest.raises(UsageError, match="has no label"):
        collate([example], 0)


def test_losses_are_those_of_the_papers() -> None:
    def log_sigmoid(x: float) -> float:
        return -math.log1p(math.exp(-x))

    chosen, rejected = torch.tensor([1.0, 0.5]), torch.tensor([-0.5, 2.0])
    bt = [-log_sigmoid(1.5), -log_sigmoid(-1.5)]
    dr = -log_sigmoid(1.0) - log_sigmoid(0.5)
    loss = pair_loss(chosen, rejected, torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx((bt[0] + dr + bt[1]) / 2)
    value, logit = 0.3, 0.7
    want = -(value * log_sigmoid(logit) + (1 - value) * log_sigmoid(-logit))
    assert soft_loss(torch.tensor([[0.1, 0.8]]), torch.tensor([value])).item() == pytest.approx(want)
    two = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    weighted = (0.5 * -log_sigmoid(-1.0) + 2 * -log_sigmoid(1.0)) / 2
    assert class_loss(two, torch.tensor([0, 1]), torch.tensor([0.5, 2.0])).item() == pytest.approx(weighted)


def test_batches_are_of_like_length_and_every_example_is_in_one() -> None:
    lengths = [n % 50 for n in range(500)]
    buckets = Buckets(lengths, 10, seed=0)
    first, again = list(buckets), list(buckets)
    assert first == again and sorted(first) == list(range(500))
    spread = [max(b) - min(b) for b in ([lengths[i] for i in first[k : k + 10]] for k in range(0, 500, 10))]
    assert sum(spread) / len(spread) <= 2
    buckets.epoch = 1
    assert list(buckets) != first
