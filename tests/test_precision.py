"""In what precision stored weights are served."""

from __future__ import annotations

import pytest

from search import precision


@pytest.mark.parametrize(
    ("gpu", "bfloat16", "requested", "served"),
    [
        (False, True, "auto", "auto"),
        (False, False, "auto", "float32"),
        (False, False, "bfloat16", "bfloat16"),
        (True, False, "auto", "auto"),  # float32 may not fit its memory: the engine says what to do
    ],
)
def test_auto_is_float32_only_where_a_cpu_would_imitate_bfloat16(
    gpu: bool, bfloat16: bool, requested: str, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: bfloat16)
    assert precision.served(requested) == served


@pytest.mark.parametrize("able", ["amx_tile", "avx512_bf16", None])
def test_a_cpu_says_whether_it_computes_in_bfloat16(
    able: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True, able: True} if able else {})
    assert precision.has_bfloat16() == (able is not None)
