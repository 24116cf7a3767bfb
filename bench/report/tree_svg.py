"""The outline of a search tree as a picture: SVG without scripts, light or dark as the reader's screen."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from xml.sax.saxutils import escape

from bench.report.outline import Kind, Line, Outline, cut

WIDTH, ROW, INDENT, LEFT = 1100, 22, 18, 20
"""In pixels: the picture, a line, a branch, the left margin."""
CHARACTER, BOLD = 6.7, 7.7
"""Mean widths of a character of the text, in pixels."""
BAR = 44
"""Width of the bar of a value of 1, in pixels."""

LIGHT = {
    "paper": "#ffffff", "ink": "#1a1a1a", "faint": "#6b6b6b", "rail": "#b8b8b8", "track": "#e6e6e6",
    "chosen": "#0072b2", "rejected": "#b34a00", "failed": "#a8447f", "observed": "#00755a",
}  # fmt: skip
DARK = {
    "paper": "#16181c", "ink": "#e8e8e8", "faint": "#a0a0a0", "rail": "#55585e", "track": "#33363c",
    "chosen": "#56b4e9", "rejected": "#f0a04b", "failed": "#e08bbd", "observed": "#2fc498",
}  # fmt: skip
"""Colours after Okabe and Ito 2008, which the colour-blind tell apart; every kind has a shape of its own."""
RULES = """
.paper { fill: %(paper)s; } .rail { stroke: %(rail)s; fill: none; } .track { fill: %(track)s; }
text { fill: %(ink)s; } .faint, text.folded, text.duplicate, .bar { fill: %(faint)s; }
text.observation { fill: %(observed)s; white-space: pre; }
.mark.observation { stroke: %(observed)s; fill: none; }
.mark { stroke: %(ink)s; fill: %(paper)s; stroke-width: 1.6; }
.mark.chosen-path { stroke: %(chosen)s; fill: %(chosen)s; } .bar.chosen-path { fill: %(chosen)s; }
.mark.rejected, .mark.went-back-from-here { stroke: %(rejected)s; }
.bar.rejected, .bar.went-back-from-here { fill: %(rejected)s; }
.mark.failed { stroke: %(failed)s; fill: %(failed)s; } .mark.duplicate { stroke: %(faint)s; }
.mark.folded { fill: %(faint)s; stroke: none; }
"""
STYLE = (
    "text { font: 13px system-ui, 'DejaVu Sans', sans-serif; }\n"
    ".name, text.chosen-path { font-weight: 600; } .faint { font-weight: 400; }"
    f"{RULES % LIGHT}@media (prefers-color-scheme: dark) {{{RULES % DARK}}}"
)

SHAPES = {
    Kind.CHOSEN: '<circle class="mark {kind}" cx="{x}" cy="{y}" r="5"/>',
    Kind.STEP: '<circle class="mark {kind}" cx="{x}" cy="{y}" r="4.5"/>',
    Kind.REJECTED: '<path class="mark {kind}" d="M{x},{y} m-4,-4 l8,8 m0,-8 l-8,8"/>',
    Kind.LEFT: '<path class="mark {kind}" d="M{x},{y} m4,-5 v10 l-9,-5 z"/>',
    Kind.DUPLICATE: '<path class="mark {kind}" d="M{x},{y} m-5,-2 h10 m-10,4.5 h10"/>',
    Kind.FAILED: '<path class="mark {kind}" d="M{x},{y} m0,-5 l5,5 l-5,5 l-5,-5 z"/>',
    Kind.FOLDED: '<path class="mark {kind}" d="M{x},{y} m-6,-1 h3 v3 h-3 z m6,0 h3 v3 h-3 z"/>',
    Kind.OBSERVED: '<path class="mark {kind}" d="M{x},{y} m-4,-4 l4,4 l-4,4 m5,-8 l4,4 l-4,4"/>',
}  # fmt: skip


def tree_svg(outline: Outline) -> str:
    """An SVG document. The whole text of a step or an answer to it is its tooltip."""
    body = list[str]()
    y = 30
    for name, text in outline.head:
        body.append(f'<text class="name" x="{LEFT}" y="{y}">{escape(name)}</text>')
        for part in wrap(text, int((WIDTH - 130) / CHARACTER)) or [""]:
            body.append(f'<text x="{LEFT + 80}" y="{y}">{escape(part)}</text>')
            y += 18
        y += 3
    top = y + 14
    body += _rails(outline, top)
    for row, line in enumerate(outline.lines):
        body += _row(line, top + row * ROW)
    y = top + len(outline.lines) * ROW + 16
    body += _legend(outline.kinds, y)
    # fmt: off
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 26}" width="{WIDTH}" '
        f'height="{y + 26}" role="img">\n<title>Search tree of {escape(outline.head[0][1])}</title>\n'
        f'<style>{STYLE}</style>\n<rect class="paper" width="100%" height="100%"/>\n'
        + "\n".join(body) + "\n</svg>\n"
    )


def _x(level: int) -> int:
    return LEFT + level * INDENT


def _rails(outline: Outline, top: int) -> list[str]:
    """A line down each level for as long as it goes on, and one to each branch that leaves it."""
    last = dict[int, int]()  # by level, where it was last drawn
    rails = []
    for row, line in enumerate(outline.lines):
        y = top + row * ROW
        if line.opens:
            rails.append(f'<path class="rail" d="M{_x(line.level - 1)},{y} H{_x(line.level)}"/>')
        down = line.level - 1 if line.opens else line.level
        rails.append(f'<path class="rail" d="M{_x(down)},{last.get(down, y)} V{y}"/>')
        last = {level: at for level, at in last.items() if level < line.level} | {down: y, line.level: y}
    return rails


def _row(line: Line, y: int) -> list[str]:
    x, kind = _x(line.level), line.kind.replace(" ", "-")
    note = f" [{line.note}]" if line.note else ""
    parts = [f"<g><title>{escape(line.text + note)}</title>", SHAPES[line.kind].format(x=x, y=y, kind=kind)]
    at = x + 14
    if line.kind is Kind.OBSERVED:  # below the text of the turn
        at += BAR + 82
    if line.visit is not None:
        parts.append(f'<text class="faint" x="{at}" y="{y + 4}">#{line.visit}</text>')
        at += 40
        if line.value is not None:
            parts.append(f'<rect class="track" x="{at}" y="{y - 4}" width="{BAR}" height="8"/>')
            parts.append(f'<rect class="bar {kind}" x="{at}" y="{y - 4}" width="{BAR * line.value:.1f}" '
                         'height="8"/>')  # fmt: skip
            parts.append(f'<text class="faint" x="{at + BAR + 6}" y="{y + 4}">{line.value:.2f}</text>')
        at += BAR + 42
    room = WIDTH - at - 10 - len(note) * CHARACTER
    text = cut(line.text, max(20, int(room / (BOLD if line.kind is Kind.CHOSEN else CHARACTER))))
    parts.append(f'<text class="{kind}" x="{at}" y="{y + 4}">{escape(text)}'
                 f'<tspan class="faint">{escape(note)}</tspan></text></g>')  # fmt: skip
    return parts


def _legend(kinds: Sequence[Kind], y: int) -> list[str]:
    parts, x = list[str](), LEFT
    for kind in kinds:
        parts.append(SHAPES[kind].format(x=x, y=y, kind=kind.replace(" ", "-")))
        parts.append(f'<text class="faint" x="{x + 12}" y="{y + 4}">{kind}</text>')
        x += 40 + int(len(kind) * CHARACTER)
    parts.append(f'<text class="faint" x="{x}" y="{y + 4}">#: order; bar: P(not wrong)</text>')
    return parts
