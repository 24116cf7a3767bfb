"""In what precision stored weights are served."""

from __future__ import annotations

import json
from pathlib import Path

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


PRECISIONS = {
    "float32": ({"dtype": "float32"}, "bfloat16", "float32"),
    "float32, as older versions write it": ({"torch_dtype": "float32"}, "bfloat16", "float32"),
    "float32, beside a vision model": ({"text_config": {"dtype": "float32"}}, "bfloat16", "float32"),
    "unknown": ({}, "bfloat16", "float32"),
    "bfloat16": ({"dtype": "bfloat16"}, "auto", "auto"),
    "float16": ({"torch_dtype": "float16"}, "auto", "auto"),
}


@pytest.mark.parametrize("case", PRECISIONS)
@pytest.mark.parametrize("gpu", [True, False])
@pytest.mark.parametrize("bfloat16", [True, False])
def test_vllm_never_turns_float32_into_float16(
    case: str, gpu: bool, bfloat16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields, with_bfloat16, without = PRECISIONS[case]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **fields}))
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: bfloat16)
    on_old_cpu = not gpu and not bfloat16
    want = "float32" if on_old_cpu else with_bfloat16 if bfloat16 else without
    assert precision.served_by_vllm("auto", str(tmp_path)) == want
    for named in ("float16", "bfloat16", "float32"):
        assert precision.served_by_vllm(named, str(tmp_path)) == named, "what is asked for is served"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_a_configuration_does_not_say_the_weights_do(dtype: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert precision.stored(str(tmp_path)) is None
    save_file({"a": torch.zeros(2, dtype=getattr(torch, dtype))}, tmp_path / "model.safetensors")
    assert precision.stored(str(tmp_path)) == dtype


@pytest.mark.parametrize("able", ["amx_tile", "avx512_bf16", None])
def test_a_cpu_says_whether_it_computes_in_bfloat16(
    able: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True, able: True} if able else {})
    assert precision.has_bfloat16() == (able is not None)
