"""The precision in which models compute on this machine."""

from __future__ import annotations


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
