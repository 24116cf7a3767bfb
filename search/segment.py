"""Splitting solutions into steps.

Joining the steps restores the text exactly. Every step has content: blank lines, and lines that hold only
the delimiters of a formula, an environment or a listing, belong to the step after them, and at the end of a
text to the last step. A step of text ends neither inside such a block (see `search.blocks`) nor after a line
that ends with a colon, because such a line introduces what follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from search.blocks import closed_lines, has_content
from search.errors import UsageError


@dataclass(frozen=True, slots=True)
class Repetition:
    """When a solution repeats itself, and is cut.

    times: the same step this many times in a row; 0 never cuts. min_chars: shorter steps do not count: the
        rows of a zero matrix and `x += 1` are repeated for good reasons.
    """

    times: int = 4
    min_chars: int = 20

    def __post_init__(self) -> None:
        if self.times < 0 or self.times == 1 or self.min_chars < 0:
            raise UsageError(
                f"repetition {self.times},{self.min_chars}: it takes the same step at least 2 times in a row "
                "(0 never cuts), of 0 characters or more"
            )

    def is_reached(self, steps: Sequence[str]) -> bool:
        """True if the last `times` steps are the same, apart from white space around them."""
        if not self.times or len(steps) < self.times:
            return False
        tail = {step.strip() for step in steps[-self.times :]}
        return len(tail) == 1 and len(tail.pop()) >= self.min_chars


NEVER = Repetition(times=0)


def _has_text(text: str) -> bool:
    return bool(text.strip())


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A way to split solutions into steps.

    stop: strings at which a policy pauses, so that `first_step` can tell whether a step is complete.
    ends: (text, start) -> the offsets after `start` at which a step that begins there, or one after it, may
        end, in ascending order. The text may be unfinished. In time linear in what is read.
    has_content: whether a text is more than white space and delimiters, so that it can be a step.
    repetition: when a policy cuts a solution that repeats itself.
    """

    name: str
    stop: tuple[str, ...]
    ends: Callable[[str, int], Iterable[int]]
    has_content: Callable[[str], bool] = has_content
    repetition: Repetition = Repetition()

    def step_ends(self, text: str, start: int = 0) -> Iterator[int]:
        """The offsets at which the complete steps of a growing text end; the first step begins at `start`."""
        at, filled = start, False
        for end in self.ends(text, start):
            filled = filled or self.has_content(text[at:end])
            at = end
            if filled:
                yield end
                filled = False

    def first_step(self, text: str, start: int = 0) -> int | None:
        """The offset at which the first complete step from `start` ends, None if more text is needed."""
        return next(self.step_ends(text, start), None)

    def split(self, text: str) -> list[str]:
        """The steps of a whole text; the last one may lack its delimiter. Blank text is one step."""
        steps: list[str] = []
        start = 0
        for end in self.step_ends(text):
            steps.append(text[start:end])
            start = end
        rest = text[start:]
        if self.has_content(rest) or not steps:
            return [*steps, rest]
        return [*steps[:-1], steps[-1] + rest]

    def texts(self, text: str) -> list[str]:
        """The steps of a whole text without the line ends around them, as in a file of data."""
        return [step.strip("\r\n") for step in self.split(text)]


def _line_ends(text: str, start: int) -> Iterator[int]:
    return (line.end for line in closed_lines(text, start) if not line.introduces)


def _paragraph_ends(text: str, start: int) -> Iterator[int]:
    return (line.end for line in closed_lines(text, start) if line.blank and not line.introduces)


_MARKER = re.compile(r"(?:#+ |\*\*)?Step ")


def _before_markers(text: str, start: int) -> Iterator[int]:
    return (line.end for line in closed_lines(text, start) if _MARKER.match(text, line.end))


def _statement_ends(text: str, start: int) -> Iterator[int]:
    """Offsets of line ends in Python code at which no bracket, string or line continuation is open.

    So a step is one logical line: simple statements, or the header of a compound statement. Comment and
    decorator lines belong to the statement after them.
    """
    depth, quote, i, line = 0, "", start, start
    while i < len(text):
        char = text[i]
        if char == "\\":  # in a string, a line continuation, or a syntax error
            i += 2 if text.startswith("\r\n", i + 1) else 1
        elif quote:
            if text.startswith(quote, i):
                i += len(quote) - 1
                quote = ""
            elif char == "\n" and len(quote) == 1:
                quote = ""  # a syntax error: the string ends with its line
                continue
        elif char == "#":
            i = text.find("\n", i) - 1
            if i < 0:
                return
        elif char in "\"'":
            quote = char * 3 if text.startswith(char * 3, i) else char
            i += len(quote) - 1
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth = max(0, depth - 1)
        elif char == "\n" and depth == 0:
            code = text[line:i].lstrip()
            if code and code[0] not in "#@":
                yield i + 1
            line = i + 1
        i += 1


SEGMENTERS: Mapping[str, Segmenter] = {
    s.name: s
    for s in (
        Segmenter("newline", ("\n",), _line_ends),
        Segmenter("blank_line", ("\n\n", "\n\r\n"), _paragraph_ends),
        Segmenter("step_marker", ("\nStep ", "\n**Step ", "# Step "), _before_markers),
        Segmenter("python", ("\n",), _statement_ends, _has_text, NEVER),
    )
}
"""By their names on the command line."""
