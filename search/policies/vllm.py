"""A policy on vLLM's `AsyncLLM`, with continuous batching, prefix caching and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from search.devices import WHOLE, DeviceShare
from search.errors import PolicyError
from search.limits import charge
from search.policies.stepping import (
    Completion,
    Prefix,
    Sampling,
    SteppingPolicy,
    encode_between,
    encode_conversation,
    encode_prompt,
    token_pieces,
)
from search.policies.turns import end_ids
from search.prompts import Conversation, Prompt
from search.segment import SEGMENTERS, Segmenter
from search.types import Stop
from search.vllm_engine import final, start_engine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
    from vllm import RequestOutput, SamplingParams
    from vllm.inputs import TokensPrompt


class VLLMPolicy(SteppingPolicy):
    """The engine starts when the policy is created; `close` ends it.

    model: a path or hub id.
    seeded: draw each sample with its own seed, so that a run is repeatable whatever else is in flight.
        Otherwise vLLM samples a whole batch at once, which may be faster.
    share: this engine's share of the machine. settings: vLLM's engine arguments.
    """

    def __init__(
        self,
        model: str,
        *,
        prompt: Prompt = Prompt(),
        segmenter: Segmenter = SEGMENTERS["newline"],
        sampling: Sampling = Sampling(),
        seeded: bool = True,
        share: DeviceShare = WHOLE,
        **settings: Any,
    ):
        self._engine = start_engine(model, share=share, **settings)
        self._tokenizer: PreTrainedTokenizerFast = self._engine.get_tokenizer()
        self._seeded, self._requests = seeded, count()
        super().__init__(prompt, segmenter, sampling, self._engine.model_config.max_model_len)

    async def close(self) -> None:
        self._engine.shutdown()

    async def reset(self) -> None:
        """Empty the prefix cache, e.g. between the rounds of a measurement."""
        await self._engine.reset_prefix_cache()

    def _encode(self, question: str) -> Prefix:
        return encode_prompt(self._tokenizer, self._prompt, question)

    def _encode_conversation(self, asked: Conversation) -> Prefix:
        return encode_conversation(self._tokenizer, asked)

    def _between(self, prompt: Prompt, turn: str, text: str) -> Prefix:
        return encode_between(self._tokenizer, prompt, turn, text)

    @property
    def _end_ids(self) -> frozenset[int]:
        return end_ids(self._tokenizer)

    async def _generate(
        self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, seed: int, temperature: float
    ) -> Completion:
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=temperature,
            top_p=self._sampling.top_p if temperature else 1.0,
            max_tokens=max_tokens,
            seed=seed if self._seeded and temperature else None,
            stop=list(stop),
            include_stop_str_in_output=True,
            logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt = TokensPrompt(prompt_token_ids=list(prefix.token_ids))
        result = await self._result(prompt, params, f"policy-{next(self._requests)}")
        if not result.outputs:
            raise PolicyError("vLLM returned nothing")
        [sampled] = result.outputs
        cached = result.num_cached_tokens or 0
        charge(prompt_tokens=len(prefix.token_ids) - cached, prompt_tokens_cached=cached)
        logprobs = [
            step[token].logprob for token, step in zip(sampled.token_ids, sampled.logprobs or [], strict=True)
        ]
        if sampled.finish_reason == "length":
            stopped = Stop.LENGTH
        elif sampled.finish_reason == "stop":
            stopped = Stop.STEP if isinstance(sampled.stop_reason, str) else Stop.END
        else:
            raise PolicyError(f"vLLM ended a request with finish_reason {sampled.finish_reason!r}")
        pieces = token_pieces(self._tokenizer, prefix.token_ids, sampled.token_ids, logprobs)
        if stopped is Stop.END and pieces:  # the end token is no text, also if it is not a special token
            pieces[-1] = replace(pieces[-1], text="")
        return Completion(pieces, stopped)

    async def _result(self, prompt: TokensPrompt, params: SamplingParams, request: str) -> RequestOutput:
        """The finished request. If this is cancelled, the request is too, and what it sampled is charged."""
        result = asyncio.ensure_future(final(self._engine.generate(prompt, params, request), PolicyError))
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            await self._engine.abort(request)
            with suppress(PolicyError):
                [sampled] = (await result).outputs
                charge(policy_tokens=len(sampled.token_ids))
            raise
