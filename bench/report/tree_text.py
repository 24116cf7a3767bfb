"""The outline of a search tree for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.outline import Kind, Line, Outline, cut

if TYPE_CHECKING:
    from rich.text import Text

MARKS = {
    Kind.FAILED: "!", Kind.CHOSEN: "●", Kind.LEFT: "↩", Kind.REJECTED: "✗", Kind.DUPLICATE: "=",
    Kind.STEP: "○", Kind.FOLDED: "…", Kind.OBSERVED: "»",
}  # fmt: skip
STYLES = {
    Kind.FAILED: "magenta", Kind.CHOSEN: "bold blue", Kind.LEFT: "yellow", Kind.REJECTED: "yellow",
    Kind.DUPLICATE: "dim", Kind.STEP: "", Kind.FOLDED: "dim italic", Kind.OBSERVED: "cyan",
}  # fmt: skip
"""The terminal's own colours, light or dark. Blue and yellow differ for the colour-blind; so do the marks."""
LEAST_TEXT = 24
"""Columns of a step's text, however deep the branch is."""


def tree_text(outline: Outline, width: int) -> Text:
    """The whole drawing, in lines of at most `width` columns where that leaves room for a step's text."""
    from rich.text import Text

    drawing = Text(no_wrap=True, overflow="ignore", end="")
    names = max(len(name) for name, _ in outline.head)
    for name, text in outline.head:
        lines = _wrapped(text, max(LEAST_TEXT, width - names - 2))
        drawing.append(f"{name:<{names}}  ", "bold").append(f"\n{' ' * (names + 2)}".join(lines) + "\n")
    drawing.append("\n")
    digits = max((len(str(line.visit)) for line in outline.lines if line.visit is not None), default=1)
    for line in outline.lines:
        _append(drawing, line, digits, width)
    marks = "  ".join(f"{MARKS[kind]} {kind}" for kind in outline.kinds)
    drawing.append(f"\n{marks}\n", "dim")
    drawing.append("#: order of sampling; number: P(step is not wrong); indented: other branches\n", "dim")
    return drawing


def _append(drawing: Text, line: Line, digits: int, width: int) -> None:
    rails = "│ " * (line.level - 1) + ("├─" if line.opens else "│ ") if line.level else ""
    visit = "" if line.visit is None else f"#{line.visit}"
    value = "" if line.value is None else f"{line.value:.2f}"
    drawing.append(rails, "dim").append(f"{MARKS[line.kind]} ", STYLES[line.kind])
    if line.kind is not Kind.FOLDED:
        drawing.append(f"{visit:<{digits + 1}} {value:>4} ", "dim")
    note = f"  [{line.note}]" if line.note else ""
    used = len(rails) + 2 + (digits + 7 if line.kind is not Kind.FOLDED else 0)
    drawing.append(cut(line.text, max(LEAST_TEXT, width - used - len(note))), STYLES[line.kind])
    drawing.append(f"{note}\n", "italic")


def _wrapped(text: str, width: int) -> list[str]:
    from textwrap import wrap

    return wrap(text, width) or [""]
