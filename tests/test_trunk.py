"""Training the last blocks of a model: those below are computed once, and stay as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from prm.training import attention
from prm.training.request import TrainRequest
from prm.training.trunk import Trunk, freeze_below
from search.errors import UsageError
from tests.test_prm_examples import WORDS
from tests.test_prm_train import data as data  # a fixture
from tests.test_prm_train import fit, request, scored
from tests.zoo_models import TOKENIZERS, VOCABULARY

pytestmark = [pytest.mark.slow]
BLOCKS, TOP = 3, 1
TRAINED = (f"model.layers.{BLOCKS - TOP}.", "model.norm.")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    model().save_pretrained(folder)
    tokenizer = TOKENIZERS["llama3"]()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    return folder


def model() -> Any:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=64, num_hidden_layers=BLOCKS,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256, pad_token_id=0,
    ))  # fmt: skip


def batch(*rows: list[int]) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))
    return {
        "input_ids": torch.tensor([row + [0] * (width - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
    }


ROWS = [[5, 6, 7, 8, 9], [5, 6, 7], [11, 3]]


@pytest.mark.parametrize("top", [1, 2])
def test_two_parts_compute_what_the_whole_model_does(top: int) -> None:
    whole = model()
    given = batch(*ROWS)
    hidden = Trunk(whole.model, top)(**given)
    wanted = whole.model(**given).last_hidden_state
    for row, tokens in enumerate(ROWS):
        n = len(tokens)
        torch.testing.assert_close(hidden[row, :n], wanted[row, :n], atol=0.02, rtol=0.02)


def test_what_is_below_is_computed_once_for_each_sequence() -> None:
    whole, seen = model(), list[int]()
    whole.model.layers[0].register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    trunk = Trunk(whole.model, TOP)
    seen.clear()
    first = trunk(**batch(*ROWS))
    again = trunk(**batch(ROWS[2], [1, 2, 3, 4, 5, 6], ROWS[0]))  # in other company, padded otherwise
    trunk(**batch(*ROWS))
    assert seen == [3, 1]
    torch.testing.assert_close(again[0, :2], first[2, :2], atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_the_whole_model_with_its_lower_blocks_frozen() -> None:
    halves, whole = model(), model()
    trunk = Trunk(halves.model, TOP)
    for one in (halves, whole):
        freeze_below(one, TOP)
    given = batch(*ROWS)
    real = given["attention_mask"].bool()
    trunk(**given)[real].square().mean().backward()  # type: ignore[no-untyped-call]
    whole.model(**given).last_hidden_state[real].square().mean().backward()
    names = {name for name, weight in halves.named_parameters() if weight.grad is not None}
    assert names and all(name.startswith(TRAINED) for name in names)
    for (name, ours), theirs in zip(halves.named_parameters(), whole.parameters(), strict=True):
        if name in names:
            assert cosine_similarity(ours.grad.flatten(), theirs.grad.flatten(), dim=0) > 0.99


def test_trees_are_told_apart_by_their_branches() -> None:
    """The same tokens in another tree have other hidden states; those of one tree are kept."""
    config = model().config
    config._attn_implementation = attention.NAME
    torch.manual_seed(0)
    whole, seen = LlamaForCausalLM(config), list[int]()
    whole.model.layers[0].register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    ids = torch.tensor([[5, 6, 7, 8, 0], [5, 6, 7, 8, 9]])
    fork = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 0, 0, 0, 1]])
    path = torch.ones(5, 5).tril()
    mask = torch.stack([fork, path]).bool()
    given = {"input_ids": ids, "attention_mask": mask[:, None], "position_ids": mask.sum(-1) - 1}
    trunk = Trunk(whole.model, TOP)
    hidden, wanted = trunk(**given), whole.model(**given).last_hidden_state
    torch.testing.assert_close(hidden[0, :4], wanted[0, :4], atol=0.02, rtol=0.02)
    torch.testing.assert_close(hidden[1], wanted[1], atol=0.02, rtol=0.02)
    seen.clear()
    trunk(**{name: tensor[:1] for name, tensor in given.items()})
    assert seen == []
    straight = path[:4, :4].bool()[None]
    trunk(input_ids=ids[:1, :4], attention_mask=straight[:, None], position_ids=straight.sum(-1) - 1)
    assert seen == [1]


@pytest.mark.parametrize("more", [{}, {"lora": 4}], ids=["all weights", "LoRA"])
@pytest.mark.parametrize("form", ["classes3", "outcome", "pairs"])
def test_the_top_learns_and_the_rest_stays(
    form: str, more: Any, base: Path, data: Path, tmp_path: Path
) -> None:
    out = fit(base, data, tmp_path / "out", form, top_layers=TOP, **more)
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    changed = {name for name in before.keys() & after.keys() if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(TRAINED) for name in changed)
    [right], [wrong] = scored(out, WORDS[1]), scored(out, WORDS[-1])
    assert right.value > wrong.value


def test_a_language_model_is_tuned_at_its_top(base: Path, data: Path, tmp_path: Path) -> None:
    out = fit(base, data, tmp_path / "out", "sft", steps=10, top_layers=TOP, lora=4)
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(f"model.layers.{BLOCKS - TOP}.") for name in changed)


def test_dropout_below_is_not_kept_for_all_epochs() -> None:
    whole = model()
    for block in whole.model.layers:
        block.self_attn.attention_dropout = 0.5
    whole.train()
    trunk = Trunk(whole.model, TOP)
    trunk(**batch(*ROWS))
    again = Trunk(whole.model, TOP)
    again(**batch(*ROWS))
    assert all(torch.equal(again._known[key], state) for key, state in trunk._known.items())
    assert whole.model.layers[0].training


def test_a_model_that_cannot_be_cut_there_is_refused(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--top-layers 3: LlamaModel has 3 blocks: give 1 to 2"):
        fit(base, data, tmp_path / "out", "classes3", top_layers=BLOCKS)
    mixed = Gemma3ForCausalLM(Gemma3TextConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=32, num_hidden_layers=6, head_dim=16,
        num_attention_heads=2, num_key_value_heads=1,
        layer_types=["sliding_attention"] * 5 + ["full_attention"],
    ))  # fmt: skip
    with pytest.raises(ValueError, match="attend in different ways"):
        Trunk(mixed.model, TOP)
    scaled = GraniteForCausalLM(GraniteConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=32, num_hidden_layers=3,
        num_attention_heads=2, num_key_value_heads=1, embedding_multiplier=12.0,
    ))  # fmt: skip
    with pytest.raises(ValueError, match="does more than apply its blocks"):
        Trunk(scaled.model, TOP)
    made: TrainRequest = request(base, data, tmp_path / "out", "classes3", top_layers=1, dropout=0.1)
    with pytest.raises(UsageError, match="--top-layers does not work with --dropout"):
        made.validate()
