"""The built-in models' tokenizer: a byte-level BPE in which every word of the task is one token.

So is every number, which a small model then finds again, and copies, in one piece: with a token a
digit, the same model learned to look values up many times more slowly. Any other text still
encodes, byte by byte.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from bench.builtin.problems import PROMPT, Difficulty, generate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = 1024
CONTEXT = 2048
PIECES = r" ?\d{1,3}| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\n|\s+"
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
    numbers = [f" {n}" * 20 for n in range(Difficulty().max_value + 1)]
    texts = [PROMPT.format(question=p.question) + "\n".join(p.steps) for p in generate("train", 0, 5000)]
    tokenizer.train_from_iterator(numbers + texts, trainer)
    return str(tokenizer.to_str())
