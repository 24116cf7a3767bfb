"""Where the answer is in a text: boxes, marked lines, statements, and the last mathematics as a fallback."""

# ruff: noqa: RUF001 - Unicode's mathematical characters are what is tested

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.grading.extract import math_answer, number_answer, number_in_words, reference_answer, stated_number
from bench.grading.fallback import is_sentence, last_mathematics
from bench.tasks import TEXT_TASKS

FRAGMENTS = (
    "\\boxed{ { } ( ) [ ] \\{ \\} $ $$ \\( \\) \\[ \\] \n . , ; = and or so x 1 1/2 ½ √ ² #### answer is ٣"
    " \\frac \\text{ \\pm \\mp \\\\ \0 \\begin{cases} \\end{cases} 1e9 \\left \\right : | \\approx"
).split(" ")
PIECES = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(" ".join)
UNITS = [
    "\\boxed{1} and ",
    "\\boxed{x} = ",
    "$a$ and ",
    "\\[x\\]",
    "\\(",
    "$",
    "1 000 ",
    "x ",
    "####1\n",
    "½√",
    "a.\n",
]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The solutions are $\\boxed{1331}$ and $\\boxed{1728}$.", "1331, 1728"),
        ("The solutions are $\\boxed{1331}$\nand $\\boxed{1728}$.", "1331, 1728"),
        ("either $\\boxed{2}$ or $\\boxed{3}$", "2 or 3"),
        ("\\[\\boxed{x=2}\\]\nand\n\\[\\boxed{x=3}\\]", "x=2, x=3"),
        ("The answers are:\n- $\\boxed{3}$\n- $\\boxed{5}$\n", "3, 5"),
        ("The answers are:\n1. $\\boxed{3}$\n2. $\\boxed{5}$\n", "3, 5"),
        ("Case 1 gives $\\boxed{3}$, case 2 gives $\\boxed{5}$.", "3, 5"),
        ("We have $2x=\\boxed{10}$, which gives $x=\\boxed{5}$.", "5"),
        ("$x = \\boxed{3}$\n\n$y = \\boxed{4}$", "3, 4"),
        ("They are \\boxed{3} and \\boxed{4}. Their product is 12.", "3, 4"),
        ("One is $\\boxed{2}$. The other is $\\boxed{3}$.", "3"),
        ("So the sum is $\\boxed{5}$\nTherefore the answer is $\\boxed{12}$", "12"),
        ("Since $2x=\\boxed{10}$, so $x=\\boxed{5}$.", "5"),
        ("\\boxed{2x=4} \\implies \\boxed{x=2}", "x=2"),
        ("$\\boxed{2} + \\boxed{3} = \\boxed{5}$", "5"),
        ("$\\boxed{\\frac13} \\approx \\boxed{0.333}$", "\\frac13"),
        ("Thus $x=\\boxed{5}$, and the answer is $\\boxed{5}$.", "5"),
        ("Thus $a=\\boxed{3}, b=\\boxed{4}, c=\\boxed{3}$.", "3, 4, 3"),
        ("Thus $\\alpha = \\boxed{3}$ and $\\beta_{1} = \\boxed{3}$.", "3, 3"),
        ("Thus $x=\\boxed{3}$, i.e. $x=\\boxed{3.0}$.", "3.0"),
        ("Thus $a + b=\\boxed{3}$, $N=\\boxed{3}$.", "3"),
        ("\\boxed{\\frac12} or \\boxed{0.5}", "0.5"),
        ("$\\boxed{x = 5}$, that is $\\boxed{5}$", "5"),
        ("$\\boxed{x = 5}$ and $\\boxed{y = 5}$", "x = 5, y = 5"),
        ("\\boxed{} and \\boxed{4}", "4"),
        ("\\boxed{}", None),
        ("\\boxed{}. The answer is 4.", "4"),
    ],
)
def test_several_boxes(text: str, answer: str | None) -> None:
    assert math_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("$(\\boxed{3, \\frac{\\pi}{2}})$", "(3, \\frac{\\pi}{2})"),
        ("$\\left( \\boxed{3}, \\boxed{4} \\right]$", "(3, 4]"),
        ("$\\{\\boxed{1, 2}\\}$", "\\{1, 2\\}"),
        ("$(\\boxed{1}, \\boxed{2})$ and $(\\boxed{3}, \\boxed{4})$", "(1, 2), (3, 4)"),
        ("\\(\\boxed{1, 2}\\)", "1, 2"),
        ("\\[\\boxed{1, 2}\\]", "1, 2"),
        ("(see $\\boxed{1, 2}$)", "1, 2"),
        ("$(\\boxed{5})$", "5"),
        ("$[0, \\boxed{5})$", "5"),
        ("\0 $\\boxed{1}$ \0 and $(\\boxed{2}\0)$", "1, 2"),
    ],
)
def test_brackets_around_boxes(text: str, answer: str) -> None:
    assert math_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answers are $2$ and $3$.", "2 and 3"),
        ("The answers are 2 and 3.", "2 and 3"),
        ("The answer is $5$ because $2+3=5$.", "5"),
        ("The answer is 5 because 2+3=5.", "5"),
        ("The answer is $5$ cm.", "5"),
        ("The answer is $x$ = 5.", "x = 5"),
        ("The answer is: $$\\frac12$$ as claimed", "\\frac12"),
        ("**Answer:** (C) 12", "(C) 12"),
        ("The answer is the interval $(2,4)$.", "(2,4)"),
        ("The answer is therefore equal to 12.", "12"),
        ("The answer is approximately 3.14.", "3.14"),
        ("The answer is approximately equal to $3.14$.", "3.14"),
        ("The answer is about 5.2 m/s.", "5.2 m/s"),
        ("The answer is roughly 18.5 miles.", "18.5 miles"),
        ("The answer is around the number 7.", "7"),
        ("Answer: nearly 18", "18"),
        ("The answer is exactly $x$ and then $y$.", "x and then y"),
        ("The answer is the set A.", "the set A"),
        ("The answer is E: a polygenic score.", "E: a polygenic score"),
        ("Final answer: \\(\\frac{1}{2}\\).", "\\frac{1}{2}"),
        ("#### 18 dollars per 7 days", "18 dollars per 7 days"),
    ],
)
def test_statements(text: str, answer: str) -> None:
    assert math_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("#### 18 dollars per 7 days", "18"),
        ("#### 18 dollars\nI hope that helps with all 3 parts.", "18"),
        ("#### 3 Calculations\nThe total is 18", "18"),
        ("#### 1. Costs\nThe total is 18", "18"),
        ("#### 5 x 3 = 15 dollars", "15"),
        ("### Answer\n18 dollars for 3 days", "18"),
        ("#### **$1,234.50**", "1234.50"),
        ("#### €18", "18"),
        ("#### −5", "-5"),
        ("#### 1 000 000", "1000000"),
        ("#### 1\u202f000\u202f000", "1000000"),
        ("#### 2 1/2", "2 1/2"),
        ("#### 2½ cups", "2 \\frac{1}{2}"),
        ("\\boxed{3\\frac12}", "3 \\frac12"),
        ("#### \\frac 34", "\\frac34"),
        ("#### 1.5e3", "1.5e3"),
        ("The answer is 2 and 1/2 cups", "2 1/2"),
        ("\\boxed{70\\,000}", "70000"),
        ("\\boxed{2\\frac{1}{2}}", "2 \\frac{1}{2}"),
        ("\\boxed{1.2 \\times 10^3}", "1.2 \\times 10^3"),
        ("#### 10^3", "10^3"),
        ("The answer is 10^{2}.", "10^{2}"),
        ("#### 2^5", "2^5"),
        ("#### 5 / 2", "5/2"),
        ("#### 30 minutes / 2 people", "30"),
        ("#### 1'000'000", "1000000"),
        ("#### 18 = 9*2", "18"),
        ("#### 2 * 9 = 6 * 3 = 18", "18"),
        ("The answer is 18 dollars = 9 * $2.", "18"),
        ("The answer is x = 1.5 x 10^3.", "1.5 x 10^3"),
        ("The answer is x = 3/4.", "3/4"),
        ("about 25 m²", "25"),
        ("about 25 m^{2}", "25"),
        ("121, 484", "484"),
    ],
)
def test_numbers(text: str, answer: str) -> None:
    assert number_answer(text) == answer
    assert TEXT_TASKS["gsm8k"]().equal(answer, answer)


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        ("18 times", "18"),
        ("that she has 18 apples", "18"),
        ("that x = 18 for her", "18"),
        ("18** in all", "18"),
        ("18 apples, 3 of them red", "18"),
        ("\\$1,018.50 for each of 3 days", "1018.50"),
        ("\\text{Jan has 18 figs}", "18"),
        ("18 m of rope", "18"),
        ("9 times 2 = 18 for Ann", "18"),
        ("\\frac{1}{2} of the cake", "\\frac{1}{2}"),
        ("17 of 18 apples", "17"),
        ("18", None),
        ("18 miles", None),
        ("18 times 2 apples", None),
        ("18 times \\pi", None),
        ("18x for all x", None),
        ("18 x for all x", None),
        ("18\\sqrt{2} of them", None),
        ("sqrt 18 of them", None),
        ("18^2 of them", None),
        ("3 times 18 apples", None),
        ("18 + 2 of them", None),
        ("18 to 20 apples", None),
        ("18 or 20 apples", None),
        ("18 and 3 apples", None),
        ("2x = 18 as required", None),
        ("25 - 6 = 18 eggs", None),
        ("x < 18 for all", None),
        ("(18, 3) for all", None),
        ("none of them", None),
    ],
)
def test_a_number_in_words(statement: str, answer: str | None) -> None:
    assert number_in_words(statement) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("18", "18"),
        ("\\frac{3}{4}", "\\frac{3}{4}"),
        ("2 + 3 = <<2+3=5>>5\n#### 5", "5"),
        ("2 + 3 = 5 #### 5", "5"),
        ("It is $\\boxed{5}$.", "5"),
        ("Half is $\\boxed{9}$.\n#### 18", "18"),
        ("#### Step 1\n2 + 3 = $\\boxed{5}$", "5"),
        ("2 + 3 = 5. The answer is 5.", "5"),
        ("2 + 3 ####", ""),
    ],
)
def test_references(text: str, answer: str) -> None:
    assert reference_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\[\n(2 + 1)(2 + 1) = 9\n\\]\n\nSo, 196 has \\( 9 \\) positive divisors.", "9"),
        ("We get $x = 2$. So the value of $n$ is 12.", "12"),
        ("Hence 12 is the value of $n$.", "12"),
        ("The roots are $2$ and $3$.", "2 and 3"),
        ("The roots are 2 and 3.", "2 and 3"),
        ("The roots are\n1. $x=3$\n2. $x=5$\n", "x=3, x=5"),
        ("The roots are\n- $3$\n- $-5$\n", "3, -5"),
        ("Thus x = 3, y = 4.", "x = 3, y = 4"),
        ("Thus x = √2/2.", "x = √2/2"),
        ("We get\n\\[ x = 5. \\]", "x = 5"),
        ("We get\n$$ x = 5 $$\nas wanted.", "x = 5"),
        ("\\[x=2\\]\nand\n\\[x=3\\]", "x=2\nand\nx=3"),
        ("The point is ($3$, $4$).", "(3, 4)"),
        ("Then\n\\begin{align*}\nx &= 2 + 3 \\\\\n&= 5.\n\\end{align*}", "5"),
        ("Then\n\\[\\begin{aligned} x &= 2 + 3 \\\\ y &= 5 \\end{aligned}\\]", "y = 5"),
        ("$3$, $4$ (", "3, 4"),
        ("The interval is [2, 5).", "[2, 5)"),
        ("She has $20 left.", "20"),
        ("Of 5 roots, none is real.\nI hope this helps!", None),
        ("there are no solutions", None),
        ("", None),
    ],
)
def test_the_last_mathematics_of_the_last_sentence(text: str, answer: str | None) -> None:
    assert last_mathematics(text) == answer


