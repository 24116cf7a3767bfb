"""The built-in policy before training: a small Llama, and how it begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.builtin.tokenizer import CONTEXT, build_tokenizer

HEAD = 32
"""Narrow heads, and many: what the models mostly do is look things up."""
SHARP = 6
"""Rotary frequencies, the highest, by which a distance is told from its neighbours."""


@dataclass(frozen=True, slots=True)
class Size:
    """hidden: a multiple of HEAD, the width of an attention head."""

    hidden: int
    layers: int


def new_policy(size: Size, seed: int, tokenizer: Any = None) -> LlamaForCausalLM:
    """A Llama in float32, with random weights but for `_wire_induction`.

    tokenizer: whose tokens it is to speak; by default the arithmetic task's.
    """
    torch.manual_seed(seed)
    tokenizer = tokenizer or build_tokenizer()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=-(-len(tokenizer) // 64) * 64,
            hidden_size=size.hidden,
            intermediate_size=3 * size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.hidden // HEAD,
            num_key_value_heads=size.hidden // HEAD,
            max_position_embeddings=CONTEXT,
            rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attn_implementation="eager",  # for short texts on a CPU, a fifth faster than the fused one
        )
    )
    _wire_induction(model)
    return model


@torch.no_grad()
def _wire_induction(model: LlamaForCausalLM) -> None:
    """Let the model begin with an induction head (Olsson et al. 2022, arXiv:2209.11895).

    Finding the value that stands beside a name takes two layers that are of no use without each other,
    which a small model does not discover in the time there is. So the weights begin as what training
    tends to make of them (mimetic initialisation, Trockman and Kolter 2023, arXiv:2305.09828), and
    training takes it from there. In the first layer, heads look one, two and three tokens back: all
    embeddings share one component, and queries and keys made of it meet, by the rotary angles, at one
    distance. What they see there goes to parts of the hidden state of its own. In the second layer, a
    head at a token that comes after X leans towards the tokens that come two after an earlier X, and
    says what stands there: after "Ann has", the 7 of "Ann has 7".
    """
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    hidden, half = model.config.hidden_size, HEAD // 2
    shared, own = 0, slice(1, hidden - 2 * HEAD)
    before, before_that = slice(hidden - 2 * HEAD, hidden - HEAD), slice(hidden - HEAD, hidden)
    embedding = model.model.embed_tokens.weight
    embedding[:, shared], embedding[:, hidden - 2 * HEAD :] = 10 * embedding.std(), 0.0

    angles = model.model.rotary_emb.inv_freq[:SHARP]
    for head in range(3):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        query, key = first.q_proj.weight[rows], first.k_proj.weight[rows]
        query[:, shared], key[:, shared] = 0.0, 0.0
        query[:SHARP, shared] = torch.cos(angles * (head + 1))
        query[half : half + SHARP, shared] = -torch.sin(angles * (head + 1))
        key[:SHARP, shared] = 1.0
    seen = torch.nn.init.orthogonal_(torch.empty(HEAD, hidden - 2 * HEAD - 1))
    for head, part in enumerate((before, before_that)):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        first.v_proj.weight[rows] = 0.0
        first.v_proj.weight[rows, own] = seen
        first.o_proj.weight[:, rows] = 0.0
        first.o_proj.weight[part, rows] = embedding.std() * torch.eye(HEAD)

    slow = [*range(half // 2, half), *range(half + half // 2, HEAD)]  # angles that hardly turn in a text
    compared = 2.5 * torch.nn.init.orthogonal_(torch.empty(len(slow), HEAD))
    for projection, part in ((second.q_proj, before), (second.k_proj, before_that)):
        projection.weight[:HEAD] = 0.0
        projection.weight[slow, part] = compared
    said = torch.nn.init.orthogonal_(torch.empty(HEAD, hidden - 2 * HEAD - 1))
    second.v_proj.weight[:HEAD] = 0.0
    second.v_proj.weight[:HEAD, own] = said
    second.o_proj.weight[:, :HEAD] = 0.0
    second.o_proj.weight[own, :HEAD] = embedding.std() * said.T
