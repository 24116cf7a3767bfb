"""Trees' messages as token ids: what the policy reads, and what it says, as it reads and says it in a search.

Messages and what stands between them are tokenised apart, as an episode's turns are: no token depends on what
comes later. An action is followed by the token that ends the policy's turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prm.training.question import question_template
from search.errors import UsageError
from search.policies.stepping import encode_between, encode_prompt
from search.policies.turns import end_ids, turn_pieces
from search.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORED = -100
"""The label of a token that bears no loss, in PyTorch and TRL."""
CHAT = Prompt("{question}", chat=True)


def prompt_for(base: str, tokenizer: PreTrainedTokenizerFast, template: str | None) -> Prompt:
    """How a policy is prompted: in its chat template, if that takes several turns, else as one text.

    base: a path or hub id. template: the text around an instruction, which replaces both.
    Raises UsageError if a file of the base is not JSON.
    """
    if template is None and tokenizer.chat_template and _takes_turns(tokenizer):
        return CHAT
    return Prompt(template or question_template(base, tokenizer).replace("{bos}", tokenizer.bos_token or ""))


def _takes_turns(tokenizer: PreTrainedTokenizerFast) -> bool:
    try:
        turn_pieces(tokenizer, CHAT)
    except UsageError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Messages:
    """Tokenises the messages of trees for a policy. prompt: as `prompt_for` returns it.

    end: the token that ends an action. anchor: a text after which the tokenizer puts no space before another.
    """

    tokenizer: PreTrainedTokenizerFast
    prompt: Prompt
    end: int
    anchor: str

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, prompt: Prompt) -> Messages:
        """Raises UsageError if the tokenizer has no token that ends a message."""
        end = _end_of_turn(tokenizer) if prompt.chat else tokenizer.eos_token_id
        if end is None:
            raise UsageError("the policy's tokenizer has no end token: nothing would teach it to stop")
        spaced = tokenizer.convert_ids_to_tokens(_ids(tokenizer, "a"))[0][0] in "▁Ġ"
        return cls(tokenizer, prompt, end, "\n" if spaced else "")

    def read(self, trajectory: Sequence[str]) -> list[int]:
        """The tokens of what the policy reads: instruction, earlier actions, and their observations.

        trajectory: messages of the user and the assistant in turn, from user to user.
        """
        first, *later = trajectory
        ids = list(encode_prompt(self.tokenizer, self.prompt, first).token_ids)
        for action, seen in zip(later[::2], later[1::2], strict=True):
            between = encode_between(self.tokenizer, self.prompt, action, seen)
            ids += [*self._action(action), *between.token_ids]
        return ids

    def said(self, action: str) -> list[int]:
        """The tokens of an action, and the one that ends it. All of them bear loss."""
        return [*self._action(action), self.end]

    def _action(self, text: str) -> list[int]:
        return _ids(self.tokenizer, self.anchor + text)[len(_ids(self.tokenizer, self.anchor)) :]


def _ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text in which nothing is special: a record cannot teach to write control tokens."""
    if not text:
        return []
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)


def _end_of_turn(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """The special token that the chat template puts after an assistant's message, or else the end of text."""
    ids: list[int] = tokenizer(turn_pieces(tokenizer, CHAT).before, add_special_tokens=False).input_ids
    end: int | None = tokenizer.eos_token_id
    return ids[0] if ids and ids[0] in end_ids(tokenizer) else end


def shown(tokenizer: Any, token_ids: Sequence[int], labels: Sequence[int]) -> str:
    """Which tokens bear loss, one line for each run of them: "loss" or "-", and the text."""
    lines, at = list[str](), 0
    while at < len(token_ids):
        bears, begin = labels[at] != IGNORED, at
        while at < len(token_ids) and (labels[at] != IGNORED) == bears:
            at += 1
        lines.append(f"{'loss' if bears else '-':4} {tokenizer.decode(token_ids[begin:at])!r}")
    return "\n".join(lines)
