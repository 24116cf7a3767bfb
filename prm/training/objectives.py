"""A reward model and its loss as one module: what a trainer wraps, whatever wraps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from prm.training.examples import Form
from prm.training.sequences import IGNORED


class Objective(torch.nn.Module):
    """model: with a head as its last layer. All of a step happens in `forward`, so that DDP and FSDP
    see one module whose parameters are all used there.

    weights: of the classes, in the loss; None weighs every label the same.
    language, every_token: while training, how much the loss of next tokens, and that of classes at the
        tokens of labelled steps before their last, count beside the loss of labels (Cobbe et al.,
        arXiv:2110.14168, sections 4.2 and 4.3). The output layer for next tokens is the embedding layer.
    """

    weights: torch.Tensor | None

    def __init__(
        self, model: Any, form: Form, weights: Sequence[float] | None = None, *,
        language: float = 0.0, every_token: float = 0.0,
    ):  # fmt: skip
        super().__init__()
        self.model = model
        self._form = form
        self._language, self._every_token = language, every_token
        self.register_buffer("weights", torch.tensor(weights) if weights else None, persistent=False)
        self.config = model.config
        self._no_split_modules = getattr(model, "_no_split_modules", None)  # what FSDP wraps one by one

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Without an output layer that is the embedding layer: a file holds each tensor once."""
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        if getattr(self.config, "tie_word_embeddings", False):
            state = {name: tensor for name, tensor in state.items() if not name.endswith("lm_head.weight")}
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Of what `state_dict` gave: an output layer that is the embedding layer comes with that one."""
        left_out = super().state_dict().keys() - self.state_dict().keys()
        words = self.model.get_input_embeddings().weight if left_out else None
        return super().load_state_dict({**dict.fromkeys(left_out, words), **state_dict}, strict, assign)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        targets: torch.Tensor,
        inner: torch.Tensor,
        direct: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """The mean loss over the labels of the batch, or over its pairs.

        input_ids, targets, inner: [B, L], attention_mask and position_ids, as
        `prm.training.sequences.collate` makes them.
        direct: [B / 2], for pairs; the chosen ones come first.
        """
        model = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        head = model.lm_head if self._form in ("tokens", "sft") else model.score
        hidden = model.model(
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
        loss = class_loss(logits, wanted, self.weights)
        if self.training and self._every_token and (early := inner != IGNORED).any():
            on_the_way = class_loss(head(hidden[early]).float(), inner[early], self.weights)
            loss = loss + self._every_token * on_the_way
        if self.training and self._language:
            words = model.get_input_embeddings().weight
            loss = loss + self._language * language_loss(hidden, words, input_ids, attention_mask)
        return {"loss": loss}


def add_dropout(model: torch.nn.Module, rate: float) -> None:
    """Dropout on what attention and feed-forward add to their input (Vaswani et al., arXiv:1706.03762, 5.4).

    Decoders of today come without. Raises ValueError if the model's layers are not named as Llama's are.
    """

    def drop(module: torch.nn.Module, _: Any, out: torch.Tensor) -> torch.Tensor:
        return F.dropout(out, rate, module.training)

    adding = [m for name, m in model.named_modules() if name.endswith(("self_attn.o_proj", "mlp.down_proj"))]
    if not adding:
        raise ValueError(f"a {type(model).__name__} has no self_attn.o_proj and mlp.down_proj")
    for module in adding:
        module.register_forward_hook(drop)


def class_loss(logits: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Cross-entropy, weighted by class, by label.

    logits: [n, classes]. wanted: [n], classes. The sum is divided by n and not by the weights: a batch
    with many labels of a rare class counts more than one with few, as these labels do in all.
    """
    return F.cross_entropy(logits, wanted.long(), weights, reduction="sum") / len(wanted)


def language_loss(
    hidden: torch.Tensor, words: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of each token that sees the one before it, as predicted there.

    hidden: [B, L, hidden]. words: [vocabulary, hidden]. input_ids and attention_mask: as
    `prm.training.sequences.collate` makes them; after a fork in a tree, the first branch is the target.
    """
    if attention_mask.dim() == 2:
        seen = attention_mask[:, 1:] == 1
    else:
        seen = attention_mask[:, 0].diagonal(-1, 1, 2)
    return F.cross_entropy(F.linear(hidden[:, :-1][seen], words).float(), input_ids[:, 1:][seen])


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
