"""Blocks of a solution's text that belong together: formulas, environments, diagrams, tables, listings.

A step of text must not end inside one of them. The text is read line by line, once, as far as it is known:

- Display mathematics ($$ ... $$, \\[ ... \\]) and LaTeX environments go on until they are closed. A blank
  line ends them too if prose follows it, because a model may forget to close them.
- Diagrams ([asy] ... [/asy]) and listings (fences of ``` or ~~~) go on until they are closed.
- The rows of a Markdown table belong together. Whether a row is the last one is known from what follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_ARGUMENT = r"(?:\[[^\]\n]*\]|\{(?:[^{}\n]|\{[^{}\n]*\})*\})"
_TOKEN = re.compile(
    r"\\(?P<verb>begin|end)\s*\{(?P<name>[^{}\n]*?)\*?\}" + _ARGUMENT + r"*"
    r"|\\(?P<bracket>[\[\]])"
    r"|\\."  # any other command and escaped character, above all \\[2pt] and \$
    r"|(?P<dollars>\$\$)"
    r"|\[(?P<asy>/?asy)\]"
)
_FENCE = re.compile(r"\s*(?P<mark>`{3,}(?=[^`]*$)|~{3,})")
_DELIMITER = re.compile(
    r"\$\$|\\[\[\]]|\\(?:begin|end)\s*\{[^{}\n]*\}" + _ARGUMENT + r"*|\[/?asy\]|^\s*(?:`{3,}[^`]*|~{3,}.*)$"
)
_PROSE = re.compile(r"\s*(?:[^\W\d_]{2}|#|\*\*|[-*•] |\d{1,2}[.)]\s|\\\[)")
"""How a line begins that does not continue mathematics: a word, a heading, an item, another display."""
_PROSE_LOOKS_AT = 4
"""Characters after which it is clear whether a line begins so."""
_TRANSPARENT = {"document", "proof", "solution", "answer"}
"""Environments whose content is a solution's text, of many steps."""
_LITERAL = {"asy", "verbatim", "lstlisting", "minted", "comment"}
"""Environments in which only their own end counts."""
_CLOSERS = {"[": "]", "asy": "/asy"}
_PIPED = re.compile(r"\$[^$]*\$|\\\(.*?\\\)|\([^()]*\)")
"""Where | is no border of a table's cell."""
_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")
"""The line below the head of a table."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line after which no block is open.

    end: offset after its line feed. blank: it holds only white space. introduces: the last line with text
    ends with a colon.
    """

    end: int
    blank: bool
    introduces: bool


def closed_lines(text: str, start: int = 0) -> Iterator[Line]:
    """The lines from `start` after which no block is open, as far as that does not depend on later text.

    `text` may be unfinished: what is found does not change when it grows. Takes time linear in its length.
    """
    blocks, table = _Blocks(), _Table()
    gap: int | None = None  # the end of a blank line, in an open block that has content
    introduces = False
    at = start
    while True:
        end = text.find("\n", at) + 1
        complete, line = end > 0, text[at : end or len(text)]
        blank = not line.strip()
        if gap is not None and not blank:
            ends = blocks.ends_before(line, complete)
            if ends is None:
                return
            if ends:
                yield Line(gap, True, False)
                blocks = _Blocks()
            gap = None
        if table.open and not (blank and complete):
            goes_on = table.goes_on(line, complete)
            if goes_on is None:
                return
            if not goes_on:
                yield Line(at, False, introduces)
                table = _Table()
        if not complete:
            return
        if blank:
            table = _Table()
            if blocks.has_content:
                gap = gap or end
        else:
            introduces = line.rstrip().endswith((":", "\uff1a"))
            blocks.read(line)
            if not blocks.open:
                table.read(line)
        if not blocks.open and not table.open:
            yield Line(end, blank, introduces)
        at = end


