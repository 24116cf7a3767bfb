"""A preference tree as a picture: SVG without scripts, light or dark as the reader's screen."""

from __future__ import annotations

from xml.sax.saxutils import escape

from bench.report.preference_text import block
from bench.report.tree_svg import DARK, LIGHT
from prm.preference.tree import PreferenceTree

WIDTH, MARGIN, GAP = 1000, 20, 20
"""In pixels: the picture, its margin, the space between the two columns."""
ROW, CHARACTER = 16, 7.3
"""In pixels: a line of text, and a character of it."""
MOST_LINES = 12
"""Lines of an action that are shown."""
COLUMN = (WIDTH - 2 * MARGIN - GAP) // 2

RULES = """
.paper { fill: %(paper)s; } .rail { stroke: %(rail)s; fill: none; } text { fill: %(ink)s; }
.faint { fill: %(faint)s; } .box { fill: none; stroke-width: 1.6; stroke: %(faint)s; }
.box.right { stroke: %(chosen)s; } text.right { fill: %(chosen)s; }
.box.wrong { stroke: %(rejected)s; stroke-dasharray: 6 3; } text.wrong { fill: %(rejected)s; }
"""
STYLE = (
    "text { font: 12px 'DejaVu Sans Mono', ui-monospace, monospace; white-space: pre; }\n"
    f".name {{ font-weight: 600; }}{RULES % LIGHT}"
    f"@media (prefers-color-scheme: dark) {{{RULES % DARK}}}"
)


def preference_svg(tree: PreferenceTree) -> str:
    """An SVG document: the instruction, and below it the two actions of each turn side by side.

    Right actions have a whole frame, wrong ones a broken one. The whole text of a box is its tooltip.
    """
    body = list[str]()
    y = _box(body, MARGIN, MARGIN, WIDTH - 2 * MARGIN, "", f"{tree.task}, {tree.dataset}", tree.instruction)
    above = WIDTH // 2
    right, wrong = MARGIN, MARGIN + COLUMN + GAP
    for number, turn in enumerate(tree.turns, start=1):
        top = y + 34
        for x, text in ((right, turn.correct), (wrong, turn.incorrect)):
            if text is not None:
                middle = x + COLUMN // 2
                body.append(f'<path class="rail" d="M{above},{y} V{y + 17} H{middle} V{top}"/>')
        ends = [top]
        for x, kind, text in ((right, "right", turn.correct), (wrong, "wrong", turn.incorrect)):
            if text is not None:
                ends.append(_box(body, x, top, COLUMN, kind, f"turn {number}, {kind}", text))
        y, above = max(ends), wrong + COLUMN // 2
        if turn.observation is not None:
            body.append(f'<path class="rail" d="M{above},{ends[-1]} V{y + 14}"/>')
            y = _box(body, wrong, y + 14, COLUMN, "", "observation", turn.observation.text)
    height = y + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img">\n<title>Preference tree {escape(tree.id)}</title>\n'
        f'<style>{STYLE}</style>\n<rect class="paper" width="100%" height="100%"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _box(body: list[str], x: int, y: int, width: int, kind: str, name: str, text: str) -> int:
    """Draw a framed text under its name. Returns where it ends."""
    lines = block(text, int((width - 20) / CHARACTER), MOST_LINES)
    height = 30 + ROW * len(lines)
    whole = "\n".join(block(text, 10**6, None))
    body.append(f"<g><title>{escape(whole)}</title>")
    body.append(f'<rect class="box {kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>')
    body.append(f'<text class="name {kind or "faint"}" x="{x + 10}" y="{y + 18}">{escape(name)}</text>')
    for row, line in enumerate(lines):
        body.append(f'<text x="{x + 10}" y="{y + 18 + ROW * (row + 1)}">{escape(line)}</text>')
    body.append("</g>")
    return y + height
