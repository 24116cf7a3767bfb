"""The built-in models' tokenizer: a byte-level BPE in which every word of the task is one token.

Digits stay single, so that arithmetic is on digits; any other text still encodes, byte by byte.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from bench.builtin.problems import generate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = 1024
CONTEXT = 2048
PIECES = r" ?\d| ?[A-Za-z]+|'s| ?[^\sA-Za-z\d]+|\n|\s+"
"""What a token never crosses. The newline that ends a step is always a token of its own."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, a new object each time; the first call trains it."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_train()),
        pad_token="<pad>",
        eos_token="<eos>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


@cache
def _train() -> str:
    """Train on training problems; the same bytes each time. Takes seconds."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = ("\n".join([p.question, *p.steps]) for p in generate("train", 0, 20_000))
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())