def has_content(text: str) -> bool:
    """Whether a line of the text holds more than white space or the delimiters of blocks."""
    return any(map(_has_content, text.split("\n")))


def _has_content(line: str) -> bool:
    if not (line := line.strip()):
        return False
    rest = _DELIMITER.sub("", line)
    return rest == line or bool(rest.strip(" \t\r.,;:"))


@dataclass(slots=True)
class _Blocks:
    """The open blocks. closers: what closes each of them, the outermost first.

    has_content: whether a block is open that may end at a blank line, because it has content.
    """

    closers: list[str] = field(default_factory=list)
    has_content: bool = False

    @property
    def open(self) -> bool:
        return bool(self.closers)

    @property
    def _literal(self) -> bool:
        return self.open and (self.closers[-1][0] in "`~/" or self.closers[-1] in _LITERAL)

    def read(self, line: str) -> None:
        """Open and close blocks as the line does."""
        if self.open and self.closers[-1][0] in "`~":
            if line.strip().strip(self.closers[-1][0]) == "" and self.closers[-1] in line:
                self.closers.pop()
        elif not self._literal and (fence := _FENCE.match(line)):
            self.closers.append(fence["mark"])
        else:
            for token in _TOKEN.finditer(line):
                self._read(token, line)
        self.has_content = self.open and not self._literal and (self.has_content or _has_content(line))

    def ends_before(self, line: str, complete: bool) -> bool | None:
        """Whether the open blocks end at the blank line before this one; None if that is not known yet."""
        if not complete and len(line.strip()) < _PROSE_LOOKS_AT:
            return None
        return _PROSE.match(line) is not None

    def _read(self, token: re.Match[str], line: str) -> None:
        name: str = (token["name"] or "").strip()
        kind: str = token["verb"] or token["bracket"] or token["dollars"] or token["asy"] or ""
        closer = name if kind == "end" else kind
        if self._literal:
            if closer == self.closers[-1] and kind in ("end", "/asy"):
                self.closers.pop()
        elif kind == "begin":
            if name and name not in _TRANSPARENT:
                self.closers.append(name)
        elif kind in _CLOSERS:
            self.closers.append(_CLOSERS[kind])
        elif closer in self.closers:  # also closes what was opened within and never closed
            del self.closers[len(self.closers) - 1 - self.closers[::-1].index(closer) :]
        elif kind == "$$" and _opens(line, token):
            self.closers.append(kind)


def _opens(line: str, dollars: re.Match[str]) -> bool:
    """Whether $$ may begin a formula; in "$a$$b$" it stands between two."""
    before, after = line[: dollars.start()][-1:], line[dollars.end() :][:1]
    return before in " \t:,.;([" or not after.strip()


@dataclass(slots=True)
class _Table:
    """The rows read last.

    open: another row may follow. bordered: rows begin and end with |. ruled: they have a rule below the head.
    """

    open: bool = False
    bordered: bool = False
    ruled: bool = False

    def read(self, line: str) -> None:
        if self.open:
            self.ruled = self.ruled or _is_rule(line)
        else:
            self.bordered = _is_row(line)
            self.open = self.bordered or _may_be_head(line)

    def goes_on(self, line: str, complete: bool) -> bool | None:
        """Whether the line is another row; None if that is not known yet."""
        if not complete:
            first = line.strip()[:1]
            possible = first in ("", "|") if self.bordered else self.ruled or first in ("", "|", "-", ":")
            return None if possible else False
        if self.ruled:
            return line.strip().startswith("|") or ("|" in line and not self.bordered)
        return _is_rule(line) or (self.bordered and _is_row(line))


def _is_row(line: str) -> bool:
    line = line.strip()
    return line.startswith("|") and line.endswith("|") and line.count("|") > 2


def _is_rule(line: str) -> bool:
    return "|" in line and _RULE.fullmatch(line) is not None


def _may_be_head(line: str) -> bool:
    return " | " in line and " | " in _PIPED.sub("", line)
