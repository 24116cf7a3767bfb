"""What a GGUF file says of its model, beyond what transformers reads (specification: ggml/docs/gguf.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import UsageError

ARCHITECTURES = ("llama", "gemma3")
ROPE_FACTORS = "rope_freqs.weight"
"""The tensor with Llama 3's factors of the rotary frequencies; it is no weight of the model."""
CONTROL = 3
"""The type of tokens that are never text: ends of turns, paddings."""
END_TOKENS = frozenset((
    "</s>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|end|>", "<|eot_id|>", "<|eom_id|>",
    "<|EOT|>", "<eos>", "<end_of_turn>",
))  # fmt: skip
"""Tokens that end a text or a turn in whatever vocabulary they are. llama.cpp finds them by their names, too:
a file has fields for three ends, and is often written with one."""

MERGES_IGNORED = frozenset(("llama3", "llama-v3", "llama-bpe", "falcon3", "tekken"))
"""Values of `tokenizer.ggml.pre` for which llama.cpp takes a word that is a token as it is, and adds BOS
where the file does not say."""
VOCABULARY_ARRAYS = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type")


@dataclass(frozen=True, slots=True)
class Header:
    """fields: the metadata; of arrays, those of the vocabulary only. tensors: how many weights it has.

    rope_factors: of Llama 3's tensor, [head_dim / 2]; empty if there is none.
    """

    fields: Mapping[str, Any]
    tensors: int
    rope_factors: Sequence[float]

    @property
    def architecture(self) -> str:
        return str(self.fields["general.architecture"])

    def get(self, key: str, default: Any = None) -> Any:
        """A field of the architecture, e.g. "context_length"."""
        return self.fields.get(f"{self.architecture}.{key}", default)

    def tokenizer(self, key: str, default: Any = None) -> Any:
        """A field of the tokenizer, e.g. "add_bos_token"."""
        return self.fields.get(f"tokenizer.ggml.{key}", default)

    def token(self, key: str) -> str | None:
        """The text of a special token by the name of its field, e.g. "bos"; None if there is none."""
        index = self.tokenizer(f"{key}_token_id")
        return None if index is None else str(self.tokenizer("tokens")[index])

    @property
    def adds_bos(self) -> bool:
        """Whether texts begin with BOS: where the file does not say, SentencePiece's and Llama 3's do."""
        usual = self.tokenizer("model") == "llama" or self.tokenizer("pre") in MERGES_IGNORED
        return bool(self.tokenizer("add_bos_token", usual))

    @property
    def ends(self) -> list[int]:
        """The ids of all tokens that end a solution, that of the file's EOS field first."""
        named = (self.tokenizer(f"{name}_token_id") for name in ("eos", "eot", "eom"))
        kinds = zip(self.tokenizer("tokens"), self.tokenizer("token_type", ()), strict=False)
        by_text = (i for i, (text, kind) in enumerate(kinds) if kind == CONTROL and text in END_TOKENS)
        return list(dict.fromkeys(index for index in (*named, *by_text) if index is not None))


def read_header(file: Path) -> Header:
    """Read a file's header. Raises UsageError if it is no GGUF file of a kind that can be converted."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise UsageError(
            f"{file.name}: reading GGUF files needs the package gguf: python -m pip install gguf==0.19.0"
        ) from error
    try:
        reader = GGUFReader(file)
        wanted = {
            key: field for key, field in reader.fields.items()
            if key in VOCABULARY_ARRAYS or not _is_array(field)
        }  # fmt: skip
        fields = {key: field.contents() for key, field in wanted.items()}
        names = [tensor.name for tensor in reader.tensors]
        factors = [float(x) for t in reader.tensors if t.name == ROPE_FACTORS for x in t.data.ravel()]
    except (ValueError, KeyError, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise UsageError(f"{file.name}: not a readable GGUF file: {error}") from error
    header = Header(fields, len(names) - (ROPE_FACTORS in names), factors)
    _check(file.name, header)
    return header


def _is_array(field: Any) -> bool:
    from gguf import GGUFValueType

    return bool(field.types) and field.types[0] is GGUFValueType.ARRAY


def _check(name: str, header: Header) -> None:
    """Raise UsageError for what transformers would convert to a model that computes something else."""
    if "general.architecture" not in header.fields or header.architecture not in ARCHITECTURES:
        kind = header.fields.get("general.architecture", "not named")
        raise UsageError(
            f"{name}: its architecture is {kind}; only files of {' and '.join(ARCHITECTURES)} are converted"
        )
    if header.fields.get("split.count", 1) > 1:
        raise UsageError(f"{name} is one of several parts: join them first (llama-gguf-split --merge)")
    if not header.tensors:
        raise UsageError(f"{name} holds no weights, only a vocabulary")
    if not header.tokenizer("tokens"):
        raise UsageError(f"{name} holds no tokenizer")
    if header.get("expert_count", 0):
        raise UsageError(f"{name} is a mixture of experts, which is not converted")
    width, rotated = header.get("attention.key_length"), header.get("rope.dimension_count")
    if header.architecture == "llama" and None not in (width, rotated) and width != rotated:
        raise UsageError(f"{name}: rotates {rotated} of {width} dimensions of a head, which is not converted")
    for key in ("attention.scale", "logit_scale", "embedding_scale", "residual_scale"):
        if header.get(key):
            raise UsageError(f"{name}: has a {key}, which transformers' class of this architecture has not")
