"""A reward model and its loss as one module: what a trainer wraps, whatever wraps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from prm.examples import Form
from prm.sequences import IGNORED


class Objective(torch.nn.Module):
    """model: with a head as its last layer. All of a step happens in `forward`, so that DDP and FSDP
    see one module whose parameters are all used there.

    weights: of the classes, in the loss; None weighs every label the same.
    """

    weights: torch.Tensor | None

    def __init__(self, model: Any, form: Form, weights: Sequence[float] | None = None):
        super().__init__()
        self.model = model
        self._form = form
        self.register_buffer("weights", torch.tensor(weights) if weights else None, persistent=False)
        self.config = model.config
        self._no_split_modules = getattr(model, "_no_split_modules", None)  # what FSDP wraps one by one

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Without an output layer that is the embedding layer: a file holds each tensor once."""
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        if getattr(self.config, "tie_word_embeddings", False):
            state = {name: tensor for name, tensor in state.items() if not name.endswith("lm_head.weight")}
        return state

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        targets: torch.Tensor,
        direct: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """The mean loss over the labels of the batch, or over its pairs.

        input_ids, targets: [B, L], attention_mask and position_ids, as `prm.sequences.collate` makes them.
        direct: [B / 2], for pairs; the chosen ones come first.
        """
        inner = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        head = inner.lm_head if self._form in ("tokens", "sft") else inner.score
        hidden = inner.model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids
        ).last_hidden_state
        used = targets != IGNORED
        logits = head(hidden[used]).float()
        wanted = targets[used]
        if self._form == "pairs":
            assert direct is not None
            chosen, rejected = logits.squeeze(-1).chunk(2)
            return {"loss": pair_loss(chosen, rejected, direct)}
        if self._form == "soft":
            return {"loss": soft_loss(logits, wanted)}
        return {"loss": F.cross_entropy(logits, wanted.long(), self.weights)}


def soft_loss(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy with soft labels (Math-Shepherd, arXiv:2312.08935, equation 2).

    logits: [n, 2], negative then positive. values: [n], P(positive) as the rollouts estimate it.
    """
    return F.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], values)


def pair_loss(chosen: torch.Tensor, rejected: torch.Tensor, direct: torch.Tensor) -> torch.Tensor:
    """Eurus' objective (arXiv:2404.02078, section 3): Bradley-Terry, and direct rewards where asked.

    L = -log s(rc - rr) + direct * (-log s(rc) - log s(-rr)), meaned over pairs. All [pairs].
    """
    difference = -F.logsigmoid(chosen - rejected)
    absolute = -F.logsigmoid(chosen) - F.logsigmoid(-rejected)
    return (difference + direct * absolute).mean()
