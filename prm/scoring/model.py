"""Loading reward models on transformers: the decoder, and the head that is applied to it here.

No remote code runs: the decoder is one of transformers' own classes, and the head's tensors are read by
name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.reading.checkpoint import check_on_hub
from prm.reading.encoder import Encoder
from prm.reading.zoo import RewardModel
from search.errors import UsageError
from search.precision import served

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Read = Callable[["torch.Tensor"], "torch.Tensor"]
"""From hidden states after the last norm, [..., hidden], to the labels' probabilities, [..., labels]."""

OUTPUT_EMBEDDINGS = (
    "lm_head.weight", "language_model.lm_head.weight",  # the latter two kinds: beside a vision model
    "model.embed_tokens.weight", "embed_tokens.weight",  # tied to the input embeddings
    "model.language_model.embed_tokens.weight", "language_model.model.embed_tokens.weight",
)  # fmt: skip
"""Names of the weights of a language model's output layer, in the order in which they are looked for."""


def load_tokenizer(entry: RewardModel) -> PreTrainedTokenizerFast:
    """Raises UsageError if there is none."""
    if not Path(entry.tokenizer).is_dir():
        check_on_hub(entry.tokenizer)
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(entry.tokenizer, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{entry.tokenizer}: no tokenizer: {_first_line(error)}") from error


def load_decoder(entry: RewardModel, dtype: str) -> PreTrainedModel:
    """The decoder without a head. Raises UsageError if the checkpoint lacks one of its weights."""
    from transformers import AutoModel
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # else it lists the head's weights as unexpected
    try:
        model, info = AutoModel.from_pretrained(
            entry.model, config=read_config(entry), dtype=served(dtype), trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"{entry.model}: {_first_line(error)}") from error
    finally:
        logging.set_verbosity(verbosity)
    if missing := sorted(info["missing_keys"]):
        raise UsageError(f"{entry.model} lacks {len(missing)} weights of its decoder, e.g. {missing[0]}")
    return model


def read_config(entry: RewardModel) -> Any:
    """The decoder's configuration, as one of transformers' own classes. Raises UsageError."""
    from transformers import AutoConfig, PreTrainedConfig

    try:
        if entry.architecture is None:
            return AutoConfig.from_pretrained(entry.model, trust_remote_code=False)
        fields, _ = PreTrainedConfig.get_config_dict(entry.model)
    except (OSError, ValueError) as error:
        raise UsageError(f"{entry.model}: {_first_line(error)}") from error
    for name in ("auto_map", "model_type"):
        fields.pop(name, None)
    return AutoConfig.for_model(entry.architecture, **fields)


def read_head(entry: RewardModel, encoder: Encoder) -> Read:
    """The head, computed in float32. Raises UsageError if a tensor is missing or has another size."""
    import torch

    head, labels = entry.layout.head, len(entry.layout.head.labels)
    layers: list[tuple[torch.Tensor, torch.Tensor | None]]
    if head.type in ("tokens", "mean_logit"):
        embeddings = read_tensor(entry.model, OUTPUT_EMBEDDINGS)
        ids = [encoder.token_id(name) for name in head.tokens]
        rows = embeddings[ids] if ids else embeddings.float().mean(0, keepdim=True)
        layers = [(rows, None)]
    else:
        parts = [head.weights] if head.type == "linear" else [f"{head.weights}.{n}" for n in (0, 2)]
        layers = [
            (read_tensor(entry.model, (f"{part}.weight",)), _optional(entry.model, f"{part}.bias"))
            for part in parts
        ]
    if layers[-1][0].shape[0] != labels:
        raise UsageError(
            f"{entry.model}: the head has {layers[-1][0].shape[0]} outputs, its layout names {labels} labels"
        )
    stack = [(w.float(), b.float() if b is not None else None) for w, b in layers]
    cap = _softcap(entry) if head.type in ("tokens", "mean_logit") else None
    if cap is not None and head.type == "mean_logit":
        raise UsageError(f"{entry.model} caps its logits, whose mean is then not that of a mean_logit head")

    def read(hidden: torch.Tensor) -> torch.Tensor:
        out = hidden.float()
        for depth, (weight, bias) in enumerate(stack):
            out = out.relu() if depth else out
            out = torch.nn.functional.linear(
                out, weight.to(out.device), bias.to(out.device) if bias is not None else None
            )
        if cap is not None:
            out = cap * torch.tanh(out / cap)
        return out.softmax(-1) if labels > 1 else out.sigmoid()

    return read


def _softcap(entry: RewardModel) -> float | None:
    """The bound of the language model's logits, as in Gemma 2 (arXiv:2408.00118, section 2); None without."""
    cap: float | None = getattr(read_config(entry).get_text_config(), "final_logit_softcapping", None)
    return cap


def read_tensor(model: str, names: Sequence[str]) -> torch.Tensor:
    """The first of the named tensors that the checkpoint has, on the CPU; no other tensor is read.

    Raises UsageError if it has none of them.
    """
    import torch
    from safetensors import safe_open

    for name in names:
        file = _file_of(model, name)
        if file is None:
            continue
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as tensors:
                if name in tensors.keys():  # noqa: SIM118 - not a dict
                    tensor: torch.Tensor = tensors.get_tensor(name)
                    return tensor
        elif name in (stored := torch.load(file, map_location="cpu", weights_only=True, mmap=True)):
            return stored[name]  # type: ignore[no-any-return]
    raise UsageError(f"{model} has no weights named {' or '.join(names)}")


def _optional(model: str, name: str) -> torch.Tensor | None:
    try:
        return read_tensor(model, (name,))
    except UsageError:
        return None


def _file_of(model: str, name: str) -> Path | None:
    """The file of a checkpoint (local or on the hub) that would hold the tensor; None if there is none."""
    from transformers.utils import cached_file

    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_gated_repo": False}
    for kind in ("model.safetensors", "pytorch_model.bin"):
        index = cached_file(model, f"{kind}.index.json", **quiet)
        if index is not None:
            file = json.loads(Path(index).read_text())["weight_map"].get(name)
            return Path(str(cached_file(model, file))) if file else None
        if (single := cached_file(model, kind, **quiet)) is not None:
            return Path(single)
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
