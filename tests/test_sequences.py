"""Records laid out as trees: what they share is there once, and the loss is what it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForSequenceClassification

from prm.training import attention
from prm.training.objectives import Objective, language_loss
from prm.training.sequences import IGNORED, TREE_MULTIPLE, Branch, Example, chain, collate, trees

Q = [1, 2]


def branch(*steps: Sequence[int], **labels: int) -> Branch:
    """steps: token ids. labels: step_0=2 and so on."""
    return Branch([Q, *steps], {int(name[5:]): float(label) for name, label in labels.items()})


def test_siblings_share_what_comes_before_them() -> None:
    [tree] = trees([
        branch([10, 11], [20], step_0=2, step_1=0),
        branch([10, 11], [30, 31], step_1=2),
    ], 100)  # fmt: skip
    assert tree.token_ids.tolist() == [1, 2, 10, 11, 20, 30, 31]
    assert tree.targets.tolist() == [IGNORED, IGNORED, IGNORED, 2, 0, IGNORED, 2]
    assert tree.inner.tolist() == [IGNORED, IGNORED, 2, IGNORED, IGNORED, 2, IGNORED]
    assert tree.ends is not None and tree.ends.tolist() == [7, 7, 7, 7, 5, 7, 7]
    batch = collate([tree], pad=0)
    assert batch["position_ids"][:, :7].tolist() == [[0, 1, 2, 3, 4, 4, 5]]
    assert batch["input_ids"].shape == (1, TREE_MULTIPLE) and not batch["position_ids"][:, 7:].any()
    sees = batch["attention_mask"][0, 0, :7, :7].int().tolist()
    assert sees[4] == [1, 1, 1, 1, 1, 0, 0] and sees[6] == [1, 1, 1, 1, 0, 1, 1]


def test_two_labels_of_one_step_both_count() -> None:
    [tree] = trees([branch([10], [20], step_0=2, step_1=2), branch([10], [21], step_0=0, step_1=0)], 100)
    assert sorted(tree.targets[tree.targets != IGNORED].tolist()) == [0, 0, 2, 2]
    assert tree.token_ids.tolist().count(10) == 2, "the second label has a leaf of its own"


def test_a_tree_holds_no_more_than_it_may_and_questions_are_apart() -> None:
    other = Branch([[7], [8]], {0: 1.0})
    three = (branch([10, 11], step_0=2), other, branch([12, 13], step_0=2), branch([14], step_0=0))
    made = [tree.token_ids.tolist() for tree in trees(three, 6)]
    assert made == [[1, 2, 10, 11, 12, 13], [1, 2, 14], [7, 8]]
    long = branch(list(range(20)), step_0=1)
    assert len(next(trees([long], 6))) == 22, "a record is never cut"


@pytest.fixture(scope="module")
def objective() -> Iterator[Objective]:
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, pad_token_id=0, num_labels=3,
        attn_implementation=attention.NAME,
    ))  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "BLOCK", 4)  # so that the trees below take several
        yield Objective(model, "classes3", every_token=0.5)


steps = st.lists(st.integers(1, 3), min_size=1, max_size=3)
paths = st.lists(st.tuples(steps, st.sampled_from([None, 0.0, 1.0, 2.0])), min_size=1, max_size=4)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 2), paths), min_size=1, max_size=6), st.sampled_from([12, 1000]))
def test_the_loss_is_that_of_the_records_one_by_one(
    objective: Objective, drawn: list[tuple[int, list[tuple[list[int], float | None]]]], most: int
) -> None:
    branches = [
        Branch([[60, question], *(tokens for tokens, _ in path)], {
            i: label for i, (_, label) in enumerate(path) if label is not None
        })
        for question, path in drawn
    ]  # fmt: skip
    branches = [b for b in branches if b.targets]
    if not branches:
        return
    apart, gather = ([*map(chain, branches)], [*trees(branches, most)])
    count = [sum((e.targets != IGNORED).sum() for e in examples) for examples in (apart, gather)]
    assert count[0] == count[1]
    assert sum(map(len, gather)) <= sum(map(len, apart))
    losses, gradients = zip(*(_loss(objective, examples) for examples in (apart, gather)), strict=True)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def _loss(objective: Objective, examples: list[Example]) -> tuple[float, list[np.ndarray]]:
    objective.zero_grad()
    loss = objective(**collate(examples, pad=0))["loss"]
    loss.backward()
    return loss.item(), [p.grad.numpy().copy() for p in objective.parameters() if p.grad is not None]


def test_next_tokens_are_learnt_along_paths_only() -> None:
    """Steps 10 11 and 12 13 of question 1 2, laid out one after the other: 12 does not follow 11."""
    torch.manual_seed(0)
    hidden, words = torch.randn(2, TREE_MULTIPLE, 8), torch.randn(64, 8)
    predicted = (hidden @ words.T).log_softmax(-1)

    def learnt(batch: dict[str, torch.Tensor], *expected: tuple[int, int, int]) -> None:
        """expected: row, place and the token that was to be predicted there."""
        width = batch["input_ids"].shape[1]
        got = language_loss(hidden[:, :width], words, batch["input_ids"], batch["attention_mask"])
        mean = sum(predicted[e].item() for e in expected) / len(expected)
        assert got.item() == pytest.approx(-mean, rel=1e-5)

    fork = next(trees([branch([10, 11], step_0=2), branch([12, 13], step_0=0)], 100))
    short = chain(branch([14], step_0=2))
    expected = ((0, 0, 2), (0, 1, 10), (0, 2, 11), (0, 4, 13), (1, 0, 2), (1, 1, 14))
    learnt(collate([fork, short], pad=0), *expected)
    longer = chain(branch([15, 16], step_0=2))
    learnt(collate([short, longer], pad=0), (0, 0, 2), (0, 1, 14), (1, 0, 2), (1, 1, 15), (1, 2, 16))


@pytest.mark.parametrize("heads", [2, 1])
def test_attention_by_blocks_is_attention(heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """heads: of keys and values; two of queries may share one. The last block is shorter than the others."""
    monkeypatch.setattr(attention, "BLOCK", 4)
    torch.manual_seed(0)
    query = torch.randn(3, 2, 10, 8, requires_grad=True)
    key, value = torch.randn(2, 3, heads, 10, 8).requires_grad_()
    sees = (torch.rand(3, 1, 10, 10) < 0.3).tril() | torch.eye(10, dtype=torch.bool)
    scores = query @ key.mT / 3
    wanted = scores.masked_fill(~sees, -torch.inf).softmax(-1) @ value
    attended, _ = attention.blockwise_attention(torch.nn.Module(), query, key, value, sees, scaling=1 / 3)
    torch.testing.assert_close(attended, wanted.transpose(1, 2))
    weights = torch.randn(3, 10, 2, 8)
    for ours, theirs in zip(
        torch.autograd.grad((attended * weights).sum(), (query, key, value)),
        torch.autograd.grad((wanted.transpose(1, 2) * weights).sum(), (query, key, value)), strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(ours, theirs)
