"""Attention that is not computed where a mask hides it: a tree's token sees its own path alone."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "blockwise"
"""What transformers is to be asked for, once this module is imported."""
BLOCK = 64
"""Tokens that are computed together. Neighbours in a tree see much the same."""


def blockwise_attention(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, dropout: float = 0.0, scaling: float | None = None, **more: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """On the CPU, each block of tokens with those alone that one of the block sees; elsewhere, the whole.

    query: [B, heads, L, size]. key, value: [B, groups, L, size]. attention_mask: [B, 1, L, L], whether the
    row's token sees the column's; None is what PyTorch calls causal. Returns [B, L, heads, size].
    """
    if attention_mask is None or query.device.type != "cpu":
        whole, _ = sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **more)
        return whole, None
    if (blocks := _blocks.get(attention_mask)) is None:
        blocks = _blocks[attention_mask] = [_blocks_of(mask[0]) for mask in attention_mask.unbind()]
    each = zip(query.unbind(), key.unbind(), value.unbind(), blocks, strict=True)
    out = torch.stack([_of_one(*one, dropout, scaling) for one in each])
    return out.transpose(1, 2).contiguous(), None


_blocks: MutableMapping[torch.Tensor, Sequence[_Blocks]] = WeakTensorKeyDictionary()
"""By mask: a forward pass shows each layer the same one."""


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Of one sequence. seen: by block, the places of the tokens that one of it sees. masks: by block, which
    of its tokens sees which of those, [block, seen]."""

    seen: Sequence[torch.Tensor]
    masks: Sequence[torch.Tensor]


def _blocks_of(mask: torch.Tensor) -> _Blocks:
    """mask: [L, L]."""
    rows = torch.split(mask, BLOCK)
    seen = [block.any(0).nonzero().squeeze(1) for block in rows]
    return _Blocks(seen, [block[:, places] for block, places in zip(rows, seen, strict=True)])


def _of_one(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, blocks: _Blocks, dropout: float,
    scaling: float | None,
) -> torch.Tensor:  # fmt: skip
    """Of one sequence: query, and what is returned, [heads, L, size]."""
    sizes, places = list(map(len, blocks.seen)), torch.cat([*blocks.seen])
    keys, values = (torch.split(some.index_select(1, places), sizes, 1) for some in (key, value))
    attended = [
        scaled_dot_product_attention(
            q[None], k[None], v[None], mask, dropout, scale=scaling, enable_gqa=len(q) != len(k)
        )[0]
        for q, k, v, mask in zip(torch.split(query, BLOCK, 1), keys, values, blocks.masks, strict=True)
    ]
    return torch.cat(attended, 1)


AttentionInterface.register(NAME, blockwise_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
