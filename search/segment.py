"""Where one step ends and the next begins.

Joining the steps gives back the text exactly. A step holds something other than white space:
blank lines belong to the step that they precede, at the very end to the last one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

REPEATS = 4
"""The same step this many times in a row is taken to be endless, and cut there."""


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A way to split solutions into steps.

    stop: strings at which a policy pauses to ask `first_step` whether a step is complete.
    ends: offsets in a text after which a step may end, in order; the text may be unfinished.
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
    """True if the last `REPEATS` steps say the same."""
    tail = [step.strip() for step in steps[-REPEATS:]]
    return len(tail) == REPEATS and len(set(tail)) == 1


def _after(pattern: str) -> Callable[[str], Sequence[int]]:
    return lambda text: [match.end() for match in re.finditer(pattern, text)]


def _statement_ends(text: str) -> list[int]:
    """Offsets of line ends at which no bracket, string or line continuation is open.

    A compound statement's header is a step of its own, and so is each line of its body: a step
    is what fits between two places where the interpreter could be asked for an indented line.
    A comment or decorator line goes with the statement after it.
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
                quote = ""  # an unterminated string ends with its line, as an error
                continue
        elif char == "#":
            i = text.find("\n", i) - 1
            if i < 0:
                return ends
        elif char in "\"'":
            quote = char * 3 if text.startswith(char * 3, i) else char
            i += len(quote) - 1
        elif char == "\\":
            i += 1  # a line continuation, or an error
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth = max(0, depth - 1)
        elif char == "\n" and depth == 0:
            said = text[line:i].lstrip()
            if said and said[0] not in "#@":
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
"""By the name they have on the command line."""
