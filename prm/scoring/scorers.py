"""Reward models as step scorers: on vLLM's pooling runner, on transformers, and in ensembles."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from array import array
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from hashlib import blake2b
from itertools import accumulate, count
from statistics import fmean
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from prm.reading.encoder import Encoder
from prm.reading.layout import Layout
from prm.reading.size import prm_bytes
from prm.reading.zoo import RewardModel, find
from search.devices import WHOLE, DeviceShare
from search.errors import ContextError, ScorerError, UsageError
from search.lifecycle import ManagedModel
from search.limits import charge
from search.microbatch import Microbatcher
from search.types import Problem, Step, StepScore, texts_read

if TYPE_CHECKING:
    from prm.scoring.tree_cache import Scored

Engine = Literal["hf", "vllm"]

REMEMBERED = 1 << 16
"""So many scores of steps are remembered on vLLM: the latest."""


class ManagedScorer(ManagedModel, ABC):
    """A `StepScorer` that is opened and closed.

    context: the most tokens that question and steps may take together; None if that is not known.
    """

    context: int | None = None

    @abstractmethod
    async def score(
        self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0
    ) -> list[StepScore]: ...


def load_scorer(
    model: str, engine: Engine, *, dtype: str = "auto", share: DeviceShare = WHOLE, calibrated: bool = True,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> ManagedScorer:  # fmt: skip
    """The reward model with this name. Use it in `async with`.

    A single model is loaded here, the members of an ensemble when it is opened.

    model: a name that `prm.reading.zoo.find` knows. share: of the machine; an ensemble divides it among its
        members. calibrated: False leaves out the model's own calibration (not that of an ensemble's members).
        settings: vLLM's engine arguments, for each model.
    Raises UsageError.
    """
    entry = find(model)
    if entry.members:
        shares = share.split(len(entry.members), [prm_bytes(member) for member in entry.members])
        return Ensemble(entry.layout if calibrated else entry.layout.uncalibrated, [
            partial(load_scorer, member, engine, dtype=dtype, share=own, settings=settings)
            for member, own in zip(entry.members, shares, strict=True)
        ])  # fmt: skip
    if engine == "hf":
        return HFScorer(model, dtype=dtype, share=share, calibrated=calibrated)
    return VLLMScorer(model, dtype=dtype, share=share, calibrated=calibrated, **settings)


class VLLMScorer(ManagedScorer):
    """A reward model on vLLM's pooling runner.

    A prefix is read from vLLM's cache, except for at most one block. When only the last step is to be scored,
    only the last token is pooled, otherwise all tokens that are computed; a step that ends in the cached
    prefix gets a request of its own. Of calls that share a question, the first goes ahead, and the others
    then find it in the cache. Scores are remembered: equal steps after equal steps are computed once.

    vLLM serves the project's own sequence-classification checkpoints as they are. For other reward models
    it serves the decoder, and `open` has the engine apply their head.

    model: a name that `prm.reading.zoo.find` knows. calibrated: as `load_scorer` takes it.
    settings: vLLM's engine arguments.
    Raises UsageError; if `model` is not a reward model, before vLLM is started.
    """

    def __init__(
        self, model: str, *, share: DeviceShare = WHOLE, calibrated: bool = True, **settings: Any
    ):
        entry = _single(model)
        from cachetools import LRUCache  # vLLM brings it along

        from prm.scoring.model import load_tokenizer, read_head

        self._encode = Encoder(entry.layout, load_tokenizer(entry))
        self._layout = entry.layout if calibrated else entry.layout.uncalibrated
        self._head = None if _served_as_it_is(entry) else model
        self._opened = self._head is None
        from search.vllm_engine import start_engine

        if self._head is not None:
            from prm.scoring.vllm_decoders import HeadWorker, architecture, register

            register()
            read_head(entry, self._encode)  # raises what the engine would, before it starts
            settings = {
                "hf_overrides": {"architectures": [architecture(entry)]}, "tokenizer": entry.tokenizer,
                "worker_extension_cls": f"{HeadWorker.__module__}.{HeadWorker.__qualname__}", **settings,
            }  # fmt: skip
        self._engine = start_engine(entry.model, share=share, runner="pooling", **settings)
        self.context = self._engine.model_config.max_model_len
        self._requests = count()
        self._begun: LRUCache[str | bytes, asyncio.Event] = LRUCache(REMEMBERED)
        self._rows: LRUCache[bytes, list[float]] = LRUCache(REMEMBERED)

    async def open(self) -> None:
        if self._head is not None:
            await self._engine.collective_rpc("use_head", args=(self._head,))
        self._opened = True

    async def close(self) -> None:
        self._engine.shutdown()

    async def reset(self) -> None:
        """Empty the prefix cache, e.g. between the rounds of a measurement."""
        await self._engine.reset_prefix_cache()
        self._begun.clear()
        self._rows.clear()

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        if not self._opened:
            raise ScorerError("the reward model is not open: use it in `async with`")
        pieces = self._encode(problem.question, texts_read(steps))
        ids = [token for piece in pieces for token in piece]
        check_length(problem, len(ids), self.context)
        ends = list(accumulate(map(len, pieces)))[1 + num_scored :]
        async with self._after_the_first(problem.question), self._after_the_first(_digest(ids)):
            keys = [_digest(ids[:end]) for end in ends]
            if all(key in self._rows for key in keys):
                charge(prm_tokens_cached=len(ids))
            else:
                self._rows.update(zip(keys, await self._read(problem, ids, ends), strict=True))
            return [self._layout.step_score(self._rows[key]) for key in keys]

    async def _read(self, problem: Problem, ids: list[int], ends: Sequence[int]) -> list[list[float]]:
        """Probabilities at the end of each step, [labels]. ends: numbers of tokens up to there."""
        if len(ends) == 1:
            return [(await self._pool(ids[: ends[0]], "classify")).flatten().tolist()]
        pooled = await self._pool(ids, "token_classify")
        cached = len(ids) - len(pooled)
        if not 0 <= cached < len(ids):
            raise ScorerError(f"{problem.id}: vLLM pooled {len(pooled)} of {len(ids)} tokens")
        rows = [
            pooled[end - 1 - cached] if end > cached else await self._pool(ids[:end], "classify")
            for end in ends
        ]
        return [row.flatten().tolist() for row in rows]

    @asynccontextmanager
    async def _after_the_first(self, key: str | bytes) -> AsyncIterator[None]:
        """Wait while the first call with this key is in flight: until it ends, vLLM shares nothing of it."""
        if first := self._begun.get(key):
            await first.wait()
            yield
            return
        self._begun[key] = first = asyncio.Event()
        try:
            yield
        finally:
            first.set()

    async def _pool(self, ids: list[int], task: str) -> Any:
        """Probabilities after the last token, [labels], or for "token_classify" after each one that is
        computed, [tokens, labels].
        """
        from vllm import PoolingParams
        from vllm.inputs import TokensPrompt

        from search.vllm_engine import final

        prompt = TokensPrompt(prompt_token_ids=ids)
        params = PoolingParams(task=task, skip_reading_prefix_cache=False)
        request = self._engine.encode(prompt, params, f"prm-{next(self._requests)}")
        try:
            result = await final(request, ScorerError)
        except asyncio.CancelledError:
            charge(prm_tokens=len(ids))  # at most; vLLM does not say how far it came
            raise
        cached = result.num_cached_tokens or 0
        charge(prm_tokens=len(ids) - cached, prm_tokens_cached=cached)
        return result.outputs.data


def _digest(ids: Sequence[int]) -> bytes:
    return blake2b(array("q", ids), digest_size=16).digest()


def _served_as_it_is(entry: RewardModel) -> bool:
    """Whether vLLM knows the head."""
    from prm.scoring.model import read_config

    architectures = read_config(entry).architectures or [""]
    return _is_classifier(entry.layout) and architectures[0].endswith("ForSequenceClassification")


def _is_classifier(layout: Layout) -> bool:
    """Whether the head is that of transformers' sequence-classification models."""
    head = layout.head
    return head.type == "linear" and head.weights == "score" and len(head.labels) > 1


