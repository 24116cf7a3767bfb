"""Small reward models from nothing, for recipes: a base with random weights, and stages of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prm import train
from prm.rows import json_lines
from prm.train_options import parse

VOCABULARY = 4096
CONTEXT = 2048
MAX_LENGTH = 1024
"""Tokens of a record."""
TREE = 2048
"""Tokens of a tree of records of one problem."""
HEAD = (
    "--trees", str(TREE), "--batch", "2", "--class-weights", "balanced", "--every", "50", "--patience", "4",
)  # fmt: skip
"""How a head is trained: many labels a sequence, so few sequences a step; the best checkpoint is kept."""


def make_base(text: Path, out: Path, *, hidden: int, layers: int) -> None:
    """A byte-level BPE tokenizer learnt from the text, and a Llama with random weights."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from torch import manual_seed
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(r" ?\d| ?\p{L}+| ?[^\s\p{L}\d]|\n|\s+")  # digits stay single, as arithmetic needs them
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(pieces, behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    texts = ("\n".join([row.fields["question"], *row.fields["steps"]]) for row in json_lines(text))
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<pad>", "<eos>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    ))  # fmt: skip
    manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 64), num_key_value_heads=max(1, hidden // 64),
        max_position_embeddings=CONTEXT, tie_word_embeddings=True, pad_token_id=0, eos_token_id=1,
        bos_token_id=None,
    ))  # fmt: skip
    model.save_pretrained(out)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>"
    ).save_pretrained(out)


def fit(out: Path, base: Path, form: str, data: Sequence[str], options: Sequence[str]) -> None:
    """Train, go on with it, or see that it is done."""
    if (out / "README.md").exists():
        print(f"{out.name}: done before")
        return
    said = ["--form", form, "--base", str(base), "--out", str(out), "--data", *data]
    said += ["--max-length", str(MAX_LENGTH), *options]
    run, where, _ = parse(said)
    train.train(run, where, resume=(out / "train.json").exists())
