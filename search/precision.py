"""The precision in which models compute on this machine."""

from __future__ import annotations

from pathlib import Path


def has_bfloat16() -> bool:
    """True if this machine computes in bfloat16 natively. Emulated bfloat16 is far slower than float32."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_tile") or capabilities.get("avx512_bf16"))


def served(dtype: str) -> str:
    """The dtype to load weights in. "auto" keeps the stored one, or is float32 on a CPU without bfloat16."""
    import torch

    if dtype == "auto" and not torch.cuda.is_available() and not has_bfloat16():
        return "float32"
    return dtype


def served_by_vllm(dtype: str, model: str) -> str:
    """As `served`, for a checkpoint on vLLM: "auto" is bfloat16 for weights that are stored in float32, or
    float32 on a device without bfloat16.

    vLLM would serve them in float16 if they are a reward model's, or if a GPU has no bfloat16: its range is
    too small for many models.
    """
    dtype = served(dtype)
    if dtype != "auto" or stored(model) not in (None, "float32"):
        return dtype
    return "bfloat16" if has_bfloat16() else "float32"


def stored(model: str) -> str | None:
    """The dtype in which a checkpoint's weights are stored, as its configuration says, or else, in a local
    folder, as its first tensor is. None if that is unknown.

    model: a path or hub id.
    """
    from transformers import PreTrainedConfig

    try:
        fields, _ = PreTrainedConfig.get_config_dict(model)
    except OSError:  # a checkpoint in a format of its own, without a config.json
        fields = {}
    text = fields.get("text_config")
    for part in (fields, text if isinstance(text, dict) else {}):
        if name := part.get("dtype") or part.get("torch_dtype"):
            return str(name).removeprefix("torch.")
    file = next(Path(model).glob("*.safetensors"), None)
    if file is None:
        return None
    from safetensors import safe_open

    with safe_open(file, "pt") as tensors:
        first = tensors.get_slice(next(iter(tensors.keys())))
        return {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}.get(first.get_dtype())
