"""Reads numbers: the exact value of an answer, and the numbers in a running text. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from bench.grading.notation import full_fractions, layout

MAX_CHARS = 500
"""Longer answers are refused. The longest answer of MATH has 159 characters."""

_DECIMAL = r"(?:(?P<whole>[1-9]\d{0,2}(?:,\d{3})+|\d*)(?:\.(?P<decimals>\d*))?)"
_POWER = (
    r"(?:[eE](?P<e>[-+]?\d{1,4})|\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*\{?\s*(?P<ten>[-+]?\d{1,4})\s*\}?)?"
)
_SIGN = r"(?P<sign>[-+]?)\s*"
_NUMBER = re.compile(_SIGN + _DECIMAL + _POWER)
_PURE_POWER = re.compile(_SIGN + r"(?P<base>\d{1,4})\s*\^\s*\{?\s*(?P<to>[-+]?\d{1,4})\s*\}?")
_RATIO = re.compile(
    _SIGN + r"(?:(?P<units>\d+)\s*(?=\\)|(?P<mixed>\d+)\s+(?=\d))?"
    r"(?:\\frac\{\s*(?P<over>-?\d+)\s*\}\{\s*(?P<under>-?\d+)\s*\}|(?P<a>\d+)\s*/\s*(?P<b>\d+))"
)


def number(text: str) -> Fraction | None:
    """The exact value of an answer that is one number; None if it is none.

    Reads "1,234.50", "70\\,000", "-3/4", "\\frac{3}{4}", "2 1/2", "2\\frac{1}{2}", "1.5e3",
    "1.5 \\times 10^3", "2^{10}", "\\$18" and "50\\%" (50).
    """
    if len(text) > MAX_CHARS:
        return None
    text = full_fractions(layout(text))
    if ratio := _RATIO.fullmatch(text):
        return _ratio(ratio)
    if power := _PURE_POWER.fullmatch(text):
        base, exponent = int(power["base"]), int(power["to"])
        if base == 0 and exponent <= 0:
            return None
        return (-1 if power["sign"] == "-" else 1) * Fraction(base) ** exponent
    match = _NUMBER.fullmatch(text)
    if not match or not (match["whole"] or match["decimals"]):
        return None
    digits = f"{match['whole'].replace(',', '') or '0'}.{match['decimals'] or '0'}"
    return Fraction(f"{match['sign']}{digits}") * Fraction(10) ** int(match["e"] or match["ten"] or 0)


def _ratio(match: re.Match[str]) -> Fraction | None:
    over, under = int(match["over"] or match["a"]), int(match["under"] or match["b"])
    whole = match["units"] or match["mixed"]
    if under == 0 or (whole and not 0 < over < under):  # 2 3/2 is no mixed number
        return None
    return (-1 if match["sign"] == "-" else 1) * (int(whole or 0) + Fraction(over, under))


_SEPARATOR = r"(?:[,']|\{,\}|,\\!\s?|\\[,;: !]\s?|[ ~])"
_WHOLE = rf"(?:[1-9]\d{{0,2}}(?:{_SEPARATOR}\d{{3}})+(?!\d)|\d+)"
_EXPONENT = (
    r"(?:[eE][-+]?\d{1,4}(?!\w)"
    r"|\s{0,2}(?:\\times|\\cdot|[x*])\s{0,2}10\s?\^\s?(?:\{\s?[-+]?\d{1,4}\s?\}|[-+]?\d{1,4}))"
)
_PURE = r"\d{1,4}\s?\^\s?(?:\{\s?[-+]?\d{1,4}\s?\}|[-+]?\d{1,4}(?!\w))"
_FRACTION = r"\\[dtc]?frac\s?(?:\{\s?-?\d+\s?\}|\d)\s?(?:\{\s?\d+\s?\}|\d)"
_IN_TEXT = re.compile(
    r"(?P<sign>(?<![\w)])-)?(?:\\?[$€£¥]\s?(?P<owed>-)?)?(?<!\d)(?<![_^])(?<![_^]\{)"
    rf"(?:(?P<mixed>\d+)(?:\s?(?={_FRACTION})|\ (?:and\ )?(?=\d+/\d)))?"
    rf"(?P<rest>{_FRACTION}|{_PURE}|(?:{_WHOLE}(?:\.\d+)?|\.\d+){_EXPONENT}?(?:\s?/\s?\d+(?![\d.]))?)"
)
_PLAIN = re.compile(rf"{_WHOLE}(?:\.\d+)?(?:\s?/\s?\d+)?|\.\d+")


def numbers_in(text: str) -> Iterator[re.Match[str]]:
    """The places of the numbers in a running text, in order; see `written`.

    text: after `ascii_math`.
    """
    return _IN_TEXT.finditer(text)


def written(place: re.Match[str]) -> str:
    """A number of `numbers_in` as `number` reads it, without currency and separators of thousands."""
    rest = place["rest"]
    if rest.startswith("\\"):
        rest = re.sub(r"\s", "", rest)
    elif _PLAIN.fullmatch(rest):
        rest = re.sub(r"[^\d./]", "", rest)
    mixed = f"{place['mixed']} {rest}" if place["mixed"] else ""
    sign = "-" if place["sign"] or place["owed"] else ""
    return sign + (mixed if mixed and number(mixed) is not None else rest)
