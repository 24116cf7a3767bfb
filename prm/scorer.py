"""The project's reward models as `StepScorer`s: on vLLM's pooling, and on transformers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, count
from typing import TYPE_CHECKING, Any

from prm.layout import read_layout
from search.errors import ContextError, ScorerError
from search.limits import charge
from search.microbatch import Microbatcher
from search.types import Judgement, Problem, Step

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from prm.tree_cache import Scored


class VLLMScorer:
    """A reward model on vLLM's pooling runner. Close it with `shutdown`.

    When all steps but the last are known, only the last token is pooled and the prefix comes from
    the cache, up to one block. Otherwise all tokens are pooled in one pass, which vLLM computes
    whole. Both give the same judgements.

    model: a path or hub id, with `prm.json`. settings: vLLM's engine arguments.
    Raises UsageError before anything is loaded if the head is not a reward model's.
    """

    def __init__(self, model: str, *, core: int | None = None, **settings: Any):
        self._layout = read_layout(model)
        from search.vllm_engine import start_engine

        self._engine = start_engine(model, core=core, runner="pooling", **settings)
        self._tokenizer: PreTrainedTokenizerFast = self._engine.get_tokenizer()
        self._context = self._engine.model_config.max_model_len
        self._requests = count()

    def shutdown(self) -> None:
        self._engine.shutdown()

    async def judge(self, problem: Problem, steps: Sequence[Step], *, known: int = 0) -> list[Judgement]:
        pieces = self._layout.encode(self._tokenizer, problem.question, steps)
        ids = [token for piece in pieces for token in piece]
        _check_length(problem, len(ids), self._context)
        if known == len(steps) - 1:
            last = await self._pool(ids, "classify")
            return [self._layout.judgement(last.tolist())]
        every = await self._pool(ids, "token_classify")
        ends = list(accumulate(map(len, pieces)))[1 + known :]
        return [self._layout.judgement(every[end - 1].tolist()) for end in ends]

    async def _pool(self, ids: list[int], task: str) -> Any:
        """The head's probabilities: [labels] for "classify", [len(ids), labels] for "token_classify"."""
        from vllm import PoolingParams
        from vllm.inputs import TokensPrompt

        prompt, params = TokensPrompt(prompt_token_ids=ids), PoolingParams(task=task)
        result = None
        try:
            async for output in self._engine.encode(prompt, params, f"prm-{next(self._requests)}"):
                result = output
        except Exception as error:
            raise ScorerError(f"vLLM failed: {error}") from error
        if result is None:
            raise ScorerError("vLLM returned nothing")
        cached = result.num_cached_tokens or 0
        charge(prm_tokens=len(ids) - cached, prm_tokens_cached=cached)
        return result.outputs.data


class HFScorer:
    """A reward model on transformers; each token of the trees is computed once (`TreeCache`).

    model: a path or hub id, with `prm.json`. dtype "auto" is the checkpoint's own.
    Raises UsageError before anything is loaded if the head is not a reward model's.
    """

    def __init__(self, model: str, *, dtype: str = "auto", device: str | None = None, **cache: Any):
        self._layout = read_layout(model)
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from prm.tree_cache import TreeCache

        self._tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(model)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        head = AutoModelForSequenceClassification.from_pretrained(model, dtype=dtype)
        head.to(torch.device(device)).eval()
        self._context = head.config.max_position_embeddings
        self._score: Microbatcher[list[list[int]], Scored] = Microbatcher(
            TreeCache(head, **cache).score, max_cost=256
        )

    async def judge(self, problem: Problem, steps: Sequence[Step], *, known: int = 0) -> list[Judgement]:
        pieces = self._layout.encode(self._tokenizer, problem.question, steps)
        _check_length(problem, sum(map(len, pieces)), self._context)
        scored = await self._score(pieces)
        charge(prm_tokens=scored.computed, prm_tokens_cached=scored.cached)
        return [self._layout.judgement(p) for p in scored.probabilities[known:]]


def _check_length(problem: Problem, n_tokens: int, context: int) -> None:
    if n_tokens > context:
        raise ContextError(
            f"{problem.id}: question and steps take {n_tokens} tokens, the reward model's context holds "
            f"{context}; nothing is cut in silence, so use a model with a longer context"
        )
