"""Reads the structure of an answer: lists, sets, points, equations, choices. Standard library only.

What is equal is decided in `bench.grading.equality`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product

from bench.grading.notation import brace_pairs, layout, without_text
from bench.grading.unicode import GREEK

MAX_DEPTH = 20
"""Deeper brackets are not taken apart."""


@dataclass(frozen=True, slots=True)
class One:
    """A single expression, inequality or word."""

    text: str


@dataclass(frozen=True, slots=True)
class Equation:
    """left: the first side. value: the last one.

    name: the left side without spaces if it only names something ("x", "f(x)", "AB"), else "".
    """

    text: str
    left: str
    name: str
    value: Answer


@dataclass(frozen=True, slots=True)
class Many:
    """An answer of several parts.

    brackets: "" for a list without brackets, "{}" for a set; both have no order. "()", "[)", "<>", ... for
        a point or an interval, ":" for a ratio of three or more.
    union: the parts are joined by "or".
    """

    text: str
    brackets: str
    parts: tuple[Answer, ...]
    union: bool = False

    @property
    def is_unordered(self) -> bool:
        return self.brackets in ("", "{}")


@dataclass(frozen=True, slots=True)
class Choice:
    """A multiple choice: its letter and, if the answer repeats it, the text of the option."""

    text: str
    letter: str
    option: Answer | None


Answer = One | Equation | Many | Choice


@lru_cache(maxsize=4096)
def read(answer: str, *, thousands: bool = True) -> Answer:
    """The structure of an answer.

    thousands: whether 121,484 is one number, as it usually is; otherwise it is a list of two.
    """
    return _read(layout(answer), thousands)


_NO_OPTION = r"(?!(?:and|or)\b|[-+]\S|[=<>^/*,;&]|\\(?:cup|cap|times|cdot|setminus|subset|in|le|ge|neq)\b)"
_CHOICE = re.compile(
    rf"(?:(?:option|choice|answer)\s*:?\s*)?\(\s*(?P<bracketed>[A-J])\s*\)[.:]?(?P<one>\s*{_NO_OPTION}(?![(\[]).*)"
    rf"|(?:option|choice|answer)\s*:?\s+(?P<called>[A-J])(?![\w'])\s*[.:)]?(?P<two>\s*{_NO_OPTION}.*)"
    rf"|(?P<marked>[A-J])(?:\)|[.:](?=\s|$)|:(?=\d))(?P<three>\s*{_NO_OPTION}.*)"
    r"|(?P<dashed>[A-J])\s*(?:[-\u2013\u2014]+\s*(?P<four>[a-z]+\s+[a-z].*)|\((?P<five>[a-z][a-z\s]+)\))",
    re.DOTALL | re.IGNORECASE,
)
_ELEMENT = re.compile(r"(?:[a-zA-Z]|\\[a-z]+)\s*\\in(?![a-zA-Z])\s*")
_WORD = re.compile(r"(?!.*\b(?:and|or)\b)[a-zA-Z][a-zA-Z\s'.-]*", re.DOTALL)


def _read(text: str, thousands: bool, depth: int = 0) -> Answer:
    text = _unwrapped(text)
    if depth > MAX_DEPTH:
        return One(text)
    deeper = partial(_read, thousands=thousands, depth=depth + 1)
    if choice := _CHOICE.fullmatch(without_text(text)):
        letter = next(filter(None, choice.group("bracketed", "called", "marked", "dashed")))
        option = next(filter(None, choice.group("one", "two", "three", "four", "five")), "").strip()
        if letter.isupper():
            return Choice(text, letter, deeper(option) if option else None)
    parts, union = _split(text, thousands)
    if len(parts) > 1:
        return Many(text, "", _flat(map(deeper, parts)), union)
    text = _exact(parts[0] if parts else text)
    if len(signs := _signs(text)) > 1:
        return Many(text, "", _flat(map(deeper, signs)))
    if element := _ELEMENT.match(text):
        return deeper(text[element.end() :])
    if (sides := _sides(text)) is not None:
        left, value = sides
        name = re.sub(r"\s", "", left) if _NAME.fullmatch(left) else ""
        return Equation(text, left, name, deeper(value))
    return _group(text, deeper) or One(text)


_ROWS = re.compile(
    r"\\begin\{(?P<name>cases|aligned|gathered|split)\}(?P<rows>(?:(?!\\begin).)*)\\end\{(?P=name)\}",
    re.DOTALL,
)
_CONDITIONS = re.compile(r"&\s*\\text|&[^=<>&]*\\\\")


def _unwrapped(text: str) -> str:
    """Without braces, \\text or aligned rows around all of it.

    \\text{odd} stays, so that it is not taken for a product.
    """
    while True:
        text = text.strip().rstrip(".,;: ")
        opening = "\\text{" if text.startswith("\\text{") else "{"
        if (rows := _ROWS.fullmatch(text)) and not _CONDITIONS.search(rows["rows"]):
            text = rows["rows"].replace("&", "")
        elif text.startswith(opening) and brace_pairs(text).get(len(opening) - 1) == len(text) - 1:
            inner = text[len(opening) : -1]
            if opening != "{" and _WORD.fullmatch(inner):
                return text
            text = inner
        else:
            return text


_TOKEN = re.compile(
    r"(?P<open>\\begin\s*\{[^{}]*\}|\\\{|\\langle(?![a-zA-Z])|[(\[{])"
    r"|(?P<close>\\end\s*\{[^{}]*\}|\\\}|\\rangle(?![a-zA-Z])|[)\]}])|\\\\|\\[a-zA-Z]+|\\?.",
    re.DOTALL,
)


def _outside(text: str) -> str:
    """The text with NUL for all that stands in brackets, brackets included. Positions stay."""
    pieces, depth = [], 0
    for token in _TOKEN.finditer(text):
        depth += token["open"] is not None
        pieces.append("\0" * len(token[0]) if depth else token[0])
        depth -= token["close"] is not None and depth > 0
    return "".join(pieces)


_COMPACT = re.compile(r"(?<![\w.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)")
_SEPARATORS = re.compile(
    r"(?:\s*(?:[,;&\n]|\\\\|\\(?:vee|lor|wedge|land)(?![a-zA-Z])|(?<![\\a-zA-Z])(?:and|or)(?![a-zA-Z])))+\s*"
)


def _split(text: str, thousands: bool) -> tuple[list[str], bool]:
    """The parts of a list, and whether "or" joins them."""
    outside = _outside(text)
    if thousands:
        outside = _COMPACT.sub(lambda m: m[0].replace(",", "0"), outside)
    parts, start, union = [], 0, False
    for separator in _SEPARATORS.finditer(outside):
        parts.append(text[start : separator.start()])
        union |= re.search(r"\bor\b|\\vee|\\lor", separator[0]) is not None
        start = separator.end()
    return [part.strip() for part in (*parts, text[start:]) if part.strip()], union


_SIGN = re.compile(r"\\([pm][mp])(?![a-zA-Z])")


def _signs(text: str) -> list[str]:
    """The expressions that one with \\pm or \\mp stands for."""
    found = _SIGN.findall(text)
    if not found or len(found) > 3:
        return [text]
    linked = "mp" in found
    combinations = [("+",) * len(found), ("-",) * len(found)] if linked else product("+-", repeat=len(found))
    written = []
    for combination in combinations:
        signs = iter(combination)

        def sign(match: re.Match[str], signs: Iterator[str] = signs) -> str:
            plus = (next(signs) == "+") == (match[1] == "pm")
            return "+" if plus else "-"

        written.append(_SIGN.sub(sign, text))
    return written


def _flat(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    """A list in a list is part of it."""
    return tuple(
        part
        for answer in answers
        for part in (answer.parts if isinstance(answer, Many) and answer.brackets == "" else (answer,))
    )


_LETTER = rf"(?:[a-zA-Z]|\\(?:{'|'.join(GREEK)}|varphi|ell)(?![a-zA-Z]))"
_ACCENT = r"\\(?:vec|hat|bar|tilde|overline|overrightarrow|widehat|mathcal|mathbb)\{[a-zA-Z]{1,3}\}"
_INDEX = r"(?:_(?:\w|\{[^{}]*\})|'+)*"
_WORDS = r"(?:\\text\{[^{}]*\}|[a-zA-Z]{4,}|max|min|sum|gcd|lcm|det|dim|deg|[a-zA-Z]+(?: [a-zA-Z]+)+)"
_NAME = re.compile(
    rf"(?:{_LETTER}{_INDEX}|{_ACCENT}{_INDEX}|{_WORDS}|[A-Z]{{2,4}}{_INDEX}"
    rf"|(?:m\s*)?\\(?:angle|triangle|overline)\s*\{{?[A-Z]+\}}?|\|[A-Z]{{2}}\||\[[A-Z]{{3,}}\]"
    rf"|[A-Z](?:\^\{{?(?:-1|T)\}}?)|\\frac\s*\{{d(?:\^\d)?\s*[a-zA-Z]\}}\s*\{{d[a-z](?:\^\d)?\}}"
    rf"|(?:[fghpqrPQSTVNFGHE]|\\(?:det|dim|deg|gcd|max|min|Pr|phi))(?:\^\{{-1\}})?{_INDEX}\s*[(\[][^=]*[)\]]"
    rf"|{_LETTER}{_INDEX}\(\s*\w(?:\s*,\s*\w)*\s*\)"
    rf"|\(\s*{_LETTER}{_INDEX}(?:\s*,\s*{_LETTER}{_INDEX})+\s*\))"
)
_EQUALS = re.compile(r"(?<![<>!=]):?=(?!=)")
_ABOUT = re.compile(r"\\(?:approx|simeq)(?![a-zA-Z])")
_RELATION = re.compile(r"[<>]|\\(?:le|ge|neq)(?![a-zA-Z])")


def _exact(text: str) -> str:
    """\\sqrt{2} \\approx 1.41 as \\sqrt{2}, and x \\approx 1.41 as x = 1.41."""
    if about := _ABOUT.search(_outside(text)):
        before, after = text[: about.start()].strip(), text[about.end() :]
        return f"{before} = {after}" if _NAME.fullmatch(before) else before
    return text


def _sides(text: str) -> tuple[str, str] | None:
    """The first and the last side of an equation; None if it is none."""
    outside = _outside(text)
    signs = list(_EQUALS.finditer(outside))
    if not signs or _RELATION.search(outside):
        return None
    return text[: signs[0].start()].strip(), text[signs[-1].end() :].strip()


_CLOSING = {")": ")", "]": "]", "\\}": "}", "\\rangle": ">"}
_SET_BUILDER = re.compile(
    rf"(?P<name>{_LETTER})(?:\s*\\in\s*\\mathbb\{{R\}})?\s*(?:\||:|\\mid(?![a-zA-Z]))(?P<condition>.*)",
    re.DOTALL,
)


def _group(text: str, deeper: Callable[[str], Answer]) -> Answer | None:
    """A point, an interval, a set, or a ratio of at least three numbers.

    A comma in (1,234) separates parts; in (1,234, 5,678) only one with a space does.
    """
    if re.fullmatch(r"[^:]+(?::[^:]+){2,}", text):
        return Many(text, ":", tuple(map(deeper, text.split(":"))))
    if (edges := _edges(text)) is None:
        return None
    brackets, inside = edges
    if brackets == "{}" and (builder := _SET_BUILDER.fullmatch(inside.strip())):
        return deeper(builder["condition"])
    if brackets == "{}" and not inside.strip():
        return One("\\emptyset")
    parts, _ = _split(inside, re.search(r"[,;]\s", _outside(inside)) is not None)
    if brackets == "{}":
        return Many(text, "{}", _flat(map(deeper, parts)))
    if len(parts) < 2:
        return None
    words = _SEPARATORS.search(re.sub(r"[,;]", "", _outside(inside)))
    return deeper(inside) if words else Many(text, brackets, tuple(map(deeper, parts)))


def _edges(text: str) -> tuple[str, str] | None:
    """The brackets around all of the text, as in "[)", and what is in them; None if there are none."""
    depth = 0
    tokens = list(_TOKEN.finditer(text))
    if not tokens or tokens[0]["open"] not in ("(", "[", "\\{", "\\langle"):
        return None
    for token in tokens:
        depth += (token["open"] is not None) - (token["close"] is not None)
        if depth == 0:
            if token.end() < len(text) or token[0] not in _CLOSING:
                return None
            opening = tokens[0][0].replace("\\langle", "<")[-1]
            return opening + _CLOSING[token[0]], text[tokens[0].end() : token.start()]
    return None


def interval(answer: Answer) -> str | None:
    """The interval that inequalities for one name describe, in LaTeX; None for any other answer.

    1 < x \\le 2 is (1,2], and "x < 1 or x > 3" is (-\\infty,1)\\cup(3,\\infty).
    """
    parts = answer.parts if isinstance(answer, Many) and answer.brackets == "" else (answer,)
    found = [_inequality(part.text) for part in parts if isinstance(part, One)]
    known = [one for one in found if one is not None]
    if len(known) < len(parts) or len({name for name, _ in known}) > 1:
        return None
    joint = "\\cup " if isinstance(answer, Many) and answer.union else "\\cap "
    return joint.join(written for _, written in known)


_FLIPPED = {"<": ">", "\\le": "\\ge", ">": "<", "\\ge": "\\le", "\\neq": "\\neq"}
_BOUNDED = {
    "<": "(-\\infty,{0})", "\\le": "(-\\infty,{0}]", ">": "({0},\\infty)", "\\ge": "[{0},\\infty)",
    "\\neq": "(-\\infty,{0})\\cup ({0},\\infty)",
}  # fmt: skip


def _inequality(text: str) -> tuple[str, str] | None:
    """The name that an inequality bounds, and its interval."""
    signs = list(_RELATION.finditer(_outside(text)))
    cuts = [0, *(cut for sign in signs for cut in sign.span()), len(text)]
    sides = [text[start:end].strip() for start, end in zip(cuts[::2], cuts[1::2], strict=True)]
    relations = [sign[0] for sign in signs]
    if not all(sides) or len(relations) not in (1, 2):
        return None
    if relations[0] in (">", "\\ge") if len(sides) == 3 else not _NAME.fullmatch(sides[0]):
        sides, relations = sides[::-1], [_FLIPPED[relation] for relation in relations[::-1]]
    if len(sides) == 2:
        name, bound = sides
        return (name, _BOUNDED[relations[0]].replace("{0}", bound)) if _NAME.fullmatch(name) else None
    low, name, high = sides
    if not _NAME.fullmatch(name) or not set(relations) <= {"<", "\\le"}:
        return None
    left, right = "(["[relations[0] == "\\le"], ")]"[relations[1] == "\\le"]
    return name, f"{left}{low},{high}{right}"
