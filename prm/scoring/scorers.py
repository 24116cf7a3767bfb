"""Reward models as `StepScorer`s: on vLLM's pooling, on transformers, and several as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, count
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from prm.reading.encoder import Encoder
from prm.reading.layout import Layout
from prm.reading.zoo import RewardModel, find
from search.devices import WHOLE, DeviceShare
from search.errors import ContextError, ScorerError, UsageError
from search.limits import charge
from search.microbatch import Microbatcher
from search.types import Problem, Step, StepScore, StepScorer

if TYPE_CHECKING:
    from prm.scoring.model import Read
    from prm.scoring.tree_cache import Scored


def load_scorer(
    model: str, engine: Literal["hf", "vllm"], *, dtype: str = "auto", share: DeviceShare = WHOLE
) -> StepScorer:
    """The reward model of that name, as `prm.zoo.find` knows it, an ensemble too.

    part: of the machine, for vLLM; an ensemble divides it among its members. Raises UsageError.
    """
    entry = find(model)
    if entry.members:
        return Ensemble(entry.layout, (
            partial(load_scorer, member, engine, dtype=dtype, share=own)
            for member, own in zip(entry.members, share.split(len(entry.members)), strict=True)
        ))  # fmt: skip
    return HFScorer(model, dtype=dtype) if engine == "hf" else VLLMScorer(model, share=share, dtype=dtype)


class VLLMScorer:
    """A reward model on vLLM's pooling runner. Close it with `shutdown`.

    When all steps but the last are known, only the last token is pooled and the prefix comes from
    the cache, up to one block. Otherwise all tokens are pooled in one pass, which vLLM computes
    whole. Both give the same judgements.

    A sequence-classification checkpoint of the project's own is served as it is; of any other, vLLM
    serves the decoder, and the head is applied to its hidden states here.

    model: a name that `prm.zoo.find` knows. settings: vLLM's engine arguments.
    Raises UsageError before vLLM is started if it is no reward model.
    """

    def __init__(self, model: str, *, share: DeviceShare = WHOLE, **settings: Any):
        entry = _one(model)
        self._encode, self._read = _prepare(entry)
        self._layout = entry.layout
        from search.vllm_engine import start_engine

        if self._read is not None:
            from prm.scoring.vllm_decoders import architecture, register

            register()
            overrides = {"architectures": [architecture(entry)]}
            settings = {"hf_overrides": overrides, "tokenizer": entry.tokenizer, **settings}
        self._engine = start_engine(entry.model, share=share, runner="pooling", **settings)
        self._context = self._engine.model_config.max_model_len
        self._requests = count()

    def shutdown(self) -> None:
        self._engine.shutdown()

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        pieces = self._encode(problem.question, [step.text for step in steps])
        ids = [token for piece in pieces for token in piece]
        _check_length(problem, len(ids), self._context)
        if num_scored == len(steps) - 1:
            last = await self._pool(ids, "classify" if self._read is None else "embed")
            return self._scores(last.reshape(1, -1))
        every = await self._pool(ids, "token_classify" if self._read is None else "token_embed")
        if len(every) != len(ids):
            raise ScorerError(f"{problem.id}: vLLM pooled {len(every)} of {len(ids)} tokens")
        ends = list(accumulate(map(len, pieces)))[1 + num_scored :]
        return self._scores(every[[end - 1 for end in ends]])

    def _scores(self, pooled: Any) -> list[StepScore]:
        """pooled: [steps, labels] probabilities, or [steps, hidden] that the head is yet to read."""
        probabilities = pooled if self._read is None else self._read(pooled)
        return [self._layout.step_score(row) for row in probabilities.tolist()]

    async def _pool(self, ids: list[int], task: str) -> Any:
        """Of the last token, or, for "token_..." tasks, of each: [labels] or [hidden], [len(ids), ...]."""
        from vllm import PoolingParams
        from vllm.inputs import TokensPrompt

        from search.vllm_engine import final

        raw = None if self._read is None else False  # an embedding would be scaled to length 1
        prompt, params = TokensPrompt(prompt_token_ids=ids), PoolingParams(task=task, use_activation=raw)
        request = self._engine.encode(prompt, params, f"prm-{next(self._requests)}")
        result = await final(request, ScorerError)
        cached = result.num_cached_tokens or 0
        charge(prm_tokens=len(ids) - cached, prm_tokens_cached=cached)
        return result.outputs.data


def _prepare(entry: RewardModel) -> tuple[Encoder, Read | None]:
    """The encoder, and the head where vLLM does not apply it itself."""
    from prm.scoring.model import load_tokenizer, read_config, read_head

    encoder = Encoder(entry.layout, load_tokenizer(entry))
    architectures = read_config(entry).architectures or [""]
    if _is_plain(entry.layout) and architectures[0].endswith("ForSequenceClassification"):
        return encoder, None
    return encoder, read_head(entry, encoder)


def _is_plain(layout: Layout) -> bool:
    return layout.head == "linear" and layout.weights == "score" and len(layout.labels) > 1


class HFScorer:
    """A reward model on transformers; each token of the trees is computed once (`TreeCache`).

    model: a name that `prm.zoo.find` knows. dtype: as `search.precision.served` takes it.
    Raises UsageError before anything is loaded if it is no reward model.
    """

    def __init__(self, model: str, *, dtype: str = "auto", device: str | None = None, **cache: Any):
        entry = _one(model)
        import torch

        from prm.scoring.model import load_decoder, load_tokenizer, read_head
        from prm.scoring.tree_cache import TreeCache

        self._encode = Encoder(entry.layout, load_tokenizer(entry))
        self._layout = entry.layout
        read = read_head(entry, self._encode)
        decoder = load_decoder(entry, dtype)
        decoder.to(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))).eval()
        self._context = decoder.config.max_position_embeddings
        self._score: Microbatcher[list[list[int]], Scored] = Microbatcher(
            TreeCache(decoder, read, **cache).score, max_cost=256
        )

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        pieces = self._encode(problem.question, [step.text for step in steps])
        _check_length(problem, sum(map(len, pieces)), self._context)
        scored = await self._score(pieces)
        charge(prm_tokens=scored.computed, prm_tokens_cached=scored.cached)
        return [self._layout.step_score(p) for p in scored.probabilities[num_scored:]]


class Ensemble:
    """Reward models of which each judges every step; their probabilities are averaged
    (Lakshminarayanan et al., arXiv:1612.01474, section 2.4). Close it with `shutdown`.

    layout: what is calibrated of the average. members: to be called one by one; those that were loaded
        are closed again if one cannot be.
    """

    def __init__(self, layout: Layout, members: Iterable[Callable[[], StepScorer]]):
        self._layout = layout
        self._members: list[StepScorer] = []
        try:
            for load in members:
                self._members.append(load())
        except BaseException:
            self.shutdown()
            raise

    def shutdown(self) -> None:
        for member in self._members:
            if (shutdown := getattr(member, "shutdown", None)) is not None:
                shutdown()

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        said = await asyncio.gather(
            *(member.score(problem, steps, num_scored=num_scored) for member in self._members)
        )
        labels = self._layout.labels
        return [
            self._layout.step_score([fmean(getattr(one, label) for one in of_step) for label in labels])
            for of_step in zip(*said, strict=True)
        ]


def _one(model: str) -> RewardModel:
    entry = find(model)
    if entry.members:
        raise UsageError(f"{model} is an ensemble: prm.scoring.scorers.load_scorer loads its members")
    return entry


def _check_length(problem: Problem, n_tokens: int, context: int) -> None:
    if n_tokens > context:
        raise ContextError(
            f"{problem.id}: question and steps take {n_tokens} tokens, the reward model's context holds "
            f"{context}; nothing is cut in silence, so use a model with a longer context"
        )
