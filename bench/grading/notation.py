"""Rewrites answers in one LaTeX notation: spacing, fonts, units, fractions. Standard library only.

Answers are read in two stages. `layout` is applied to a whole answer, before it is split into parts: what
separates the parts must stay visible. `expression` is applied to one part.
"""

from __future__ import annotations

import re
from functools import lru_cache

from bench.grading.unicode import GREEK, ascii_math

_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def brace_pairs(text: str) -> dict[int, int]:
    """The position of each opening brace and of its closing one. Escaped braces do not count, as in TeX."""
    pairs, opened = {}, []
    for token in _BRACE.finditer(text):
        if token[0] == "{":
            opened.append(token.start())
        elif token[0] == "}" and opened:
            pairs[opened.pop()] = token.start()
    return pairs


def _closing(text: str, start: int) -> int | None:
    """The end of the round brackets that open at `start`; None if they are not closed."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    return None


_ROOT = re.compile(r"√|∛|∜|\\sqrt(?=\s*\()|(?<![\\a-zA-Z])sqrt(?![a-zA-Z])")
_DEGREE = {"∛": "[3]", "∜": "[4]"}
_RADICAND = re.compile(r"\d+(?:\.\d+)?|\\[a-zA-Z]+(?:\{[^{}]*\})?|[a-zA-Z]|\{[^{}]*\}")


def _roots(text: str) -> str:
    """√2/2, √(x+1) and sqrt(13) as \\sqrt{2}/2, \\sqrt{x+1} and \\sqrt{13}; inner roots first."""
    for sign in reversed(list(_ROOT.finditer(text))):
        head, rest = text[: sign.start()] + "\\sqrt" + _DEGREE.get(sign[0], ""), text[sign.end() :].lstrip()
        if rest.startswith("(") and (end := _closing(rest, 0)):
            text = f"{head}{{{rest[1:end]}}}{rest[end + 1 :]}"
        elif argument := _RADICAND.match(rest):
            radicand = argument[0][1:-1] if argument[0][0] == "{" else argument[0]
            text = f"{head}{{{radicand}}}{rest[argument.end() :]}"
        else:
            text = f"{head} {rest}"
    return text


def _powers(text: str) -> str:
    """x^(1/2) as x^{1/2}, inner powers first."""
    for sign in reversed(list(re.finditer(r"\^\s*(?=\()", text))):
        if end := _closing(text, sign.end()):
            text = f"{text[: sign.start()]}^{{{text[sign.end() + 1 : end]}}}{text[end + 1 :]}"
    return text


_ROW_OR_SPACE = re.compile(
    r"(\\\\)|\\[,;:>]|\\ |~|\\(?:q?quad|enspace|thinspace|medspace|thickspace)(?![a-zA-Z])"
    r"|\\hspace\*?\{[^{}]*\}"
)
_REWRITES = [
    (re.compile(pattern), to)
    for pattern, to in (
        (r"\\(?:left|right)\s*\.", ""),
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits)(?![a-zA-Z])", ""),
        (r"\\[lr]brace(?![a-zA-Z])", lambda m: "\\{" if m[0][1] == "l" else "\\}"),
        (r"\\([dtc])frac(?![a-zA-Z])", r"\\frac"),
        (r"\\[dt]binom(?![a-zA-Z])", r"\\binom"),
        (r"\\leq?(?:slant)?(?![a-zA-Z])", r"\\le "),
        (r"\\geq?(?:slant)?(?![a-zA-Z])", r"\\ge "),
        (r"\\neq?(?![a-zA-Z])", r"\\neq "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\varnothing(?![a-zA-Z])", r"\\emptyset "),
        (r"\\(?:text(?:rm|bf|it|normal|sf)|[mh]box|mathrm|operatorname|emph)\s*(?=\{)", r"\\text"),
        (r"\{\\(?:rm|bf|it|sf)(?![a-zA-Z])\s*", r"\\text{"),
        (r"\\(?:mathbf|mathit|mathsf|boldsymbol|bm)\s*\{([^{}]*)\}", r"\1"),
        (r"\\text\s*\{[\s,;]*(and|or)[\s,;]*\}", r" \1 "),
        (r"\\text\s*\{\s*\}", ""),
        (r"(?<!\\)\\[()\[\]]|\\?[$%]|[€£¥₹]", ""),
        (r"(?<=\d)(?:,\s*\\!|\{,\})\s*(?=\d{3})", ""),  # thousands as MATH writes them
        (r"\{,\}", ","),
        (r"\\!", ""),
        (r"\{([^{}]*)\\over(?![a-zA-Z])([^{}]*)\}", r"\\frac{\1}{\2}"),
        (r"\{([^{}]*)\\choose(?![a-zA-Z])([^{}]*)\}", r"\\binom{\1}{\2}"),
        (r"(?<=\d)\s*(?:\\text\{\s*to\s*\}|(?<![a-z])to)\s*(?=\d)", ":"),
        (r"\.\.\.+|\\[cdl]?dots(?![a-zA-Z])", r"\\ldots "),
    )
]  # fmt: skip
_SPACED_THOUSANDS = re.compile(r"(?<![\w.,^}\\])[1-9]\d{0,2}(?: {1,2}\d{3})+(?!\d)")
_BULLET = re.compile(r"\s*(?:[-*•]|\d+[.)])\s+")
_WRAPPED = re.compile(r"(?<=[-+*/=<>,;(\[{&^_|\\])\s*\n\s*|\s*\n\s*(?=[-+*/=<>,;)\]}&^_|]|\\end)|(?<=\n)\n+")


@lru_cache(maxsize=4096)
def layout(text: str) -> str:
    """The answer in ASCII and LaTeX, without delimiters, sizes, spacing, currency and per cent.

    Thousands that spaces or typographic commas separate become plain digits.
    """
    text = ascii_math(text).strip().strip("*").replace("**", "^")
    for pattern, to in _REWRITES:
        text = pattern.sub(to, text)
    if all(map(_BULLET.match, lines := text.split("\n"))) and len(lines) > 1:
        text = "\n".join(_BULLET.sub("", line, count=1) for line in lines)
    text = _WRAPPED.sub(" ", text)
    text = _ROW_OR_SPACE.sub(lambda m: m[1] or " ", text)
    text = _SPACED_THOUSANDS.sub(lambda m: m[0].replace(" ", ""), text)
    return _powers(_roots(text)).strip().rstrip(".,;: ")


def without_text(text: str) -> str:
    """\\text{odd} as odd."""
    return re.sub(r"\\text\{([^{}]*)\}", r"\1", text)


_PART = r"\s*(?:\{([^{}]*)\}|(\\[a-zA-Z]+|\w))"
_SHORT = re.compile(r"\\(frac|binom)" + _PART + _PART)
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar)\s*\{(\d+)\}")


def full_fractions(text: str) -> str:
    """\\frac12 as \\frac{1}{2}, and 0.1\\overline{6} as \\frac{15}{90}."""
    text = _SHORT.sub(lambda m: f"\\{m[1]}{{{m[2] or m[3]}}}{{{m[4] or m[5]}}}", text)
    return _REPEATING.sub(_repeating, text)


def _repeating(decimal: re.Match[str]) -> str:
    start, fixed, repeated = decimal.groups()
    over = int(start + fixed + repeated) - int(start + fixed or "0")
    return f"\\frac{{{over}}}{{{'9' * len(repeated)}{'0' * len(fixed)}}}"


_DEGREES = re.compile(r"\^\s*(?:\\circ(?![a-zA-Z])|\{\s*\\circ\s*\})|\\degree(?![a-zA-Z])")
_ANGLE = re.compile(
    r"(?P<function>(?:\\|(?<![a-zA-Z\\]))(?:sin|cos|tan|cot|sec|csc)(?:\s*\^\s*(?:\d|\{-?\d+\}))?)\s*"
    rf"(?P<open>[({{]\s*)?(?P<degrees>-?\d+(?:\.\d+)?)\s*(?:{_DEGREES.pattern})(?(open)\s*[)}}])"
)
"""A trigonometric function of an angle in degrees."""
_ORDINAL = re.compile(
    r"(?<=\d)\s*(?:\^\s*|\\textsuperscript\s*|-)?(?:{0}(?![a-zA-Z])|\{{\s*{0}\s*\}}|\\text\{{\s*{0}\s*\}}"
    r"|\{{\s*\\text\{{\s*{0}\s*\}}\s*\}})".format("(?:st|nd|rd|th)")
)
_ARTICLE = re.compile(r"^[Tt]he\s+(?=\d|[a-z]+(?:st|nd|rd|th)$)")
_EXPONENT = r"(?:\^\{?-?[123]\}?)?"
_TEXT_UNIT = re.compile(
    r"(?<=[\w})!])\s*\\text\{(?!\s*[ap]\.?\s?m\b|\s*-)(?=[^{}]*(?:[a-zA-Z]{2}|[mgshLNJWVAKCF.\s]\}))[^{}]*\}"
    rf"{_EXPONENT}$"
    r"|(?<=[\d})])\s*\\frac\s*\{\s*\\text\{[^{}]*\}\s*\}\s*\{\s*\\text\{[^{}]*\}(?:\^\{?[23]\}?)?\s*\}$"
    rf"|(?<=[\d}})])\s*\\text\{{[^{{}}]*\}}{_EXPONENT}"
    rf"(?:(?:\s|/|\*|\\cdot(?![a-zA-Z]))*\\text\{{[^{{}}]*\}}{_EXPONENT})+$"
)
_FUNCTIONS = "arcsin arccos arctan sinh cosh tanh sin cos tan cot csc log ln exp".split()
_NO_UNITS = "and or mod if for where times plus minus over to by".split()
_UNIT_WORD = rf"(?!(?:{'|'.join(_NO_UNITS + _FUNCTIONS + GREEK)}|[ap]\.?m)\b)[a-zA-Z]"
_AREA = r"\.?(?:\^\{?[23]\}?)?"
_SHORT_UNIT = "(?:mm|cm|dm|km|mg|kg|ml|mL|ft|in|yd|mi|lb|oz|hr|sq|cu)s?"
_PLAIN_UNIT = re.compile(
    rf"(?<=[\d}})])\s+(?:{_UNIT_WORD}[a-zA-Z]{{2,}}|{_SHORT_UNIT})(?![a-zA-Z]){_AREA}"
    rf"(?:[\s/]+(?:{_UNIT_WORD}[a-zA-Z]*|\d+(?=\s+[a-z]{{3}})){_AREA})*$"
    rf"|(?<=\d)(?:mm|cm|km|mg|kg|ml|mL|ft|lbs?|mph|hrs?){_AREA}$"
)
_REMARK = re.compile(r"(?<=[\d}])\s+\((?:\\text\{)?[a-zA-Z\s-]{3,}\}?\)$")
_LETTER_UNIT = re.compile(rf"(-?(?:[\d.,]+|\\frac\{{\d+\}}\{{\d+\}}))\s+[mgshLNJWVKCF](?:/[a-zA-Z]+)?{_AREA}")
_NAMES = re.compile(
    rf"(?<![\\a-zA-Z])(?:({'|'.join([name for name in GREEK if len(name) > 2] + _FUNCTIONS)}|pi|infty|sec)"
    r"|infinity)(?![a-zA-Z])"
)
_WORDS = {
    word: str(value)
    for value, words in enumerate(
        "zero,one first,two second,three third,four fourth,five fifth,six sixth,seven seventh,eight eighth,"
        "nine ninth,ten tenth,eleven eleventh,twelve twelfth".split(",")
    )
    for word in words.split()
}
_NOTHING = re.compile(
    r"(?:there (?:is|are) )?no (?:(?:real|integer|such|valid) )*(?:solutions?|roots?)|none|empty set"
)
_ALL_REALS = re.compile(r"(?:all |the )*(?:set of )?(?:all )?real(?: number)?s")


@lru_cache(maxsize=4096)
def expression(part: str) -> str:
    """One part of a `layout`, as LaTeX without unit, degree sign and the ending of an ordinal."""
    text = _ANGLE.sub(r"\g<function>(\\frac{\g<degrees>\\pi}{180})", part)
    text = _DEGREES.sub(" ", text).strip().rstrip(".,;: ")
    while text.startswith("{") and brace_pairs(text).get(0) == len(text) - 1:
        text = text[1:-1].strip()
    text = _REMARK.sub("", _ORDINAL.sub("", _ARTICLE.sub("", text)))
    text = _PLAIN_UNIT.sub("", _TEXT_UNIT.sub("", text)).strip().rstrip(".")
    if measured := _LETTER_UNIT.fullmatch(text):
        text = measured[1]
    words = " ".join(without_text(text).casefold().split())
    if words in _WORDS:
        return _WORDS[words]
    if _NOTHING.fullmatch(words):
        return "\\emptyset"
    if _ALL_REALS.fullmatch(words):
        return "\\mathbb{R}"
    text = "".join(
        piece if piece.startswith("\\text{") else _NAMES.sub(lambda m: f"\\{m[1] or 'infty'}", piece)
        for piece in re.split(r"(\\text\{[^{}]*\})", text)
    )
    text = full_fractions(re.sub(r"\\sqrt\s*(\w)", r"\\sqrt{\1}", text))
    return re.sub(r"(?<![\d.])\.(?=\d)", "0.", text).removeprefix("+").strip()


_THOUSANDS = re.compile(r"(?<![\w.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")


def normal_form(text: str) -> str:
    """One spelling of an answer that is the same but for notation. It is not meant for sympy."""
    text = without_text(expression(layout(text)))
    text = re.sub(r"(?<!\d)[^\S\n]+|[^\S\n]+(?!\d)", "", text)
    text = re.sub(r"([_^])\{(\w)\}", r"\1\2", text)
    return re.sub(r"(-?)(\d+)/(\d+)", r"\1\\frac{\2}{\3}", text) if re.fullmatch(r"-?\d+/\d+", text) else text


_MIXED = re.compile(r"(?<![\w.^}\\])(\d+)\s*\\frac\{(\d+)\}\{(\d+)\}")


def for_sympy(text: str) -> str:
    """The expression as math-verify reads it correctly. It would read 3/4\\pi as 3/(4\\pi)."""
    text = _THOUSANDS.sub(lambda m: m[0].replace(",", ""), text.replace("\n", " "))
    text = re.sub(r"(?<![\w.}/])(\d+)/(\d+)(?![\d./])", r"\\frac{\1}{\2}", text)
    return _MIXED.sub(
        lambda m: f"({m[1]}+{m[0][len(m[1]) :].strip()})" if int(m[2]) < int(m[3]) else m[0], text
    )
