"""From a question and steps to the token ids that a layout reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from prm.reading.layout import Layout
from search.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_FIELD = re.compile(r"\{(question|step|number)\}")
_NUMBERED = re.compile(r"\s*Step \d+\s*[:.]\s*")


class Encoder:
    """A layout bound to a tokenizer: the names in it looked up, and found to be there.

    start: what the tokenizer puts before any text, e.g. <s>. end: what ends one, if it has a token for it.
    Raises UsageError if the tokenizer lacks a token, a beginning-of-sequence token or a chat
    template that the layout needs.
    """

    def __init__(self, layout: Layout, tokenizer: PreTrainedTokenizerFast):
        self._tokenizer: Any = tokenizer
        self._known = lru_cache(1 << 16)(self._tokenize)  # one step is read again with each that follows it
        names = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        self._special = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)")
        for name in layout.requires:
            self.token_id(name)
        self._numbered = "{number}" in layout.step
        self._strip = layout.chat
        self.start = [] if layout.chat else self._added_at_start()
        self.end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
        self.layout = layout = _chat_as_text(layout, tokenizer) if layout.chat else layout
        bos = tokenizer.bos_token
        if "{bos}" in layout.question and bos is None:
            raise UsageError("the layout begins with {bos}, which the tokenizer does not have")
        self._question = layout.question.replace("{bos}", bos or "")
        # Some tokenizers put a space before any text; behind this anchor they do not.
        spaced = tokenizer.convert_ids_to_tokens(self._ids("a"))[0][0] in "▁Ġ"
        self._anchor = "\n" if spaced else ""
        self._anchored = len(self._ids(self._anchor)) if spaced else 0

    def token_id(self, name: str) -> int:
        """The id of a token by its name. Raises UsageError if the tokenizer has no such token."""
        found = self._tokenizer.convert_tokens_to_ids(name)
        if found is None or (found == self._tokenizer.unk_token_id and name != self._tokenizer.unk_token):
            raise UsageError(f"the tokenizer has no token {name!r}, which the layout needs")
        return int(found)

    def __call__(self, question: str, steps: Sequence[str]) -> list[list[int]]:
        """Token ids in pieces: the question, then one piece a step; each is judged at its last token.

        Pieces are tokenised one by one, so what a step is judged on never depends on later steps.
        No piece of a step is empty.
        """
        said = {"question": question.strip() if self._strip else question}
        return [
            self.start + self._fill(self._question, said, first=True),
            *(self._step(number, text) for number, text in enumerate(steps, start=1)),
        ]

    def _step(self, number: int, text: str) -> list[int]:
        layout = self.layout
        text = text.strip() if self._strip else text.strip("\n").rstrip()
        if self._numbered and (found := _NUMBERED.match(text)):  # the policy numbers its steps itself
            text = text[found.end() :]
        said = {"step": text, "number": str(number)}
        before = layout.lead if number == 1 else layout.between
        ids = self._fill(before + layout.step, said) + self._fill(layout.separator, {})
        if not ids:
            raise UsageError(f"step {number} is empty, and so is the layout's separator: nothing to judge")
        return ids

    def _fill(self, template: str, said: Mapping[str, str], *, first: bool = False) -> list[int]:
        """Tokenise the template with its fields filled in; only the template's special tokens are special."""
        ids: list[int] = []
        at = 0
        for found in self._special.finditer(template):
            ids += self._text(template[at : found.start()], said, first=first and not ids)
            ids.append(self.token_id(found.group()))
            at = found.end()
        return ids + self._text(template[at:], said, first=first and not ids)

    def _text(self, template: str, said: Mapping[str, str], *, first: bool) -> list[int]:
        text = _FIELD.sub(lambda match: said[match[1]], template)
        if not text:
            return []
        return self._ids(text) if first else self._ids(self._anchor + text)[self._anchored :]

    def _ids(self, text: str) -> list[int]:
        return list(self._known(text))

    def _tokenize(self, text: str) -> tuple[int, ...]:
        encoded = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return tuple(encoded.input_ids)

    def _added_at_start(self) -> list[int]:
        """What the tokenizer puts before any text; what it puts after is left out."""
        added = list(self._tokenizer("").input_ids)
        return added[:-1] if added and added[-1] == self._tokenizer.eos_token_id else added


_TURNS = ("\x02first\x03", "\x02second\x03")


def _chat_as_text(layout: Layout, tokenizer: PreTrainedTokenizerFast) -> Layout:
    """The same layout with the chat template's text around the turns written out."""
    if not tokenizer.chat_template:
        raise UsageError("the layout is a conversation, but the tokenizer has no chat template")
    first, second = _TURNS
    turns = [{"role": "user", "content": first}]
    begun = _render(tokenizer, turns)
    turns += [{"role": "assistant", "content": layout.reply}, {"role": "user", "content": second}]
    head, _, after = begun.partition(first)
    going_on = _render(tokenizer, turns)
    between = going_on.removeprefix(begun).removesuffix(second + after)
    if not after or begun + between + second + after != going_on:
        raise UsageError("the chat template does not put one turn after the other as the layout needs it")
    return replace(
        layout, chat=False, question=head + layout.question, separator=after, between=between
    )


def _render(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> str:
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
