"""Decides whether two answers are equal: by cheap normal forms, then by math-verify in a worker process.

Text written by a model is never evaluated in this process.
"""

from __future__ import annotations

import re
from enum import StrEnum
from fractions import Fraction

from bench.grading.worker import MathWorker, Verdict


class How(StrEnum):
    """How it was decided whether two answers are equal."""

    EXACT = "exact"
    """The same text."""
    NORMAL_FORM = "normal form"
    """The same LaTeX up to notation (spacing, units, \\dfrac for \\frac, a/b, "x ="...)."""
    NUMERIC = "numeric"
    """Both are numbers, compared as exact fractions."""
    FORM = "form"
    """Of different kinds: (1,2) and [1,2], 10_2 and 10_3, a.m. and p.m."""
    MATH_VERIFY = "math-verify"
    """Compared by math-verify, symbolically."""
    TOO_LONG = "refused: too long"
    HUGE = "refused: huge number"
    CODE = "refused: code"
    TIME_OUT = "time-out"
    CRASH = "worker crashed"
    """Usually out of memory."""
    NO_ANSWER = "no answer"


MAX_CHARS = 500
"""Longer answers are refused. The longest answer of MATH has 159 characters."""

_VERDICTS = {
    Verdict.EQUAL: (True, How.MATH_VERIFY),
    Verdict.DIFFERENT: (False, How.MATH_VERIFY),
    Verdict.TIME_OUT: (False, How.TIME_OUT),
    Verdict.CRASH: (False, How.CRASH),
}

WORKER = MathWorker()


def same_number(a: str, b: str) -> tuple[bool, How]:
    """Compare two answers exactly as numbers, or as text if one of them is not a number."""
    x, y = number(a), number(b)
    if x is None or y is None:
        return a.strip() == b.strip(), How.EXACT
    return x == y, How.NUMERIC


def same_math(a: str, b: str, worker: MathWorker = WORKER) -> tuple[bool, How]:
    """Compare two answers mathematically; symmetric. Answers that are unsafe for sympy count as different.

    Raises UsageError if math-verify cannot be loaded, never because of an answer.
    """
    a, b = a.strip(), b.strip()
    if a == b:
        return bool(a), How.EXACT
    if max(len(a), len(b)) > MAX_CHARS:
        return False, How.TOO_LONG
    form_a, form_b = normal_form(a), normal_form(b)
    if _same_form(form_a, form_b):
        return True, How.NORMAL_FORM
    x, y = number(form_a), number(form_b)
    if x is not None and y is not None:
        return x == y, How.NUMERIC
    for answer in (a, b):
        if refusal := _refusal(answer):
            return False, refusal
    if _contradict(a, b, form_a, form_b):
        return False, How.FORM
    return _VERDICTS[worker.compare(*sorted((_readable(a), _readable(b))))]


_MINUS = "\u2212"
_NUMBER = re.compile(r"(?P<sign>[-+]?)(?P<whole>\d{1,3}(?:,\d{3})+|\d*)(?:\.(?P<decimals>\d*))?")
_RATIO = re.compile(r"(?P<sign>[-+]?)(?:(?P<a>\d+)/|\\[dt]?frac\{(?P<b>-?\d+)\}\{)(?P<under>\d+)\}?")


def number(text: str) -> Fraction | None:
    """The exact value of "1,234.50", "-3/4", "\\$18" or "50\\%" (50); None if the text is not a number."""
    text = re.sub(r"\\?[$%]|\\[!,;]|\s", "", text.replace(_MINUS, "-").replace("{,}", ",")).removesuffix(".")
    if len(text) > MAX_CHARS:
        return None
    if ratio := _RATIO.fullmatch(text):
        over, under = int(ratio["a"] or ratio["b"]), int(ratio["under"])
        return Fraction(-over if ratio["sign"] == "-" else over, under) if under else None
    match = _NUMBER.fullmatch(text)
    if not match or not (match["whole"] or match["decimals"]):
        return None
    digits = f"{match['whole'].replace(',', '') or '0'}.{match['decimals'] or '0'}"
    return Fraction(f"{match['sign']}{digits}")


_SPACES = re.compile(r"(\\\\)|\\[!,;:> ]|~|\\q?quad(?![a-zA-Z])|\s+")
_IGNORED = re.compile(  # layout, currency, degrees and per cent, as in the grader of Hendrycks et al.
    r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits)(?![a-zA-Z])|\\?[$%]|°"
    r"|\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree(?![a-zA-Z])|\\[()]"
)
_UNIT = re.compile(
    r"(?<=[\w})])\s*\\(?:text|textrm|mbox|mathrm)\s*\{(?!\s*[ap]\.?\s?m\b)[^{}]*\}(?:\^\{?[23]\}?)?$"
)
_FONT = re.compile(r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|mathit|rm|bf)\s*\{([^{}]*)\}")
_PART = r"\s*(?:\{([^{}]*)\}|(\\[a-zA-Z]+|\w))"
_SHORT_FRACTION = re.compile(r"\\frac" + _PART + _PART)
_LEFT_SIDE = re.compile(r"[a-zA-Z](?:_\w|\([a-z]\))?=")


