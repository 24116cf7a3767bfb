"""A reward model and its loss as one module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from prm.training.examples import Form
from prm.training.sequences import IGNORED
from prm.training.trunk import Trunk


class Objective(torch.nn.Module):
    """A model and its loss. The whole computation is in `forward`, as DDP and FSDP require.

    model: has its head as the last layer.
    weights: of the classes, in the loss; None weighs all labels the same.
    language, every_token: weights of two additional losses while training (Cobbe et al., arXiv:2110.14168,
        sections 4.2 and 4.3): next-token prediction, with the embedding layer as the output layer, and the
        class loss at all tokens of a labelled step before its last.
    direct_only: for pairs, as `pair_loss` takes it.
    trunk: computes the model's hidden states, if its lower blocks are frozen.
    """

    weights: torch.Tensor | None

    def __init__(
        self, model: Any, form: Form, weights: Sequence[float] | None = None, *,
        language: float = 0.0, every_token: float = 0.0, direct_only: bool = False,
        trunk: Trunk | None = None,
    ):  # fmt: skip
        super().__init__()
        self.model = model
        self._form = form
        self._language, self._every_token, self._direct_only = language, every_token, direct_only
        self._trunk = trunk
        self.register_buffer("weights", torch.tensor(weights) if weights else None, persistent=False)
        self.config = model.config
        self._no_split_modules = getattr(model, "_no_split_modules", None)  # what FSDP shards one by one

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The state without an output layer that is tied to the embeddings: files store each tensor once."""
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        if getattr(self.config, "tie_word_embeddings", False):
            state = {name: tensor for name, tensor in state.items() if not name.endswith("lm_head.weight")}
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load what `state_dict` returned; a tied output layer is restored from the embeddings."""
        tied = super().state_dict().keys() - self.state_dict().keys()
        embeddings = self.model.get_input_embeddings().weight if tied else None
        return super().load_state_dict({**dict.fromkeys(tied, embeddings), **state_dict}, strict, assign)

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

        For pairs, also "rewards": of the chosen and the rejected solutions, [B / 2, 2].

        All but direct: see `prm.training.sequences.collate`.
        direct: for pairs, whether to train their absolute rewards, [B / 2]. The first half of the batch
            are the chosen solutions.
        """
        model = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        head = model.lm_head if self._form in ("tokens", "sft") else model.score
        if self._trunk is None:
            hidden = model.model(
                input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids
            ).last_hidden_state
        else:
            hidden = self._trunk(input_ids, attention_mask, position_ids)
        labelled = targets != IGNORED
        logits = head(hidden[labelled]).float()
        wanted = targets[labelled]
        if self._form == "pairs":
            assert direct is not None
            chosen, rejected = logits.squeeze(-1).chunk(2)
            loss = pair_loss(chosen, rejected, direct, direct_only=self._direct_only)
            return {"loss": loss, "rewards": torch.stack([chosen, rejected], 1).detach()}
        if self._form == "soft":
            return {"loss": soft_loss(logits, wanted)}
        loss = class_loss(logits, wanted, self.weights)
        if self.training and self._every_token and (early := inner != IGNORED).any():
            early_loss = class_loss(head(hidden[early]).float(), inner[early], self.weights)
            loss = loss + self._every_token * early_loss
        if self.training and self._language:
            embeddings = model.get_input_embeddings().weight
            loss = loss + self._language * language_loss(hidden, embeddings, input_ids, attention_mask)
        return {"loss": loss}


def add_dropout(model: torch.nn.Module, rate: float) -> None:
    """Apply dropout to each layer's residual updates (Vaswani et al., arXiv:1706.03762, section 5.4).

    Current decoders have none. Raises ValueError if the layers are not named like Llama's.
    """

    def drop(module: torch.nn.Module, _: Any, out: torch.Tensor) -> torch.Tensor:
        return F.dropout(out, rate, module.training)

    last = ("self_attn.o_proj", "mlp.down_proj")
    modules = [module for name, module in model.named_modules() if name.endswith(last)]
    if not modules:
        raise ValueError(f"a {type(model).__name__} has no self_attn.o_proj and mlp.down_proj")
    for module in modules:
        module.register_forward_hook(drop)


def class_loss(logits: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Cross-entropy with class weights, averaged over the labels.

    logits: [n, classes]. wanted: the classes, [n].
    The sum is divided by n, not by the sum of the weights, so that a label has the same weight in every
    batch.
    """
    return F.cross_entropy(logits, wanted.long(), weights, reduction="sum") / len(wanted)


def language_loss(
    hidden: torch.Tensor, embeddings: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """Next-token cross-entropy, over the tokens that attend to the token before them.

    At a fork of a tree, this is the first token of the first branch.

    hidden: [B, L, hidden]. embeddings: [vocabulary, hidden].
    input_ids, attention_mask: see `prm.training.sequences.collate`.
    """
    if attention_mask.dim() == 2:
        follows = attention_mask[:, 1:] == 1
    else:
        follows = attention_mask[:, 0].diagonal(-1, 1, 2)
    logits = F.linear(hidden[:, :-1][follows], embeddings).float()
    return F.cross_entropy(logits, input_ids[:, 1:][follows])


def soft_loss(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy with soft labels (Math-Shepherd, arXiv:2312.08935, equation 2).

    logits: of negative and positive, [n, 2]. values: P(positive), estimated by rollouts, [n].
    """
    return F.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], values)


def pair_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, direct: torch.Tensor, *, direct_only: bool = False
) -> torch.Tensor:
    """Eurus' objective (arXiv:2404.02078, section 3): Bradley-Terry, and direct rewards for some pairs.

    L = -log s(rc - rr) + direct * (-log s(rc) - log s(-rr)), averaged over pairs.
    chosen, rejected, direct: [pairs]. direct_only: leave Bradley-Terry out for the pairs that train direct
    rewards (the ablation "w/o BT").
    """
    difference = -F.logsigmoid(chosen - rejected)
    if direct_only:
        difference = difference * (1 - direct)
    absolute = -F.logsigmoid(chosen) - F.logsigmoid(-rejected)
    return (difference + direct * absolute).mean()
