"""Tiny GGUF files, written by llama.cpp's own package from models that transformers made.

What llama.cpp's converter does to weights is done here: it permutes the rows of a Llama's queries and keys,
adds one to a Gemma's norms, and stores Llama 3's rotary factors as a tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
MERGES = ("a b", "Ċ Ċ", "Ċ Ġ", "Ġ Ġ", "Ġ a")
BYTE_LEVEL_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SPM_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
SPM_WORDS = ("▁", "▁▁", "a", "b", "ab", "▁ab", "1", "2", "\n")
LINES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
}  # fmt: skip
LLAMA_NAMES = LINES | {"ffn_norm": "post_attention_layernorm"}
GEMMA_NAMES = LINES | {
    "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}  # fmt: skip


@dataclass
class Gguf:
    """What is written: metadata by key, and tensors by name."""

    architecture: str
    fields: dict[str, Any]
    tensors: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path, **changes: Any) -> Path:
        """changes: of fields, with "__" for "."; None leaves a field out."""
        from gguf import GGUFWriter

        writer = GGUFWriter(path, self.architecture)
        fields = self.fields | {key.replace("__", "."): value for key, value in changes.items()}
        for key, value in fields.items():
            _add(writer, key, value)
        for name, tensor in self.tensors.items():
            writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def _add(writer: Any, key: str, value: Any) -> None:
    match value:
        case None:
            return
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def byte_level_vocabulary() -> tuple[list[str], list[int]]:
    """GPT-2's alphabet, a few merges, and special tokens first, as SmolLM2 has them; with their types."""
    from tokenizers.pre_tokenizers import ByteLevel

    plain = [*sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
    return [*BYTE_LEVEL_SPECIAL, *plain], [CONTROL] * len(BYTE_LEVEL_SPECIAL) + [NORMAL] * len(plain)


def sentencepiece_vocabulary() -> tuple[list[str], list[int]]:
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    kinds = [CONTROL] * 3 + [UNKNOWN] + [CONTROL] * 2 + [BYTE] * 256 + [NORMAL] * len(SPM_WORDS)
    return [*SPM_SPECIAL, *bytes_, *SPM_WORDS], kinds


def llama(**config: Any) -> tuple[Gguf, Any]:
    """A Llama with byte-level tokens, and the model it is made from. config: fields of its configuration."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokens, kinds = byte_level_vocabulary()
    size = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    made = LlamaConfig(
        vocab_size=len(tokens), intermediate_size=32, num_hidden_layers=2, max_position_embeddings=16384,
        tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=2, **(size | config),
    )  # fmt: skip
    torch.manual_seed(0)
    model = _rounded(LlamaForCausalLM(made))
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    state = model.state_dict()
    tensors = _named(state, names, LLAMA_NAMES, 2)
    for name in tensors:
        if ".attn_q." in name or ".attn_k." in name:
            heads = made.num_attention_heads if ".attn_q." in name else made.num_key_value_heads
            rows = tensors[name].reshape(heads, 2, 16, -1)
            tensors[name] = rows.swapaxes(1, 2).reshape(tensors[name].shape).copy()
    fields = {
        **_sizes("llama", made), "llama.rope.dimension_count": 32, "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds, "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2, "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHAT,
    }  # fmt: skip
    return Gguf("llama", fields, tensors), model


def gemma3() -> tuple[Gguf, Any]:
    """A Gemma 3 with SentencePiece's tokens, and the model it is made from."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    tokens, kinds = sentencepiece_vocabulary()
    made = Gemma3TextConfig(
        vocab_size=len(tokens), hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=32, query_pre_attn_scalar=32, sliding_window=4,
        max_position_embeddings=512, layer_types=["sliding_attention"] * 2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = _rounded(Gemma3ForCausalLM(made))
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    tensors = _named(model.state_dict(), names, GEMMA_NAMES, 2)
    tensors = {name: t + 1 if "norm" in name else t for name, t in tensors.items()}
    fields = {
        **_sizes("gemma3", made), "gemma3.attention.key_length": 32, "gemma3.attention.value_length": 32,
        "gemma3.rope.freq_base": 1e6, "gemma3.attention.sliding_window": 4, "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(i) for i in range(len(tokens))], "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 3, "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_space_prefix": False,
    }  # fmt: skip
    return Gguf("gemma3", fields, tensors), model


def _rounded(model: Any) -> Any:
    """With random weights that bfloat16 holds exactly, norms included."""
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_((torch.randn_like(weight) * 0.2).bfloat16())
            if weight.ndim == 1:  # one is added to a Gemma's, which must be exact
                weight.copy_((weight * 64).round() / 64)
    return model.eval()


def _named(
    state: Mapping[str, Any], names: Mapping[str, str], lines: Mapping[str, str], layers: int
) -> dict[str, Any]:
    """Weights by llama.cpp's names."""
    every = names | {
        f"blk.{i}.{ours}": f"model.layers.{i}.{theirs}"
        for i in range(layers) for ours, theirs in lines.items()
    }  # fmt: skip
    return {f"{ours}.weight": state[f"{theirs}.weight"].float().numpy() for ours, theirs in every.items()}


def _sizes(architecture: str, config: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "context_length": config.max_position_embeddings, "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers, "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps, "vocab_size": config.vocab_size,
    }  # fmt: skip
    return {f"{architecture}.{key}": value for key, value in fields.items()}


def rope_factors(model: Any) -> Sequence[float]:
    """What llama.cpp's converter stores for a model with Llama 3's rotary frequencies: unscaled by scaled."""
    scaled = model.model.rotary_emb.inv_freq.tolist()
    theta = model.config.rope_parameters["rope_theta"]
    return [theta ** (-i / len(scaled)) / frequency for i, frequency in enumerate(scaled)]
