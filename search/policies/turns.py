"""What stands between two turns: the end of a message, an observation, the beginning of the next message.

The template is rendered once with marks for messages. The pieces between the marks are tokenised by
themselves and appended, so a prefix grows token by token and nothing that was sampled is tokenised again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from search.errors import UsageError
from search.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MARKS = ("turn of the user", "turn of the policy", "turn after that")


class Pieces(NamedTuple):
    """What a chat template puts before an observation and after it."""

    before: str
    after: str


@lru_cache(64)
def turn_pieces(tokenizer: PreTrainedTokenizerFast, prompt: Prompt) -> Pieces:
    """The pieces of the tokenizer's chat template, for a prompt with `chat`.

    Raises UsageError if the template refuses a second turn, or leaves one out.
    """
    from jinja2 import TemplateError

    question, said, answered = MARKS
    *system, _ = prompt.messages("")
    messages = [
        *system, {"role": "user", "content": question}, {"role": "assistant", "content": said},
        {"role": "user", "content": answered},
    ]  # fmt: skip
    try:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        raise UsageError(f"the policy's chat template refuses a second turn: {error}") from error
    assert isinstance(text, str)
    if any(text.count(mark) != 1 for mark in (said, answered)):
        raise UsageError(
            "the policy's chat template leaves out turns, so there can be no second one: choose a prompt "
            "without a chat template"
        )
    before, after = text.partition(said)[2].split(answered)
    return Pieces(before, after)


def between_turns(tokenizer: PreTrainedTokenizerFast, prompt: Prompt, turn: str, text: str) -> str:
    """What stands between the message `turn` and the next one, with the observation `text` in it.

    Raises UsageError as `turn_pieces` does.
    """
    if not prompt.chat:
        return plain_between(turn, text)
    pieces = turn_pieces(tokenizer, prompt)
    return f"{pieces.before}{text.strip()}{pieces.after}"


def plain_between(turn: str, text: str) -> str:
    """An observation after a message, for policies without a chat template: on lines of its own."""
    lead = "" if turn.endswith("\n") else "\n"
    return f"{lead}{text.strip()}\n"


def tokens_of(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[int, ...]:
    """The tokens of a piece by itself."""
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)


@lru_cache(64)
def end_ids(tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """The tokens that can end a message: those without a text. A template writes its own again."""
    special = (number for number, token in tokenizer.added_tokens_decoder.items() if token.special)
    return frozenset({tokenizer.eos_token_id, *special} - {None})
