"""Finds mathematics, boxes and ends of sentences in a text, in linear time. Standard library only."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from bench.grading.notation import brace_pairs


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text, with its delimiters or command: text[start:end]; `content` is what they enclose."""

    start: int
    end: int
    content: str


_DELIMITER = re.compile(
    r"\\(?P<open>[\[(])|\\(?P<close>[\])])|(?P<dollars>\$\$?)"
    r"|\\(?P<step>begin|end)\{(?P<environment>equation|align|gather|multline|eqnarray)\*?\}|\\.|(?P<blank>\n\s*\n)",
    re.DOTALL,
)
_CLOSING = {"[": "]", "(": ")"}


def math_spans(text: str) -> list[Span]:
    """What stands between $, $$, \\(, \\[ or in a display environment.

    A dollar sign opens mathematics only before a character, and closes it only after one and not before a
    digit (pandoc's rule), so that amounts of money are no delimiters.
    """
    spans: list[Span] = []
    opened: tuple[str, re.Match[str]] | None = None
    for token in _DELIMITER.finditer(text):
        at = token.start()
        if opened and token[0].strip() == opened[0] and _closes(text, token):
            start = opened[1]
            spans.append(Span(start.start(), token.end(), text[start.end() : at]))
            opened = None
        elif token["dollars"] and (not opened or opened[0] == token["dollars"]):
            opens = token[0] == "$$" or not text[token.end() : token.end() + 1].isspace()
            opened = (token[0], token) if opens else None
        elif token["open"]:
            opened = (f"\\{_CLOSING[token['open']]}", token)
        elif token["step"] == "begin" and not opened:
            opened = (token[0].replace("begin", "end"), token)
        elif token["blank"] and opened and opened[0] == "$":
            opened = None
    return spans


def _closes(text: str, token: re.Match[str]) -> bool:
    if token[0] != "$":
        return True
    return not text[token.start() - 1].isspace() and not text[token.end() : token.end() + 1].isdigit()


_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?=\{)|\\boxed\s+(?P<bare>[^\s${}\\]+)")


def boxes(text: str) -> list[Span]:
    """The complete outermost boxes, without the commands of boxes inside them."""
    braces = brace_pairs(text)
    found: list[Span] = []
    covered = 0
    for match in _BOX.finditer(text):
        if match.start() < covered:
            continue
        if match["bare"] is not None:
            found.append(Span(match.start(), match.end(), match["bare"].rstrip(".,;")))
        elif match.end() in braces:
            covered = braces[match.end()] + 1
            found.append(Span(match.start(), covered, unbox(text[match.end() + 1 : covered - 1]).strip()))
    return found


def unbox(text: str) -> str:
    """The text with every complete box replaced by its content."""
    braces = brace_pairs(text)
    cuts = []
    for match in _BOX.finditer(text):
        if match["bare"] is None and match.end() in braces:
            cuts += [(match.start(), match.end() + 1), (braces[match.end()], braces[match.end()] + 1)]
    pieces, done = [], 0
    for start, end in sorted(cuts):
        pieces.append(text[done:start])
        done = end
    return "".join([*pieces, text[done:]])


_END = re.compile(r"[.!?](?=[\"')\]*_]*(?:\s|$))|\n(?![ \t]*[a-z])")


def sentence_ends(text: str, whole: Iterable[Span]) -> list[int]:
    """Where sentences and lines end, unless in one of the spans `whole` or before a small letter."""
    merged: list[tuple[int, int]] = []
    for span in sorted(whole, key=lambda span: span.start):
        if merged and span.start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], span.end))
        else:
            merged.append((span.start, span.end))
    ends = []
    for match in _END.finditer(text):
        before = bisect_right(merged, (match.start(), len(text))) - 1
        if before < 0 or merged[before][1] <= match.start():
            ends.append(match.end())
    return ends


_DELIMITERS = re.compile(r"\\[\[\]()]|\$+|\\text\s*(?=\{)|[{}*~]|\\(?:q?quad|[,;:! ])|\\\\")
_JOINED = re.compile(
    r"[\s,;&•-]*(?:(?:and|or|also)[\s,;&•-]*|\d{1,2}[.)]\s+)?(?:[a-zA-Z](?:_\w)?\s*=\s*)?", re.ASCII
)


def is_joint(between: str) -> bool:
    """Whether two pieces of mathematics with this text between them are parts of one list."""
    return len(between) < 100 and _JOINED.fullmatch(_DELIMITERS.sub(" ", between)) is not None
