"""Arithmetic of the kind that worked solutions need: their own calculations, with other numbers.

GSM8K's solutions note each calculation, as in "<<48/2=24>>". A small language model that has read a few
thousand solutions writes such lines and gets most of the results wrong; drills show it many more, cheaply.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from fractions import Fraction

from prm.data.rows import Row

NOTED = re.compile(r"<<(\d+(?:\.\d+)?(?:[-+*/]\d+(?:\.\d+)?)+)=[^<>]*>>")
NUMBER = re.compile(r"(?<![\d.])\d+(?![\d.])")
SIZE = 6
"""Calculations in a drill."""
TRIES = 30


def drills(rows: Iterable[Row], n: int, seed: int = 0) -> list[dict[str, str]]:
    """n rows in GSM8K's format, the same for the same seed. Empty if no row notes a calculation.

    rows: of GSM8K's training set, whose calculations are drawn from, as often as they occur.
    """
    noted = [text for row in rows for text in NOTED.findall(row.text("answer")) if solved(text) is not None]
    rng = random.Random(seed)
    return [
        _drill([_varied(rng.choice(noted), rng) for _ in range(SIZE)], rng) for _ in range(n if noted else 0)
    ]


def value(calculation: str) -> Fraction:
    """Of numbers with +, -, * and / between them, without brackets. Raises ZeroDivisionError."""
    total = Fraction(0)
    for sign, term in re.findall(r"([-+]?)([^-+]+)", calculation):
        product = Fraction(1)
        for operator, number in re.findall(r"([*/]?)([\d.]+)", term):
            product = product / Fraction(number) if operator == "/" else product * Fraction(number)
        total += -product if sign == "-" else product
    return total


def solved(calculation: str) -> str | None:
    """The result as GSM8K writes it, a positive number of at most two decimals; None for any other."""
    try:
        result = value(calculation)
    except ZeroDivisionError:
        return None
    if result <= 0 or (100 * result).denominator != 1:
        return None
    return f"{float(result):.2f}".rstrip("0").rstrip(".")


def _varied(calculation: str, rng: random.Random) -> str:
    """The same with other whole numbers of as many digits, so that the result can be written exactly.

    Powers of ten and decimals stay: they are percentages and prices. The calculation itself if none is found.
    """
    for _ in range(TRIES):
        other = NUMBER.sub(lambda number: _like(number[0], rng), calculation)
        if solved(other) is not None:
            return other
    return calculation


def _like(number: str, rng: random.Random) -> str:
    if re.fullmatch(r"10*", number) and len(number) > 1:
        return number
    return str(rng.randrange(10 ** (len(number) - 1), 10 ** len(number)))


def _drill(calculations: list[str], rng: random.Random) -> dict[str, str]:
    spaced, times = rng.random() < 0.5, "x" if rng.random() < 0.3 else "*"
    lines = dict[str, str]()
    for calculation in calculations:
        text = re.sub(r"([-+*/])", r" \1 ", calculation) if spaced else calculation
        lines[text.replace("*", times)] = str(solved(calculation))
    question = f"Work out {', '.join(lines)}. What is the last result?"
    answer = [f"{text} = {result}" for text, result in lines.items()]
    return {"question": question, "answer": "\n".join([*answer, f"#### {[*lines.values()][-1]}"])}
