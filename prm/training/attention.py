"""Attention that skips what a mask hides: in a tree, a token attends only to its own path."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "blockwise"
"""The name of this implementation in transformers; importing this module registers it."""
BLOCK = 64
"""Query tokens computed together. Neighbours in a tree attend to much the same tokens.

The tokens that they attend to are padded to a multiple of it: a CPU's library compiles a kernel for each
shape that it meets, and in trees hardly one would come twice.
"""


def blockwise_attention(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, dropout: float = 0.0, scaling: float | None = None, **more: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """On a CPU, each block of queries attends only to the tokens that one of them can see.

    On other devices, and without a mask, this is PyTorch's attention.

    query: [B, heads, L, size]. key, value: [B, groups, L, size].
    attention_mask: whether the row's token attends to the column's, [B, 1, L, L]; None is causal.
    Returns [B, L, heads, size].
    """
    if attention_mask is None or query.device.type != "cpu":
        whole, _ = sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **more)
        return whole, None
    if (blocks := _blocks.get(attention_mask)) is None:
        blocks = _blocks[attention_mask] = [_blocks_of(mask[0]) for mask in attention_mask.unbind()]
    each = zip(query.unbind(), key.unbind(), value.unbind(), blocks, strict=True)
    out = torch.stack([_attend(*one, dropout, scaling) for one in each])
    return out.transpose(1, 2).contiguous(), None


_blocks: MutableMapping[torch.Tensor, Sequence[_Blocks]] = WeakTensorKeyDictionary()
"""By mask: all layers of a forward pass get the same one."""


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The blocks of one sequence.

    seen: by block, the positions that one of its tokens attends to, and 0 as padding.
    masks: by block, which of its tokens attends to which of these positions, [block, seen]; to padding, none.
    """

    seen: Sequence[torch.Tensor]
    masks: Sequence[torch.Tensor]


def _blocks_of(mask: torch.Tensor) -> _Blocks:
    """mask: [L, L]."""
    rows = torch.split(mask, BLOCK)
    seen = [block.any(0).nonzero().squeeze(1) for block in rows]
    short = [-len(positions) % BLOCK for positions in seen]
    masks = [pad(block[:, positions], (0, n)) for block, positions, n in zip(rows, seen, short, strict=True)]
    return _Blocks([pad(positions, (0, n)) for positions, n in zip(seen, short, strict=True)], masks)


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, blocks: _Blocks, dropout: float,
    scaling: float | None,
) -> torch.Tensor:  # fmt: skip
    """Attention of one sequence. query: [heads, L, size]. Returns [heads, L, size]."""
    sizes, positions = list(map(len, blocks.seen)), torch.cat([*blocks.seen])
    keys, values = (torch.split(some.index_select(1, positions), sizes, 1) for some in (key, value))
    shared = len(query) // len(key)
    scaled = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    each = zip(torch.split(scaled, BLOCK, 1), keys, values, blocks.masks, strict=True)
    return torch.cat([_attend_block(q, k, v, mask, dropout, shared) for q, k, v, mask in each], 1)


def _attend_block(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, dropout: float,
    shared: int,
) -> torch.Tensor:  # fmt: skip
    """Attention of one block, as products of matrices.

    On a CPU, and above all in bfloat16, PyTorch's own function takes longer, most of it backward.

    shared: heads that attend with the same keys; theirs are the rows of one matrix.
    query: scaled, [heads, block, size]. keys, values: [groups, seen, size]. mask: [block, seen].
    Returns [heads, block, size].
    """
    hidden = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, torch.finfo(query.dtype).min)
    rows = query.reshape(len(keys), -1, query.shape[-1])
    logits = torch.baddbmm(hidden.repeat(shared, 1).expand(len(keys), -1, -1), rows, keys.transpose(1, 2))
    return (torch.dropout(logits.softmax(-1), dropout, train=dropout > 0) @ values).reshape(query.shape)


AttentionInterface.register(NAME, blockwise_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
