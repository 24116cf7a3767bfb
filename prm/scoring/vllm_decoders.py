"""Decoders of reward models for vLLM: hidden states, whatever head the checkpoint has beside them.

vLLM serves any decoder as an embedding model, but refuses a checkpoint with weights it has no place
for, as reward models' heads are. These subclasses leave them out. They are registered in every
process of vLLM's through its plugin entry point (pyproject.toml, `vllm.general_plugins`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from prm.reading.zoo import HEADS_ON, RewardModel
from search.errors import UsageError

if TYPE_CHECKING:
    import torch

_CAUSAL = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}


def architecture(entry: RewardModel) -> str:
    """The name that `register` gave to the decoder of this model."""
    from prm.scoring.model import read_config

    kind = read_config(entry).model_type
    if kind not in HEADS_ON:
        raise UsageError(
            f"{entry.model}: no {kind} decoder is served on vLLM with a head of ours; use --engine hf"
        )
    return f"PRMDecoder{kind.capitalize()}"


def register() -> None:
    """Make the decoders known to vLLM in this process."""
    from vllm import ModelRegistry

    for kind in HEADS_ON:
        name = f"PRMDecoder{kind.capitalize()}"
        if name not in ModelRegistry.get_supported_archs():
            ModelRegistry.register_model(name, f"{__name__}:{name}")


def __getattr__(name: str) -> type:
    """PRMDecoderLlama and the like, made when vLLM first asks for them."""
    kind = name.removeprefix("PRMDecoder").lower()
    if kind not in HEADS_ON or not name.startswith("PRMDecoder"):
        raise AttributeError(name)
    return _decoder(name, kind)


def _decoder(name: str, kind: str) -> type:
    from vllm.model_executor.models.adapters import as_embedding_model
    from vllm.model_executor.models.registry import ModelRegistry

    base: Any = as_embedding_model(ModelRegistry._try_load_model_cls(_CAUSAL[kind]))

    def load_weights(self: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> Any:
        own = ("model.", "layers.", "embed_tokens.", "norm.")
        return base.load_weights(self, ((n, w) for n, w in weights if n.startswith(own)))

    made = type(name, (base,), {"load_weights": load_weights, "__module__": __name__, "__qualname__": name})
    globals()[name] = made
    return made