class HFScorer(ManagedScorer):
    """A reward model on transformers. Each token of the trees is computed once (`TreeCache`).

    model: a name that `prm.reading.zoo.find` knows. dtype: as `search.precision.served` takes it.
    share, calibrated: as `load_scorer` takes them. cache: arguments of `TreeCache`; by default, `max_bytes`
        is a quarter of the memory that is free once the model is loaded, or of this share of it.
    Raises UsageError; if `model` is not a reward model, before anything is loaded.
    """

    def __init__(
        self,
        model: str,
        *,
        dtype: str = "auto",
        device: str | None = None,
        share: DeviceShare = WHOLE,
        calibrated: bool = True,
        **cache: Any,
    ):
        entry = _single(model)
        import torch

        from prm.scoring.memory import free_memory
        from prm.scoring.model import load_decoder, load_tokenizer, read_head
        from prm.scoring.tree_cache import TreeCache

        self._encode = Encoder(entry.layout, load_tokenizer(entry))
        self._layout = entry.layout if calibrated else entry.layout.uncalibrated
        read = read_head(entry, self._encode)
        decoder = load_decoder(entry, dtype)
        decoder.to(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))).eval()
        self.context = getattr(decoder.config.get_text_config(), "max_position_embeddings", None)
        on_gpu = decoder.device.type == "cuda"
        free = torch.cuda.mem_get_info(decoder.device)[0] if on_gpu else free_memory()
        cache.setdefault("max_bytes", int(free * share.memory) // 4)
        self._score: Microbatcher[list[list[int]], Scored] = Microbatcher(
            TreeCache(decoder, read, **cache).score, max_cost=256
        )

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        pieces = self._encode(problem.question, texts_read(steps))
        check_length(problem, sum(map(len, pieces)), self.context)
        scored = await self._score(pieces)
        charge(prm_tokens=scored.computed, prm_tokens_cached=scored.cached)
        return [self._layout.step_score(p) for p in scored.probabilities[num_scored:]]


class Ensemble(ManagedScorer):
    """Several reward models that score every step; their probabilities are averaged
    (Lakshminarayanan et al., arXiv:1612.01474, section 2.4).

    layout: describes and calibrates the average. loaders: load one member each, in `open`, one after the
        other; if one fails, the members loaded before it are closed again.
    """

    def __init__(self, layout: Layout, loaders: Sequence[Callable[[], ManagedScorer]]):
        self._layout, self._loaders = layout, loaders
        self._members: list[ManagedScorer] = []
        self._opened = AsyncExitStack()

    async def open(self) -> None:
        async with AsyncExitStack() as stack:
            self._members = [await stack.enter_async_context(load()) for load in self._loaders]
            self._opened = stack.pop_all()
        self.context = min((m.context for m in self._members if m.context is not None), default=None)

    async def close(self) -> None:
        self._members = []
        await self._opened.aclose()

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        if not self._members:
            raise ScorerError("the ensemble is not open: use it in `async with`")
        by_member = await asyncio.gather(
            *(member.score(problem, steps, num_scored=num_scored) for member in self._members)
        )
        labels = self._layout.head.labels
        return [
            self._layout.step_score([fmean(getattr(score, label) for score in scores) for label in labels])
            for scores in zip(*by_member, strict=True)
        ]


def _single(model: str) -> RewardModel:
    entry = find(model)
    if entry.members:
        raise UsageError(f"{model} is an ensemble: load it with prm.scoring.load_scorer")
    return entry


def check_length(problem: Problem, n_tokens: int, context: int | None) -> None:
    """Raise ContextError if question and steps take more tokens than the context holds."""
    if context is not None and n_tokens > context:
        raise ContextError(
            f"{problem.id}: question and steps take {n_tokens} tokens, but the reward model's context holds "
            f"{context}; nothing is truncated, so use a model with a longer context"
        )