def normal_form(text: str) -> str:
    """One notation for the variants in which MATH answers are written. It is not meant for sympy."""
    text = _SPACES.sub(lambda m: m[1] or " ", text).replace("{,}", ",").strip().removesuffix(".")
    text = _IGNORED.sub("", _full_fractions(text)).strip()
    text = _FONT.sub(r"\1", _UNIT.sub("", text)).removesuffix(".")
    text = re.sub(r"\\sqrt\s*(\w)", r"\\sqrt{\1}", text).replace(" ", "").replace(_MINUS, "-")
    text = re.sub(r"(?<![\d.])\.(?=\d)", "0.", text)
    text = re.sub(r"^[a-zA-Z]\\in(?![a-zA-Z])", "", text)
    if ratio := re.fullmatch(r"(-?)(\d+)/(\d+)", text):
        text = f"{ratio[1]}\\frac{{{ratio[2]}}}{{{ratio[3]}}}"
    return choice[1] if (choice := re.fullmatch(r"\(([A-Z])\)", text)) else text


def _full_fractions(text: str) -> str:
    """\\dfrac12 as \\frac{1}{2}."""
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    return _SHORT_FRACTION.sub(lambda m: f"\\frac{{{m[1] or m[2]}}}{{{m[3] or m[4]}}}", text)


def _same_form(a: str, b: str) -> bool:
    if ("=" in a) != ("=" in b):  # "x=5" and "5" are the same answer, "x=5" and "y=5" are not
        a, b = _LEFT_SIDE.sub("", a, count=1), _LEFT_SIDE.sub("", b, count=1)
    return a == b != ""


_BIG_EXPONENT = re.compile(r"(?:\^|\*\*)[{(]*[-+]?\d{5,}")
_TOWER = re.compile(r"\d[)}\]]*(?:\^|\*\*)[{(]*\d+(?:\^|\*\*)")
_BIG_FACTORIAL = re.compile(r"(?:\d{5,}|![)}\]]*|\^\{?\d+[)}]*)!(?!=)")
_CODE = re.compile(
    r"__|```|\b(?:import|lambda|exec|eval|print|getattr|globals|subprocess)\b|\b(?:os|sys)\.|\bdef \w"
)


def _refusal(answer: str) -> How | None:
    """Why an answer is not passed to sympy, None if it is. The worker's time-out handles what this misses."""
    if _CODE.search(answer):
        return How.CODE
    written = _SPACES.sub("", answer)
    if _BIG_EXPONENT.search(written) or _TOWER.search(written) or _BIG_FACTORIAL.search(written):
        return How.HUGE
    return None


def _contradict(a: str, b: str, form_a: str, form_b: str) -> bool:
    """True for different answers that math-verify calls equal, because it drops units, bases and brackets."""
    return any(
        left and right and left != right
        for left, right in (
            (_base(form_a), _base(form_b)),
            (_half_of_day(a), _half_of_day(b)),
            (_brackets(form_a), _brackets(form_b)),
        )
    )


def _base(form: str) -> str:
    match = re.search(r"\d_\{?(\d+)", form)
    return match[1] if match else ""


def _half_of_day(answer: str) -> str:
    match = re.search(r"(?<![a-zA-Z])([ap])\.?\s?m\b", answer.lower())
    return match[1] if match else ""


def _brackets(form: str) -> str:
    """The outer brackets of a list: "()", "[)", or "{}" for a set with or without braces."""
    if "," not in form or "\\cup" in form or "\\begin" in form:
        return ""
    outer = form[0] + form[-1]
    return outer if outer in {"()", "[]", "[)", "(]"} and not re.search(r"[)\]],", form) else "{}"


_PLAIN_NAME = re.compile(r"(?<![\\a-zA-Z])(pi|theta|infty)(?![a-zA-Z])")
_THOUSANDS = re.compile(r"(?<=\d)(?:,\s*\\!|\{,\})\s*(?=\d{3})")


def _readable(answer: str) -> str:
    """The answer as LaTeX that math-verify reads correctly. It would read 3/4\\pi as 3/(4\\pi)."""
    text = answer.replace("**", "^").replace(_MINUS, "-").replace("\n", " ")
    text = _THOUSANDS.sub("", _PLAIN_NAME.sub(r"\\\1", text))
    return re.sub(r"(?<![\w.}/])(\d+)/(\d+)(?![\d./])", r"\\frac{\1}{\2}", _full_fractions(text))
