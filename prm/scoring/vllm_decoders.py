"""Decoders for vLLM with a reward model's head, of any kind that `prm.reading.head` describes.

vLLM serves any decoder as a pooling model, but refuses a checkpoint with weights that the decoder does not
have, such as a reward model's head. These subclasses skip those weights, and pool with the head that
`HeadWorker.use_head` has read: only the labels' probabilities leave the engine, no hidden states. vLLM
registers them in each of its processes through its plugin entry point (pyproject.toml,
`vllm.general_plugins`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from prm.reading.zoo import DECODERS, RewardModel, find
from search.errors import UsageError

if TYPE_CHECKING:
    import torch

_CAUSAL = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM", "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}  # fmt: skip


def architecture(entry: RewardModel) -> str:
    """The name under which `register` registers the decoder of this model. Raises UsageError."""
    from prm.scoring.model import read_config

    kind = read_config(entry).model_type
    if kind not in DECODERS:
        raise UsageError(
            f"{entry.model}: on vLLM, this head is supported on {', '.join(DECODERS)} decoders only, not on "
            f"{kind}; use --engine hf"
        )
    return f"PRMDecoder{kind.capitalize()}"


def register() -> None:
    """Register the decoders with vLLM in this process."""
    from vllm import ModelRegistry

    for kind in DECODERS:
        name = f"PRMDecoder{kind.capitalize()}"
        if name not in ModelRegistry.get_supported_archs():
            ModelRegistry.register_model(name, f"{__name__}:{name}")


def __getattr__(name: str) -> type:
    """PRMDecoderLlama and so on, each made when vLLM first imports it."""
    kind = name.removeprefix("PRMDecoder").lower()
    if kind not in DECODERS or not name.startswith("PRMDecoder"):
        raise AttributeError(name)
    return _decoder(name, kind)


class HeadWorker:
    """What each of vLLM's workers can do besides (its `worker_extension_cls`)."""

    model_runner: Any

    def use_head(self, name: str) -> None:
        """Apply the head of this reward model (`prm.reading.zoo.find`). Raises UsageError."""
        from prm.reading.encoder import Encoder
        from prm.scoring.model import load_tokenizer, read_head

        entry = find(name)
        encoder = Encoder(entry.layout, load_tokenizer(entry))
        self.model_runner.get_model().read_states = read_head(entry, encoder)


def _decoder(name: str, kind: str) -> type:
    from vllm.model_executor.layers.pooler import DispatchPooler
    from vllm.model_executor.layers.pooler.activations import PoolerIdentity
    from vllm.model_executor.layers.pooler.seqwise import pooler_for_classify
    from vllm.model_executor.layers.pooler.tokwise import pooler_for_token_classify
    from vllm.model_executor.models.adapters import as_embedding_model
    from vllm.model_executor.models.registry import ModelRegistry

    base: Any = as_embedding_model(ModelRegistry._try_load_model_cls(_CAUSAL[kind]))

    def init_pooler(self: Any, vllm_config: Any, prefix: str = "") -> Any:
        def read(states: torch.Tensor) -> torch.Tensor:
            return self.read_states(states)  # type: ignore[no-any-return]

        config = vllm_config.model_config.pooler_config
        poolers = {"classify": pooler_for_classify, "token_classify": pooler_for_token_classify}
        return DispatchPooler(
            {task: make(config, classifier=read, act_fn=PoolerIdentity()) for task, make in poolers.items()}
        )

    def load_weights(self: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> Any:
        own = ("model.", "layers.", "embed_tokens.", "norm.")
        return base.load_weights(self, ((n, w) for n, w in weights if n.startswith(own)))

    made = type(name, (base,), {
        "load_weights": load_weights, "_init_pooler": init_pooler,
        "read_states": staticmethod(lambda states: states),  # while vLLM measures memory, before `use_head`
        "__module__": __name__, "__qualname__": name,
    })  # fmt: skip
    globals()[name] = made
    return made
