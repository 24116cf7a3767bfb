"""The blocks of a decoder that are not trained: their output is computed once for each sequence, and kept.

With the lower blocks frozen, every pass over the data computes the same hidden states below the trained
ones. Later passes read them from memory: on a CPU, where a forward pass through a pretrained model is most of
the work, two passes then cost little more than one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import torch

STORED = torch.bfloat16
"""Of the hidden states. Its range is float32's: some hidden states of pretrained models are very large."""


class Trunk:
    """A decoder in two parts, which share their weights with it: frozen lower blocks, trained upper ones.

    decoder: the model without its head, with blocks as Llama's. top: how many of its blocks are trained, at
    least 1 and fewer than all. Raises ValueError if the decoder cannot be cut there.
    """

    def __init__(self, decoder: Any, top: int):
        blocks = getattr(decoder, "layers", None)
        if blocks is None or not hasattr(decoder, "norm"):
            raise ValueError(f"a {type(decoder).__name__} has no blocks like Llama's")
        if not 1 <= top < len(blocks):
            name = type(decoder).__name__
            raise ValueError(f"{name} has {len(blocks)} blocks: give 1 to {len(blocks) - 1}")
        if len(set(getattr(decoder.config, "layer_types", None) or [None])) > 1:
            raise ValueError(f"the blocks of a {type(decoder).__name__} attend in different ways")
        self._lower = _part(decoder, layers=blocks[: len(blocks) - top], norm=torch.nn.Identity())
        self._upper = _part(decoder, layers=blocks[len(blocks) - top :])
        self._known = dict[bytes, torch.Tensor]()
        self._check(decoder)

    def _check(self, decoder: Any) -> None:
        """Raise ValueError if the parts do not compute what the whole does, as where it scales embeddings."""
        ids, mask = torch.arange(4)[None], torch.ones(1, 4, dtype=torch.int64)
        with torch.no_grad(), _evaluating(decoder):
            below = self._lower(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            ours = self._upper(inputs_embeds=below, attention_mask=mask, use_cache=False).last_hidden_state
            whole = decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        if not torch.allclose(ours, whole, rtol=1e-3, atol=1e-3):
            raise ValueError(f"a {type(decoder).__name__} does more than apply its blocks in turn")

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The last hidden states, [B, L, hidden]; those of padding mean nothing.

        All as `prm.training.sequences.collate` makes them, padded on the right.
        """
        lengths = _lengths(attention_mask, position_ids)
        keys = [_key(input_ids, attention_mask, position_ids, row, n) for row, n in enumerate(lengths)]
        missing = [row for row, key in enumerate(keys) if key not in self._known]
        if missing:
            with torch.no_grad(), _evaluating(self._lower):  # no dropout: what is kept is used in all epochs
                states = self._lower(
                    input_ids=input_ids[missing], attention_mask=attention_mask[missing], use_cache=False,
                    position_ids=None if position_ids is None else position_ids[missing],
                ).last_hidden_state
            for row, own in zip(missing, states, strict=True):
                self._known[keys[row]] = own[: lengths[row]].to("cpu", STORED)
        embedded = torch.zeros(*input_ids.shape, self._known[keys[0]].shape[-1], dtype=STORED)
        for row, key in enumerate(keys):
            embedded[row, : lengths[row]] = self._known[key]
        hidden: torch.Tensor = self._upper(
            inputs_embeds=embedded.to(input_ids.device, self._upper.norm.weight.dtype),
            attention_mask=attention_mask, position_ids=position_ids, use_cache=False,
        ).last_hidden_state
        return hidden


def _lengths(attention_mask: torch.Tensor, position_ids: torch.Tensor | None) -> list[int]:
    """The tokens of each row. Positions of padding are 0, as that of the first token."""
    if position_ids is None:
        lengths: list[int] = attention_mask.sum(1).tolist()
        return lengths
    return [max(row.nonzero().flatten().tolist(), default=0) + 1 for row in position_ids]


def _key(
    input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor | None, row: int, n: int
) -> bytes:
    """What the hidden states of a row depend on."""
    parts = [input_ids[row, :n]]
    if position_ids is not None:
        parts += [position_ids[row, :n], attention_mask[row, 0, :n, :n]]
    digest = sha256()
    for part in parts:
        digest.update(part.cpu().numpy().tobytes())
    return digest.digest()


def freeze_below(model: Any, top: int) -> None:
    """Exclude embeddings and all blocks but the last `top` from training; the head stays as it is."""
    decoder = model.model
    for module in (decoder.embed_tokens, *decoder.layers[: len(decoder.layers) - top]):
        module.requires_grad_(False)


@contextmanager
def _evaluating(decoder: Any) -> Iterator[None]:
    """The blocks without dropout, until the block ends."""
    trained = [module for module in decoder.modules() if module.training]
    for module in trained:
        module.training = False
    try:
        yield
    finally:
        for module in trained:
            module.training = True


def _part(decoder: Any, **modules: torch.nn.Module) -> Any:
    """The decoder with other modules in the place of some; the rest is shared."""
    part = copy.copy(decoder)
    part._modules = {**decoder._modules, **modules}
    return part
