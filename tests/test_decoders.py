"""Reward models on decoders beside those of the zoo's models: what the scorer reads is one plain pass."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from prm.reading.encoder import Encoder
from prm.reading.zoo import DECODERS, find
from prm.scoring.model import load_decoder, load_tokenizer
from prm.scoring.scorers import HFScorer, VLLMScorer
from prm.scoring.vllm_decoders import _CAUSAL, architecture
from search.errors import UsageError
from search.types import Problem, Step, Stop
from tests.zoo_models import HIDDEN, make_checkpoint

WINDOW = 16
MORE: dict[str, dict[str, Any]] = {
    "qwen3": {"head_dim": HIDDEN // 2},
    "gemma": {"head_dim": HIDDEN // 2},
    "gemma2": {
        "head_dim": HIDDEN // 2, "query_pre_attn_scalar": HIDDEN // 2, "sliding_window": WINDOW,
        "final_logit_softcapping": 0.5, "attn_logit_softcapping": 20.0,
    },
    "gemma3_text": {
        "head_dim": HIDDEN // 2, "query_pre_attn_scalar": HIDDEN // 2, "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}  # fmt: skip
SPEC = "model: {folder}\narchitecture: {kind}\nquestion: '{{question}}\\n'\nseparator: <extra_0>\n"
HEADS = {
    "linear": "head: linear\nweights: v_head.summary\nlabels: [positive]\n",
    "tokens": "head: tokens\ntokens: ['+', '-']\nlabels: [positive, negative]\n",
    "mean_logit": "head: mean_logit\nlabels: [positive]\n",
}
SOLUTION = ("She eats 3 eggs, so 16 - 3 = 13.", "13 + 2 = 15.", "So it is 15, or 15 + 0 = 15.", "The end.")
Q = Problem("p", "Janet's ducks lay 16 eggs per day. She eats three. How many are left?")


def specification(folder: Path, kind: str, head: str) -> str:
    spec = folder / f"{kind}-{head}.yaml"
    spec.write_text(SPEC.format(folder=folder / kind, kind=kind) + HEADS[head])
    return str(spec)


def steps(upto: int) -> list[Step]:
    return [Step(text, (), 0.0, Stop.STEP, 1) for text in SOLUTION[:upto]]


@torch.inference_mode()
def plain(spec: str, head: str) -> list[float]:
    """P(positive) after each step: one pass over all tokens, without a cache."""
    entry = find(spec)
    pieces = Encoder(entry.layout, load_tokenizer(entry))(Q.question, SOLUTION)
    decoder = load_decoder(entry, "float32").eval()
    ids = torch.tensor([[token for piece in pieces for token in piece]])
    assert ids.shape[1] > 3 * WINDOW, "the window matters"
    hidden = decoder(ids, use_cache=False).last_hidden_state[0]
    ends = torch.tensor([len(piece) for piece in pieces]).cumsum(0)[1:] - 1
    weights = load_file(Path(entry.model) / "model.safetensors")
    if head == "linear":
        logits = hidden[ends] @ weights["v_head.summary.weight"].T + weights["v_head.summary.bias"]
        return logits.sigmoid()[:, 0].tolist()  # type: ignore[no-any-return]
    cap = json.loads((Path(entry.model) / "config.json").read_text()).get("final_logit_softcapping")
    logits = hidden[ends] @ weights["lm_head.weight"].T
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    pair = load_tokenizer(entry).convert_tokens_to_ids(["+", "-"])
    return logits[:, pair].softmax(-1)[:, 0].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", MORE)
async def test_steps_are_read_as_in_one_plain_pass(kind: str, tmp_path: Path) -> None:
    make_checkpoint(tmp_path / kind, kind, "qwen", **MORE[kind])
    for head in ("linear", "tokens"):
        spec = specification(tmp_path, kind, head)
        want = pytest.approx(plain(spec, head), abs=1e-5)
        scorer = HFScorer(spec, dtype="float32")
        assert [s.positive for s in await scorer.score(Q, steps(4))] == want
        fresh = HFScorer(spec, dtype="float32")
        got = [(await fresh.score(Q, steps(k + 1), num_scored=k))[0].positive for k in range(4)]
        assert got == want
    assert architecture(find(spec)) == f"PRMDecoder{kind.capitalize()}"
    if kind == "gemma2":
        spec = specification(tmp_path, kind, "mean_logit")
        with pytest.raises(UsageError, match="caps its logits"):
            HFScorer(spec)


@pytest.mark.vllm
@pytest.mark.skipif(
    "PRM_SEARCH_EVERY_DECODER" not in os.environ,
    reason="starts two engines for each decoder: PRM_SEARCH_EVERY_DECODER=1 runs it",
)
@pytest.mark.parametrize("kind", MORE)
async def test_vllm_reads_steps_as_in_one_plain_pass(kind: str, tmp_path: Path) -> None:
    make_checkpoint(tmp_path / kind, kind, "qwen", **MORE[kind])
    for head in ("linear", "tokens"):
        spec = specification(tmp_path, kind, head)
        want = pytest.approx(plain(spec, head), abs=1e-5)
        async with VLLMScorer(spec, dtype="float32") as scorer:
            assert [s.positive for s in await scorer.score(Q, steps(4))] == want
            got = [(await scorer.score(Q, steps(k + 1), num_scored=k))[0].positive for k in range(4)]
            assert got == want


def test_every_decoder_has_its_class_on_vllm() -> None:
    assert set(_CAUSAL) == set(DECODERS) >= set(MORE)


def test_what_is_not_supported_is_named(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "gpt_neox", "gpt_neox", "qwen")
    (tmp_path / "mine.yaml").write_text(SPEC.format(folder=tmp_path / "gpt_neox", kind="gpt_neox"))
    with pytest.raises(UsageError, match="architecture 'gpt_neox' is not one of llama"):
        find(str(tmp_path / "mine.yaml"))
    config = json.loads((tmp_path / "gpt_neox" / "config.json").read_text())
    (tmp_path / "gpt_neox" / "config.json").write_text(json.dumps({**config, "model_type": "gpt_neox"}))
    (tmp_path / "mine.yaml").write_text(
        SPEC.format(folder=tmp_path / "gpt_neox", kind="").replace("architecture: \n", "") + HEADS["linear"]
    )
    with pytest.raises(UsageError, match=r"on vLLM, .* not on gpt_neox; use --engine hf"):
        architecture(find(str(tmp_path / "mine.yaml")))
