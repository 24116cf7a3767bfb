"""Splitting solutions into steps.

Joining the steps restores the text exactly. Every step contains more than white space: blank lines
belong to the step after them, and at the end of a text to the last step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

REPEATS = 4
"""A solution is cut once the same step occurs this many times in a row."""


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A way to split solutions into steps.

    stop: strings at which a policy pauses, so that `first_step` can tell whether a step is complete.
    ends: text -> offsets at which a step may end, in ascending order; the text may be unfinished.
    """

    name: str
    stop: tuple[str, ...]
    ends: Callable[[str], Sequence[int]]

    def first_step(self, text: str) -> int | None:
        """The length of the first complete step of a growing text, None if more is needed."""
        return next((end for end in self.ends(text) if text[:end].strip()), None)

    def split(self, text: str) -> list[str]:
        """The steps of a whole text; the last one may lack its delimiter. Blank text is one step."""
        steps: list[str] = []
        start = 0
        for end in self.ends(text):
            if text[start:end].strip():
                steps.append(text[start:end])
                start = end
        rest = text[start:]
        if rest.strip() or not steps:
            return [*steps, rest]
        return [*steps[:-1], steps[-1] + rest]


def repeated(steps: Sequence[str]) -> bool:
    """True if the last `REPEATS` steps are the same, apart from white space around them."""
    tail = [step.strip() for step in steps[-REPEATS:]]
    return len(tail) == REPEATS and len(set(tail)) == 1


def _after(pattern: str) -> Callable[[str], Sequence[int]]:
    return lambda text: [match.end() for match in re.finditer(pattern, text)]


def _statement_ends(text: str) -> list[int]:
    """Offsets of line ends in Python code at which no bracket, string or line continuation is open.

    So a step is one logical line: simple statements, or the header of a compound statement. Comment and
    decorator lines belong to the statement after them.
    """
    ends: list[int] = []
    depth, quote, i, line = 0, "", 0, 0
    while i < len(text):
        char = text[i]
        if quote:
            if char == "\\":
                i += 1
            elif text.startswith(quote, i):
                i += len(quote) - 1
                quote = ""
            elif char == "\n" and len(quote) == 1:
                quote = ""  # a syntax error: the string ends with its line
                continue
        elif char == "#":
            i = text.find("\n", i) - 1
            if i < 0:
                return ends
        elif char in "\"'":
            quote = char * 3 if text.startswith(char * 3, i) else char
            i += len(quote) - 1
        elif char == "\\":
            i += 1  # a line continuation, or a syntax error
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth = max(0, depth - 1)
        elif char == "\n" and depth == 0:
            code = text[line:i].lstrip()
            if code and code[0] not in "#@":
                ends.append(i + 1)
            line = i + 1
        i += 1
    return ends


SEGMENTERS: Mapping[str, Segmenter] = {
    s.name: s
    for s in (
        Segmenter("newline", ("\n",), _after(r"\n")),
        Segmenter("blank_line", ("\n\n",), _after(r"\n[ \t]*\n")),
        Segmenter(
            "step_marker", ("\nStep ", "\n**Step ", "# Step "), _after(r"\n(?=(?:#+ |\*\*)?Step )"),
        ),
        Segmenter("python", ("\n",), _statement_ends),
    )
}
"""By their names on the command line."""
