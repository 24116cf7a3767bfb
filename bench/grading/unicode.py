"""Writes Unicode's mathematical characters in LaTeX. Standard library only."""

# ruff: noqa: RUF001 - the characters that are easily mixed up are the subject

from __future__ import annotations

import re
import unicodedata

GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma sigma"
    " tau upsilon phi chi psi omega"
).split()
_SYMBOLS = {
    "×": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "∙": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/",
    "∶": ":", "−": "-", "﹣": "-", "－": "-", "‐": "-", "‑": "-", "≤": r"\le ", "⩽": r"\le ",
    "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\neq ", "≈": r"\approx ", "±": r"\pm ", "∓": r"\mp ",
    "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "∖": r"\setminus ",
    "∠": r"\angle ", "°": r"^\circ ", "ϕ": r"\phi ", "∨": r"\vee ", "∧": r"\wedge ", "⟨": r"\langle ",
    "⟩": r"\rangle ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}", "′": "'", "’": "'", "“": '"', "”": '"', "\u200b": "", "\u2060": "", "\ufeff": "",
}  # fmt: skip
_SYMBOLS |= {chr(ord("α") + at): f"\\{name} " for at, name in enumerate(GREEK)}
_SYMBOLS |= {
    name: f"\\{macro.capitalize()} "
    for name, macro in zip(
        "ΓΔΘΛΞΠΣΦΨΩ", "gamma delta theta lambda xi pi sigma phi psi omega".split(), strict=True
    )
}
_SYMBOLS |= {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full width
_SYMBOLS |= {
    space: " " for space in "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
}
_SYMBOLS |= {space: " " for space in "\u200a\u202f\u205f\u3000\t"}
_TABLE = str.maketrans(_SYMBOLS)

_RAISED = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱʰʲʳˢˣʸᵃᵇᶜᵈᵉᵍᵏᵐᵒᵖᵗᵘᵛ]+")
_LOWERED = re.compile(r"[₀₁₂₃₄₅₆₇₈₉₊₋ᵢⱼₐₑₒₓₕₖₗₘₙₚₛₜ]+")
_STYLED = re.compile(r"[\U0001d400-\U0001d7ff]")
"""Bold, italic, script and double-struck letters and digits."""
_VULGAR = re.compile(r"[¼½¾⅐-⅞]")
_START_DASH = re.compile(r"(?:^|(?<=[(\[{,;=<>]))\s*–")


def ascii_math(text: str) -> str:
    """The text with Unicode's mathematical characters, Greek letters and spaces as LaTeX."""
    if text.isascii():
        return text
    text = _STYLED.sub(lambda m: unicodedata.normalize("NFKC", m[0]), text)
    text = _RAISED.sub(lambda m: f"^{{{unicodedata.normalize('NFKC', m[0]).replace('−', '-')}}}", text)
    text = _LOWERED.sub(lambda m: f"_{{{unicodedata.normalize('NFKC', m[0]).replace('−', '-')}}}", text)
    text = _VULGAR.sub(
        lambda m: "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", m[0]).split("⁄")), text
    )
    return _START_DASH.sub("-", text).translate(_TABLE)
