"""A preference tree for a terminal: at each turn the right action, the wrong one, and what followed it."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from prm.preference.tree import PreferenceTree, Turn

if TYPE_CHECKING:
    from rich.text import Text

CORRECT, INCORRECT, OBSERVED = "●", "✗", "»"
STYLES = {CORRECT: "bold blue", INCORRECT: "yellow", OBSERVED: "italic"}
"""The terminal's own colours, light or dark. Blue and yellow differ for the colour-blind; so do the marks."""
MOST_LINES = 8
"""Lines of an action that are shown."""
LEAST_TEXT = 30
"""Columns of an action's text, however deep the turn is."""


def preference_text(tree: PreferenceTree, width: int, *, most: int | None = MOST_LINES) -> Text:
    """The drawing. most: lines of an action; None shows all of it."""
    from rich.text import Text

    drawing = Text(no_wrap=True, overflow="ignore", end="")
    head = {
        "tree": tree.id, "task": f"{tree.task}, {tree.dataset}", "turns": str(tree.depth),
        "instruction": tree.instruction,
    }  # fmt: skip
    for name, text in head.items():
        first, *rest = block(text, max(LEAST_TEXT, width - 13), most)
        drawing.append(f"{name:<13}", "bold").append(f"{first}\n")
        for line in rest:
            drawing.append(f"{'':<13}{line}\n")
    for number, turn in enumerate(tree.turns, start=1):
        indent = "   " * (number - 1)
        drawing.append(f"\n{indent}turn {number}\n", "dim")
        _append(drawing, turn, indent, width, most)
    drawing.append(f"\n{CORRECT} right  {INCORRECT} wrong  {OBSERVED} observation\n", "dim")
    return drawing


def _append(drawing: Text, turn: Turn, indent: str, width: int, most: int | None) -> None:
    wrong = turn.incorrect is not None
    if turn.correct is not None:
        rails = ("├─", "│ ") if wrong else ("└─", "  ")
        _action(drawing, CORRECT, turn.correct, indent, rails, width, most)
    if turn.incorrect is not None:
        _action(drawing, INCORRECT, turn.incorrect, indent, ("└─", "  "), width, most)
    if turn.observation is not None:
        rails = ("   ", "   ")
        _action(drawing, OBSERVED, turn.observation.text, indent, rails, width, most)


def _action(
    drawing: Text, mark: str, text: str, indent: str, rails: tuple[str, str], width: int, most: int | None
) -> None:
    room = max(LEAST_TEXT, width - len(indent) - len(rails[0]) - 2)
    for row, line in enumerate(block(text, room, most)):
        drawing.append(f"{indent}{rails[row > 0]}", "dim")
        drawing.append(f"{mark} " if row == 0 else "  ", STYLES[mark])
        drawing.append(f"{line}\n", STYLES[mark])


def block(text: str, width: int, most: int | None) -> list[str]:
    """The lines of a text, wrapped, at least one; beyond `most`, how many more there are."""
    lines = [
        part.rstrip()
        for line in text.strip("\n").split("\n")
        for part in wrap(_printable(line), width, drop_whitespace=False, replace_whitespace=False) or [""]
    ]
    if most is None or len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"… {len(lines) - most + 1} more lines"]


def _printable(line: str) -> str:
    """Without what a terminal or XML would stumble over."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line.expandtabs(4))