def test_only_texts_that_state_no_answer_fall_back() -> None:
    for name in ("math", "jsonl", "gsm8k"):
        task = TEXT_TASKS[name]()
        assert task.stated("So there are 9.") is None and task.extract("So there are 9.") == "9"
        assert task.falls_back("So there are 9.") and not task.falls_back("The answer is 8.")
        assert not task.falls_back("So there is nothing.")
        assert task.extract("The answer is 8. So there are 9.") == "8"
        task.strict = True
        assert task.extract("So there are 9.") is None and not task.falls_back("So there are 9.")
        assert task.extract("The answer is 8. So there are 9.") == "8"


@pytest.mark.parametrize(
    "line", ["x = 2 or x = 4", "all real numbers except 3", "$5$ cm", "\\text{There are none}"]
)
def test_answers_are_no_sentences(line: str) -> None:
    assert not is_sentence(line)


@given(PIECES)
def test_extraction_never_raises(text: str) -> None:
    for extract in (math_answer, number_answer, stated_number, last_mathematics, number_in_words):
        answer = extract(text)
        assert answer is None or answer == answer.strip() != ""
    is_sentence(text)
    reference_answer(text)


@pytest.mark.parametrize("unit", UNITS)
def test_long_texts_take_linear_time(unit: str) -> None:
    text = unit * (50_000 // len(unit))
    started = time.monotonic()
    for extract in (math_answer, number_answer, last_mathematics, is_sentence):
        extract(text)
    assert time.monotonic() - started < 5


def test_deep_boxes_are_read() -> None:
    deep = "{" * 3000 + "1" + "}" * 3000
    assert math_answer(f"\\boxed{{{deep}}} and \\boxed{{{deep}}}") == deep
