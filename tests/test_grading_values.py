"""The values of answers, as exact numbers."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest

from bench.grading.equality import value_of
from bench.grading.worker import MathWorker


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("\\frac12", "1/2"), ("50 \\text{ m}", "50"), ("2^{10}", "1024"),
        ("35!", "10333147966386144929666651337523200000000"),
        ("\\sqrt{9}", "3"), ("\\sum_{n=1}^{10} n", "55"), ("0.5 \\cdot 3", "1.5"), ("\\int_0^1 x dx", "1/2"),
    ],
)  # fmt: skip
def test_the_value_of_an_answer_is_exact_where_it_is_rational(answer: str, value: str) -> None:
    assert value_of(answer) == Fraction(value)


def test_the_value_of_another_real_number_has_thirty_digits() -> None:
    value = value_of("\\sqrt{2}")
    assert value is not None and 0 < abs(value**2 - 2) < Fraction(1, 10**28)


@pytest.mark.parametrize(
    "answer",
    ["x", "i", "\\sqrt{-2}", "\\infty", "\\frac{1}{0}", "1, 2", "(1,2)", "x = 1", "yes", "\\text{yes}", "",
     "2 3", "1.5.2", "e^{e^{20}}", "e^{-e^{20}}", "9^{9^{9}}", "9**9**9", "1" * 1000, "(A)",
     "__import__('os').getpid()"],
)  # fmt: skip
def test_what_has_no_value(answer: str) -> None:
    assert value_of(answer) is None


def test_a_value_that_takes_too_long_is_none() -> None:
    worker = MathWorker(timeout_s=0.5)
    worker.start()
    started = time.monotonic()
    assert value_of("\\binom{10^9}{5 \\cdot 10^8}", worker=worker) is None
    assert time.monotonic() - started < 3
    worker.close()
