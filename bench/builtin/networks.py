"""The built-in policy before training: a small Llama and its initial weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.builtin.tokenizer import CONTEXT, build_tokenizer

HEAD = 32
"""Width of an attention head. Heads are narrow and many, because the models mostly look values up."""
SHARP = 6
"""How many of the highest rotary frequencies are used to tell a distance from its neighbours."""


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a Llama. hidden: a multiple of `HEAD`."""

    hidden: int
    layers: int


def new_policy(size: Size, seed: int, tokenizer: Any = None) -> LlamaForCausalLM:
    """A Llama in float32 with random weights, except for those that `_wire_induction` sets.

    tokenizer: None is the arithmetic task's.
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
            attn_implementation="eager",  # a fifth faster than fused attention on short texts on a CPU
        )
    )
    _wire_induction(model)
    return model


@torch.no_grad()
def _wire_induction(model: LlamaForCausalLM) -> None:
    """Initialise the first two layers with an induction head (Olsson et al. 2022, arXiv:2209.11895).

    Looking up the value that follows a name needs two layers, each useless without the other. A small
    model does not discover this in a short training run, so the weights start out as training tends to
    leave them (mimetic initialisation, Trockman and Kolter 2023, arXiv:2305.09828).

    In the first layer, heads attend one, two and three tokens back: all embeddings share one component,
    and queries and keys that read it match at one distance because of the rotary angles. Each head writes
    what it reads there to its own part of the hidden state. In the second layer, a head at the token after
    X attends to the tokens two places after an earlier X and predicts what it finds there: after "Ann has",
    it predicts the 7 of an earlier "Ann has 7".
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
    copied = torch.nn.init.orthogonal_(torch.empty(HEAD, hidden - 2 * HEAD - 1))
    for head, part in enumerate((before, before_that)):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        first.v_proj.weight[rows] = 0.0
        first.v_proj.weight[rows, own] = copied
        first.o_proj.weight[:, rows] = 0.0
        first.o_proj.weight[part, rows] = embedding.std() * torch.eye(HEAD)

    slow = [*range(half // 2, half), *range(half + half // 2, HEAD)]  # hardly rotate within a text
    compared = 2.5 * torch.nn.init.orthogonal_(torch.empty(len(slow), HEAD))
    for projection, part in ((second.q_proj, before), (second.k_proj, before_that)):
        projection.weight[:HEAD] = 0.0
        projection.weight[slow, part] = compared
    predicted = torch.nn.init.orthogonal_(torch.empty(HEAD, hidden - 2 * HEAD - 1))
    second.v_proj.weight[:HEAD] = 0.0
    second.v_proj.weight[:HEAD, own] = predicted
    second.o_proj.weight[:, :HEAD] = 0.0
    second.o_proj.weight[own, :HEAD] = embedding.std() * predicted.T
