"""Finds the last mathematics of the last sentence, for texts that state no answer. Standard library only."""

from __future__ import annotations

import re

from bench.grading.extract import bare
from bench.grading.sentences import Span, is_joint, math_spans, sentence_ends
from bench.grading.unicode import ascii_math


def last_mathematics(text: str) -> str | None:
    """The last formula, number or plain expression of the last sentence; several joined ones are a list."""
    text = ascii_math(text.rstrip())
    spans = math_spans(text)
    ends = reversed(sentence_ends(text, spans))
    start = next((end for end in ends if re.search(r"[\w$]", text[end:])), 0)
    pieces = sorted([*_formulas(spans), *_plain(text, spans, start)], key=lambda piece: piece.start)
    last = _last(pieces, start)
    if last is None:
        return None
    first = last
    for piece in reversed(pieces[: pieces.index(last)]):
        if not is_joint(text[piece.end : first.start]):
            break
        first = piece
    answer = _last_row(text[first.start : last.end])
    if first is not last:
        answer = _ITEM.sub(", ", answer)
    before, after = text[max(0, first.start - 1) : first.start], text[last.end : last.end + 1]
    if first is not last and before in ("(", "[") and after in (")", "]"):  # ($3$, $4$) is a point
        answer = f"{before}{answer}{after}"
    is_closed = len(re.findall(r"[(\[]", answer)) == len(re.findall(r"[)\]]", answer))
    return bare(answer if is_closed else answer.strip("()"))


_ITEM = re.compile(r"\n\s*(?:[-*•]|\d{1,2}[.)])\s+")
"""What begins an item of a list."""
_ALIGNED = re.compile(
    r"\\(?:begin|end)\{(?:equation|align(?:ed)?|gather(?:ed)?|multline|eqnarray|split)\*?\}|(?<!\\)&"
)


def _last_row(formula: str) -> str:
    """The formula, or the last row of an alignment without its first equals sign."""
    if not _ALIGNED.search(formula):
        return formula
    rows = [_ALIGNED.sub("", row) for row in formula.split("\\\\")]
    return next((row.strip().removeprefix("=") for row in reversed(rows) if re.search(r"\w", row)), formula)


def is_sentence(text: str) -> bool:
    """Whether a line speaks about its answer ("So there are $9$ of them") instead of being the answer."""
    spans = math_spans(text)
    before = _prose(text[: spans[0].start]) if spans else []
    return bool(before) or any(word in _VERBS for word in _prose(_without(text, spans)))


_VERBS = {"is", "are", "was", "were", "be", "equals", "equal", "has", "have", "get", "gives", "there"}


def _prose(text: str) -> list[str]:
    words = re.findall(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}", re.sub(r"\\text\s*\{[^{}]*\}", " ", text))
    return [word.casefold() for word in words if word.casefold() not in ("and", "or")]


def _without(text: str, spans: list[Span]) -> str:
    """The text with spaces in place of the spans."""
    pieces, done = [], 0
    for span in spans:
        pieces += [text[done : span.start], " " * (span.end - span.start)]
        done = span.end
    return "".join([*pieces, text[done:]])


def _formulas(spans: list[Span]) -> list[Span]:
    return [span for span in spans if re.search(r"\w", span.content)]


def _last(pieces: list[Span], start: int) -> Span | None:
    """The last piece from `start` on; a name alone ("5 is the value of $x$") only if there is no other."""
    pieces = [piece for piece in pieces if piece.start >= start]
    values = [piece for piece in pieces if not re.fullmatch(r"\s*[a-zA-Z]\s*", piece.content)]
    return next(reversed(values or pieces), None)


_TRAILING = ".,;:!?\"'*_"
_OPERATOR = re.compile(r"[-+*/=<>^]+|[b-zB-HJ-Z]|\\(?:times|cdot|le|ge|neq|approx|pm)")
_HAS_VALUE = re.compile(r"[\d√∛]|\\(?:pi|infty|sqrt|emptyset)(?![a-zA-Z])")
_LETTERS = re.compile(r"[a-zA-Z]{2,}")
_KNOWN = re.compile(
    r"\\[a-zA-Z]+|(?<![a-zA-Z])(?:pi|sqrt|sin|cos|tan|log|ln)(?![a-zA-Z])|(?<=\d)[a-zA-Z]{2}(?![a-zA-Z])"
)


def _plain(text: str, spans: list[Span], start: int) -> list[Span]:
    """Runs of words that are mathematics without delimiters, as in "so x = √2/2.", from `start` on."""
    runs: list[Span] = []
    opened: int | None = None
    ended = start
    words = re.finditer(r"\S+", _without(text, spans)[start:])
    for word in [*words, None]:
        written = word[0].strip("*_").rstrip(_TRAILING) if word else ""
        if word and written and _is_mathematics(written):
            at = start + word.start() + word[0].index(written)
            opened = at if opened is None else opened
            ended = at + len(written)
            if ended == start + word.end():
                continue
        if opened is not None:
            runs.append(Span(opened, ended, text[opened:ended]))
            opened = None
    return [run for run in runs if _HAS_VALUE.search(run.content)]


def _is_mathematics(word: str) -> bool:
    if _OPERATOR.fullmatch(word):
        return True
    return _HAS_VALUE.search(word) is not None and not _LETTERS.search(_KNOWN.sub(" ", word))
