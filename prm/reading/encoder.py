"""From a question and its steps to the token ids that a reward model reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from prm.reading.layout import Layout
from prm.reading.template import Template
from search.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_FIELD = re.compile(r"\{(question|step|number)\}")
_NUMBERED = re.compile(r"\s*Step \d+\s*[:.]\s*")


class Encoder:
    """A layout bound to a tokenizer.

    start: the tokens that the tokenizer puts before any text, e.g. <s>. end: the token that ends a text,
    if the tokenizer has one.
    Raises UsageError if the tokenizer lacks a token, a beginning-of-sequence token or a chat template
    that the layout needs.
    """

    def __init__(self, layout: Layout, tokenizer: PreTrainedTokenizerFast):
        self.layout = layout
        self._tokenizer: Any = tokenizer
        self._cached = lru_cache(1 << 16)(self._tokenize)  # a step is encoded again with each step after it
        names = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        self._special = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)")
        template = layout.template
        for name in template.requires:
            self.token_id(name)
        self._numbered = "{number}" in template.step
        self._strip = template.chat
        self.start = [] if template.chat else self._added_at_start()
        self.end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
        self._template = _chat_as_text(template, tokenizer) if template.chat else template
        bos = tokenizer.bos_token
        if "{bos}" in self._template.question and bos is None:
            raise UsageError("the layout begins with {bos}, which the tokenizer does not have")
        self._question = self._template.question.replace("{bos}", bos or "")
        # Some tokenizers put a space before any text; after this anchor they do not.
        spaced = tokenizer.convert_ids_to_tokens(self._ids("a"))[0][0] in "▁Ġ"
        self._anchor = "\n" if spaced else ""
        self._anchored = len(self._ids(self._anchor)) if spaced else 0

    def token_id(self, name: str) -> int:
        """The id of the token with this name. Raises UsageError if the tokenizer has none."""
        token = self._tokenizer.convert_tokens_to_ids(name)
        if token is None or (token == self._tokenizer.unk_token_id and name != self._tokenizer.unk_token):
            raise UsageError(f"the tokenizer has no token {name!r}, which the layout needs")
        return int(token)

    def __call__(self, question: str, steps: Sequence[str]) -> list[list[int]]:
        """Token ids in pieces, [1 + len(steps)]: the question, then each step, scored at its last token.

        Each piece is tokenised on its own, so the tokens up to a step never depend on later steps.
        The piece of a step is never empty. Windows line ends are read as line feeds.
        """
        question = question.replace("\r\n", "\n")
        values = {"question": question.strip() if self._strip else question}
        return [
            self.start + self._fill(self._question, values, first=True),
            *(self._step(number, text) for number, text in enumerate(steps, start=1)),
        ]

    def _step(self, number: int, text: str) -> list[int]:
        template = self._template
        text = text.replace("\r\n", "\n")
        text = text.strip() if self._strip else text.strip("\n").rstrip()
        if self._numbered and (match := _NUMBERED.match(text)):  # the policy numbers its steps itself
            text = text[match.end() :]
        values = {"step": text, "number": str(number)}
        before = template.lead if number == 1 else template.between
        ids = self._fill(before + template.step, values) + self._fill(template.separator, {})
        if not ids:
            raise UsageError(f"step {number} is empty, and so is the layout's separator: nothing to score")
        return ids

    def _fill(self, template: str, values: Mapping[str, str], *, first: bool = False) -> list[int]:
        """Tokenise the template with its fields filled in. Only the template's special tokens are special."""
        ids: list[int] = []
        at = 0
        for match in self._special.finditer(template):
            ids += self._text(template[at : match.start()], values, first=first and not ids)
            ids.append(self.token_id(match.group()))
            at = match.end()
        return ids + self._text(template[at:], values, first=first and not ids)

    def _text(self, template: str, values: Mapping[str, str], *, first: bool) -> list[int]:
        text = _FIELD.sub(lambda match: values[match[1]], template)
        if not text:
            return []
        return self._ids(text) if first else self._ids(self._anchor + text)[self._anchored :]

    def _ids(self, text: str) -> list[int]:
        return list(self._cached(text))

    def _tokenize(self, text: str) -> tuple[int, ...]:
        encoded = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return tuple(encoded.input_ids)

    def _added_at_start(self) -> list[int]:
        """The tokens that the tokenizer puts before any text, without the one it puts after."""
        added = list(self._tokenizer("").input_ids)
        return added[:-1] if added and added[-1] == self._tokenizer.eos_token_id else added


_TURNS = ("\x02first\x03", "\x02second\x03")


def _chat_as_text(template: Template, tokenizer: PreTrainedTokenizerFast) -> Template:
    """The same template, with the text that the chat template puts around the turns written out."""
    if not tokenizer.chat_template:
        raise UsageError("the layout is a conversation, but the tokenizer has no chat template")
    first, second = _TURNS
    turns = [{"role": "user", "content": first}]
    one_turn = _render(tokenizer, turns)
    turns += [{"role": "assistant", "content": template.reply}, {"role": "user", "content": second}]
    two_turns = _render(tokenizer, turns)
    before, _, after = one_turn.partition(first)
    between = two_turns.removeprefix(one_turn).removesuffix(second + after)
    if not after or one_turn + between + second + after != two_turns:
        raise UsageError("the chat template does not put one turn after the other, as the layout needs")
    question = before + template.question
    return replace(template, chat=False, question=question, separator=after, between=between)


def _render(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> str:
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
