"""A policy on transformers, for machines without vLLM. Concurrent calls are batched.

Each sample has its own random generator and its own row of logits, so it does not depend on the
rest of the batch (except for the rounding of batched kernels).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from search.errors import PolicyError
from search.limits import charge
from search.microbatch import Microbatcher
from search.policies.stepping import (
    Completion,
    Piece,
    Prefix,
    Sampling,
    SteppingPolicy,
    encode_between,
    encode_conversation,
    encode_prompt,
    token_pieces,
)
from search.policies.turns import end_ids
from search.precision import served
from search.prompts import Conversation, Prompt
from search.segment import SEGMENTERS, Segmenter
from search.types import Stop

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(slots=True, eq=False)
class _Request:
    token_ids: tuple[int, ...]
    stop: tuple[str, ...]
    max_tokens: int
    seed: int
    temperature: float
    cancelled: bool = False
    sampled: int = 0


UNBOUNDED = 1 << 20
"""Tokens of context of a model whose configuration names no bound."""


class HFPolicy(SteppingPolicy):
    """model: path or hub id of a causal language model. dtype: see `search.precision.served`.

    batch_tokens: upper bound on the prompt tokens of one batch.
    """

    def __init__(
        self,
        model: str,
        *,
        prompt: Prompt = Prompt(),
        segmenter: Segmenter = SEGMENTERS["newline"],
        sampling: Sampling = Sampling(),
        dtype: str = "auto",
        device: str | None = None,
        batch_tokens: int = 16_384,
    ):
        import torch
        from transformers import AutoTokenizer

        self._tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(model)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = _load(model, served(dtype))
        self._model.to(torch.device(device)).eval()
        self._eos = _end_tokens(self._model, self._tokenizer)
        context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        super().__init__(prompt, segmenter, sampling, context or UNBOUNDED)
        self._batch = Microbatcher(self._sample, max_cost=batch_tokens, cost=lambda r: len(r.token_ids))

    def _encode(self, question: str) -> Prefix:
        return encode_prompt(self._tokenizer, self._prompt, question)

    def _encode_conversation(self, asked: Conversation) -> Prefix:
        return encode_conversation(self._tokenizer, asked)

    def _between(self, prompt: Prompt, turn: str, text: str) -> Prefix:
        return encode_between(self._tokenizer, prompt, turn, text)

    @property
    def _end_ids(self) -> frozenset[int]:
        return end_ids(self._tokenizer) | self._eos

    async def _generate(
        self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, seed: int, temperature: float
    ) -> Completion:
        charge(prompt_tokens=len(prefix.token_ids))
        request = _Request(prefix.token_ids, tuple(stop), max_tokens, seed, temperature)
        try:
            return await self._batch(request)
        except asyncio.CancelledError:
            charge(policy_tokens=request.sampled)
            raise
        finally:
            request.cancelled = True  # no effect if it is done; else its batch continues without it

    def _sample(self, requests: Sequence[_Request]) -> list[Completion]:
        """Decode until the last request is done. Rows that are done or cancelled leave the batch."""
        import torch

        rows = [_Row(self, request) for request in requests]
        width = max(len(request.token_ids) for request in requests)
        pad = min(self._eos, default=0)
        ids = torch.tensor([[pad] * (width - len(r.token_ids)) + list(r.token_ids) for r in requests])
        mask = torch.tensor([[0] * (width - len(r.token_ids)) + [1] * len(r.token_ids) for r in requests])
        ids, mask = ids.to(self._model.device), mask.to(self._model.device)
        cache: Any = None
        active = list(rows)
        with torch.inference_mode():
            while True:
                positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
                out = self._model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                cache = out.past_key_values
                logits = out.logits[:, -1].float()
                if not torch.isfinite(logits).all():
                    raise PolicyError(
                        "the policy's logits are not finite; try another precision (--dtype float32)"
                    )
                ids = torch.tensor([[row.take(line)] for row, line in zip(active, logits, strict=True)])
                keep = [i for i, row in enumerate(active) if row.is_active]
                if not keep:
                    break
                if len(keep) < len(active):
                    index = torch.tensor(keep, device=self._model.device)
                    ids, mask = ids[keep], mask[index]
                    cache.batch_select_indices(index)
                    active = [active[i] for i in keep]
                ids = ids.to(self._model.device)
                mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
        return [Completion(row.pieces, row.stop or Stop.LENGTH) for row in rows]


def _load(model: str, dtype: str) -> PreTrainedModel:
    """A language model, or one that also reads images, which is given text only."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    config = AutoConfig.from_pretrained(model)
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    loader = AutoModelForCausalLM if causal else AutoModelForImageTextToText
    loaded: PreTrainedModel = loader.from_pretrained(model, config=config, dtype=dtype)
    return loaded


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """All tokens that end a turn: those of the generation configuration, and the tokenizer's, as in vLLM.

    A chat model often has several: one ends a turn, another a document.
    """
    ends: set[int] = set()
    for named in (model.generation_config, tokenizer):
        token = getattr(named, "eos_token_id", None)
        tokens = token if isinstance(token, list | tuple) else [token]
        ends |= {token for token in tokens if token is not None}
    return ends


class _Row:
    """The state of one request in a batch."""

    def __init__(self, policy: HFPolicy, request: _Request):
        import torch

        self.stop: Stop | None = None
        self._policy, self._request = policy, request
        self._sampled: list[int] = []
        self._logprobs: list[float] = []
        self._random = torch.Generator().manual_seed(request.seed)

    @property
    def is_active(self) -> bool:
        return self.stop is None and not self._request.cancelled

    @property
    def pieces(self) -> list[Piece]:
        pieces = token_pieces(
            self._policy._tokenizer, self._request.token_ids, self._sampled, self._logprobs
        )
        if self.stop is Stop.END:  # the end token is no text, also if it is not a special token
            pieces[-1] = replace(pieces[-1], text="")
        return pieces

    def take(self, logits: torch.Tensor) -> int:
        """Draw the next token from logits [vocabulary], and set `stop` if it ends the request."""
        token = self._draw(logits.cpu())
        self._sampled.append(token)
        self._request.sampled = len(self._sampled)
        self._logprobs.append(float(logits.log_softmax(-1)[token]))
        if token in self._policy._eos:
            self.stop = Stop.END
        elif self._request.stop and self._stops():
            self.stop = Stop.STEP
        elif len(self._sampled) >= self._request.max_tokens:
            self.stop = Stop.LENGTH
        return token

    def _draw(self, logits: torch.Tensor) -> int:
        import torch

        if self._request.temperature == 0:
            return int(logits.argmax())
        probabilities = (logits / self._request.temperature).softmax(-1)
        if self._policy._sampling.top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            ordered[ordered.cumsum(-1) - ordered > self._policy._sampling.top_p] = 0  # keeps the first
            probabilities = torch.zeros_like(probabilities).scatter(0, order, ordered)
        return int(torch.multinomial(probabilities, 1, generator=self._random))

    def _stops(self) -> bool:
        """True if the last token completes a stop string. Looks at the last few tokens only."""
        tail = self._policy._tokenizer.decode(self._sampled[-16:], skip_special_tokens=True)
        before = self._policy._tokenizer.decode(self._sampled[-16:-1], skip_special_tokens=True)
        return any(tail.count(stop) > before.count(stop) for stop in self._request.stop)
