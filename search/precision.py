"""In which precision models compute on this machine."""

from __future__ import annotations


def has_bfloat16() -> bool:
    """Whether this machine computes in bfloat16. One that only imitates it is far slower than in float32."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_tile") or able.get("avx512_bf16"))


def served(dtype: str) -> str:
    """What to load weights in. "auto" is as they are stored, or float32 on a CPU without bfloat16."""
    import torch

    if dtype == "auto" and not torch.cuda.is_available() and not has_bfloat16():
        return "float32"
    return dtype
