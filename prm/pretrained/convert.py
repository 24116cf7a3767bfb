"""From a GGUF file to a checkpoint folder as transformers and vLLM read it: bfloat16 weights and a tokenizer.

transformers unpacks the weights. What it leaves out of the configuration is put back from the file's header:
Llama 3's factors of the rotary frequencies (stored as a tensor), other ways to scale them, and that there
may be several ends of a solution. The weights are always bfloat16, so that a model has the same fingerprint
on every machine; `search.precision` computes in float32 where a CPU needs it.
"""

from __future__ import annotations

import os
import shutil
from math import pi
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prm.pretrained.header import Header, read_header
from prm.pretrained.tokenizer import restored_tokenizer
from search.errors import SearchError, UsageError

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""Of all models of the Llama 3.1, 3.2 and 3.3 families; the file holds only what follows from them."""
GEMMA_27B_LAYERS = 62
"""Gemma 3 27B scales attention by the width of a layer, the others by that of a head. No field says so."""


def convert(source: Path, folder: Path) -> None:
    """Write the checkpoint of a GGUF file to a new folder. Raises UsageError if it cannot be converted."""
    header = read_header(source)
    try:
        with TemporaryDirectory() as alone:
            _convert(_linked(source.resolve(), Path(alone)), header, folder)
    except SearchError:
        raise
    except Exception as error:  # the libraries' errors have no common base
        if isinstance(error, OSError) and error.errno is not None:  # transformers' own have no number
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"{source.name}: transformers cannot convert it: {lines[0]}") from error


def _linked(source: Path, folder: Path) -> Path:
    """The file under the same name in an empty folder: transformers reads what lies beside it, too."""
    file = folder / source.name
    try:
        os.symlink(source, file)
    except OSError:  # Windows, without the right to do so
        shutil.copy(source, file)
    return file


def _convert(file: Path, header: Header, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, GgufConfig

    tokenizer = restored_tokenizer(file, header)
    config = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
    _restore_config(file.name, config, header)
    model, loaded = AutoModelForCausalLM.from_pretrained(
        str(file.parent), gguf_file=file.name, config=config, dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True), output_loading_info=True,
    )  # fmt: skip
    if missing := sorted(loaded["missing_keys"]):
        raise UsageError(f"{file.name}: has no weights for {missing[0]} ({len(missing)} in all)")
    if (held := len(list(model.parameters()))) != header.tensors:
        raise UsageError(
            f"{file.name}: holds {header.tensors} weights, of which a {type(model).__name__} takes {held}"
        )
    ends = header.ends
    model.generation_config = GenerationConfig(
        bos_token_id=header.tokenizer("bos_token_id"),
        eos_token_id=ends[0] if len(ends) == 1 else ends or None,
        pad_token_id=header.tokenizer("padding_token_id"),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _restore_config(name: str, config: Any, header: Header) -> None:
    """Put back what transformers leaves out. Raises UsageError if it cannot be expressed."""
    if header.architecture == "gemma3":
        heads = header.get("attention.head_count")
        is_27b = header.get("block_count") == GEMMA_27B_LAYERS
        config.query_pre_attn_scalar = config.hidden_size // heads if is_27b else config.head_dim
        full = config.rope_parameters["full_attention"]  # the others see a short window, and are not scaled
        config.rope_parameters["full_attention"] = {**full, **_scaling(name, header)}
        return
    if config.model_type == "mistral":  # what transformers makes of a Llama of that name
        config.sliding_window = None
    config.rope_parameters = {**config.rope_parameters, **_scaling(name, header)}
    if header.rope_factors:
        config.rope_parameters = _llama3(name, config, header.rope_factors)


def _scaling(name: str, header: Header) -> dict[str, Any]:
    """The fields of transformers' `rope_parameters` for the way in which a file scales positions."""
    kind = header.get("rope.scaling.type", "none")
    factor = header.get("rope.scaling.factor")
    if kind == "none" or (kind == "linear" and factor in (None, 0.0, 1.0)):
        return {}
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    original = header.get("rope.scaling.original_context_length")
    if kind == "yarn" and factor and original:
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    raise UsageError(f"{name}: scales rotary positions in a way that is not known here ({kind})")


def _llama3(name: str, config: Any, factors: Any) -> dict[str, Any]:
    """Llama 3's `rope_parameters` from the factors by which a file divides the frequencies, checked.

    The formula is transformers' `_compute_llama3_parameters`.
    """
    theta, factor = config.rope_parameters["rope_theta"], max(factors)
    made = {"rope_type": "llama3", "rope_theta": theta, "factor": factor, **LLAMA3}
    low, high = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"]
    expected = []
    for i in range(len(factors)):
        turns = LLAMA3["original_max_position_embeddings"] * theta ** (-i / len(factors)) / (2 * pi)
        smooth = min(1.0, max(0.0, (turns - low) / (high - low)))
        expected.append(1 / ((1 - smooth) / factor + smooth))
    off = max(abs(a / b - 1) for a, b in zip(factors, expected, strict=True))
    if len(factors) * 2 != config.head_dim or off > 1e-3:
        raise UsageError(f"{name}: its factors of rotary frequencies are not those of Llama 3")
    return made
