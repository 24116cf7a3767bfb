"""The built-in models' tokenizers: byte-level BPE in which every word and number of the task is one token.

A small model finds and copies a number more easily in one piece: with one token per digit, the same model
learned to look values up many times more slowly. Any other text is encoded byte by byte. Bytes come first
in both vocabularies, so a newline is the same token in both.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from bench.tasks.generated.graph import Difficulty
from bench.tasks.generated.problems import PROMPT, generate
from bench.tasks.generated.programs import generate_programs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = 1024
CODE_VOCABULARY = 512
"""Bytes, words and the most frequent numbers. Other numbers take several tokens."""
CONTEXT = 2048
PIECES = r" ?\d{1,3}| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\n|\s+"
"""Tokens never cross these pieces. The newline that ends a step is always its own token."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A new copy of the arithmetic task's tokenizer. The first call trains it."""
    return _loaded(_trained())


def build_code_tokenizer() -> PreTrainedTokenizerFast:
    """A new copy of the code task's tokenizer. The first call trains it."""
    return _loaded(_trained_on_programs())


def _loaded(trained: str) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained),
        pad_token="<pad>",
        eos_token="<eos>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


@cache
def _trained() -> str:
    numbers = [f" {n}" * 20 for n in range(Difficulty().max_value + 1)]
    texts = [PROMPT.format(question=p.question) + "\n".join(p.steps) for p in generate("train", 0, 5000)]
    return _train(numbers + texts, VOCABULARY)


@cache
def _trained_on_programs() -> str:
    problems = generate_programs("train", 0, 3000)
    return _train((f"{p.question}\n{p.function.reference}" for p in problems), CODE_VOCABULARY)


def _train(texts: Iterable[str], size: int) -> str:
    """Train a tokenizer, deterministically. Takes seconds. Returns it as JSON."""
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
        vocab_size=size,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())
