"""The tokenizer of a GGUF file, with what transformers 5.19 leaves out of it put back.

transformers takes vocabulary, merges, chat template and special tokens from the file. It does not read
whether BOS and EOS are added, nor whether a text is prefixed with a space, and it knows the way to split text
before merging (`tokenizer.ggml.pre`) of some families only: the others are split as GPT-2's, without a word.
Nor does it know that Llama 3's tokens are used whole even where no merges lead to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.pretrained.header import MERGES_IGNORED, Header
from search.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPLIT_BY_TRANSFORMERS = frozenset((
    "gpt-2", "llama3", "llama-v3", "llama-bpe", "falcon3", "smaug-bpe", "dbrx", "tekken", "qwen2",
    "deepseek-r1-qwen", "gpt-4o",
))  # fmt: skip
"""Values of `tokenizer.ggml.pre` that transformers splits as llama.cpp does."""
DIGITS_FIRST = frozenset(("smollm", "starcoder", "refact"))
"""Each digit is a piece of its own, what is between digits is split as GPT-2 does."""


def restored_tokenizer(file: Path, header: Header) -> PreTrainedTokenizerFast:
    """The tokenizer of a GGUF file. Raises UsageError if the file asks for one that cannot be built.

    file: the only file in its folder; a tokenizer.json beside it would be read instead.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    backend = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).backend_tokenizer
    if header.tokenizer("model") == "gpt2":
        _split(file.name, backend, header.tokenizer("pre", "default"))
    elif header.architecture == "llama" and not header.tokenizer("add_space_prefix", True):
        _without_prefix(backend)
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    special = {f"{name}_token": token for name, field in names.items() if (token := header.token(field))}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=header.fields.get("tokenizer.chat_template"),
        add_bos_token=header.adds_bos and "bos_token" in special,
        add_eos_token=bool(header.tokenizer("add_eos_token", False)) and "eos_token" in special,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=header.get("context_length"),
        **{"bos_token": None, "eos_token": None, **special},
    )


def _split(name: str, backend: Any, kind: str) -> None:
    from tokenizers import pre_tokenizers

    if kind in MERGES_IGNORED:
        backend.model.ignore_merges = True
    if kind in DIGITS_FIRST:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif kind not in SPLIT_BY_TRANSFORMERS:
        raise UsageError(f"{name}: its tokenizer splits text as {kind!r} does, which is not known here")


def _without_prefix(backend: Any) -> None:
    """SentencePiece's, without the space that Llama's has before a text."""
    from tokenizers import decoders, pre_tokenizers

    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
