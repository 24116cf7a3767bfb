"""What is equal and what is not, by kinds of answers. Every pair is graded, and voted on in both orders."""

# ruff: noqa: RUF001 - Unicode's mathematical characters are what is tested

from __future__ import annotations

import time

import pytest

from bench.grading.equality import How, right_math, same_math
from bench.grading.grade import grade_math
from bench.grading.numeric import number
from bench.grading.worker import Allowance, MathWorker, Verdict
from bench.tasks import TEXT_TASKS

SAME = {
    "lists": """
        121, 484 == 484, 121
        121,484 == 484, 121
        1;2 == 2, 1
        1 and 2 == 2, 1
        1 & 2 == 2, 1
        1 \\\\ 2 == 2, 1
        1, 2, and 3 == 3,2,1
        5\\text{ or }6 == 6, 5
        2,1,1 == 1,2,1
        \\frac{1}{2} , \\frac{1}{3} == 1/3, 1/2
        1, 2, \\ldots, 10 == 1,2,\\dots,10
        (1,2), (3,4) == (3,4),(1,2)
        \\text{Monday and Tuesday} == \\text{Tuesday and Monday}
        \\begin{cases} x=1 \\\\ y=2 \\end{cases} == y=2, x=1
        x + 1 or 1 + x == x+1
        A, C == C and A""",
    "sets": """
        \\{1,2\\} == 2, 1
        \\{1,1,2\\} == \\{2,1\\}
        \\left\\{ 1, 2 \\right\\} == \\lbrace 1,2 \\rbrace
        x \\in \\{1,2\\} == 1, 2
        \\{(1,2),(3,4)\\} == (3,4) and (1,2)
        \\{5\\} == 5
        \\{x \\mid x > 2\\} == (2,\\infty)
        \\{\\} == \\emptyset
        \\text{no solution} == \\varnothing
        no real solutions == ∅
        all real numbers == \\mathbb{R}""",
    "plus or minus": """
        \\pm 2 == 2, -2
        x = \\pm 2 == -2, 2
        1 \\pm \\sqrt{2} == 1-\\sqrt2, 1+\\sqrt2
        \\frac{1\\pm\\sqrt5}{2} == \\frac{1+\\sqrt5}{2}, \\frac{1-\\sqrt5}{2}
        2 \\pm 3i == 2+3i, 2-3i""",
    "thousands": """
        121,484 == 121484
        12,345,678 == 12345678
        1,234, 5,678 == 5678, 1234
        70\\,000 == 70000
        1 000 000 == 1000000
        1\u202f000\u202f000 == 1000000
        1\u00a0000 == 1000
        1{,}000 == 1000
        11,\\! 111,\\! 100 == 11111100
        (1,000, 2,000) == (1000, 2000)
        \\$1,234.50 == 1234.5""",
    "mixed numbers": """
        2\\frac{1}{2} == 2.5
        2 \\tfrac12 == 2.5
        2 1/2 == \\frac{5}{2}
        -2\\frac{1}{2} == -2.5
        2½ == 2.5
        1\\frac{3}{4}\\text{ cups} == 1.75
        2\\frac{1}{4}\\pi == \\frac94\\pi
        x + 1 3/4 == x + \\frac74
        x^2 3 == 3x^2""",
    "numbers": """
        2^{10} == 1024
        -2^2 == -4
        2^{-3} == 0.125
        1.5e3 == 1500
        1.5E-3 == 0.0015
        1.5 \\times 10^3 == 1500
        1.5×10³ == 1500
        15 \\cdot 10^{2} == 1500
        10^{-5} == 0.00001
        .5 == \\frac12
        {1 \\over 2} == 0.5
        0.1\\overline{6} == \\frac16
        2^{-98} == \\frac{1}{2^{98}}
        \\frac{1}{2004!} == \\frac{2005}{2005!}
        \\sqrt{2}+\\sqrt{3} == \\sqrt{5+2\\sqrt{6}}
        \\sin^2(\\frac{\\pi}{5})+\\cos^2(\\frac{\\pi}{5}) == 1
        3.14159265359 == \\pi
        0.1x+0.2x == 0.3x""",
    "complex numbers": """
        \\frac{1}{5}-\\frac{2}{5}i == \\frac{1-2i}{5}
        0.2-0.4i == \\frac15-\\frac25 i
        2+i == 2+1i
        3 i+2 == 2+3i
        3\\sqrt{2}i == 3i\\sqrt{2}
        1\\pm i\\sqrt{12} == 1\\pm 2i\\sqrt{3}
        i^2 == -1
        e^{i\\pi} == -1
        |3+4i| == 5
        x+i == x+1i
        3x+i == 3x+1i
        z^2 = 2+i == z^2 = 2+1i
        \\{2+i, 3\\} == \\{3, 2+1i\\}
        \\begin{pmatrix} i \\\\ 1 \\end{pmatrix} == \\begin{pmatrix} 1i \\\\ 1 \\end{pmatrix}""",
    "sums": """
        \\sum_{i=1}^n i == \\frac{n(n+1)}{2}
        \\sum_{i=1}^{10} i == 55
        \\sum_{i=1}^3 2i == 12""",
    "logarithms": """
        \\log_2 3 == \\log_2{3}
        \\log_{2} 3 == \\log_2 3
        \\frac{\\ln 3}{\\ln 2} == \\log_2 3
        \\log_2 6 == 1+\\log_2 3
        \\frac{\\log_2 3}{2} == \\frac12\\log_2 3""",
    "ordinals": """
        12^{\\text{th}} == 12
        2^{nd} == 2
        21st == 21
        the 101st == 101
        the twelfth == 12
        12th grade == 12
        2nd == \\text{second}
        twelfth == 12""",
    "Unicode": """
        √2/2 == \\frac{\\sqrt{2}}{2}
        2√3 == 2\\sqrt{3}
        √(x+1) == \\sqrt{x+1}
        (√5 − 1)/2 == \\frac{\\sqrt5-1}{2}
        ∛2 == \\sqrt[3]{2}
        sqrt(13) == \\sqrt{13}
        x² − 5x + 6 == x^2-5x+6
        aⁿ⁺¹ == a^{n+1}
        x₁ = 2 == x_1=2
        π/2 == \\frac{\\pi}{2}
        2π√3 == 2\\sqrt3\\pi
        λ² == \\lambda^2
        lambda^2 == \\lambda^2
        (−∞, 3] == (-\\infty,3]
        x ∈ (1, 2) == (1,2)
        ⅔ == \\frac23
        𝑥 + 𝟐 == x+2
        𝛑/2 == \\frac{\\pi}{2}
        2ˣ == 2^x
        xₙ == x_n
        5ᵗʰ == 5
        45° == 45""",
    "choices": """
        (C) 12 == C
        (C) 12 == 12
        E: \\text{a polygenic score} == E
        \\textbf{E. a polygenic score} == (E)
        E \\text{ (a polygenic score)} == E
        Option B: 12 == B
        choice (B) == \\textbf{(B) }12
        \\text{(C)} == C
        C) 12 == C""",
    "equations": """
        x = 5 == 5
        5 = x == x = 5
        f(x) = 2x+3 == 2x+3
        f^{-1}(x) = 2x == 2x
        AB = 5 == 5
        \\angle ABC = 30^\\circ == 30
        \\text{Area} = 12 == 12
        \\frac{dy}{dx} = 2x == 2x
        (x,y) = (1,2) == (1,2)
        y=3, x=2 == x=2, y=3
        x=2, y=3 == 2, 3
        x=2, x=3 == 3, 2
        x = 2 + 3 = 5 == 5
        2 + 3 = 5 == 5
        25 - 7 = 18 eggs == 18
        25 - 7 = 18\\text{ eggs} == 18
        \\sqrt{2} \\approx 1.414 == \\sqrt{2}
        x \\approx 3.14 == 3.14
        y = 2x+3 == 2x - y + 3 = 0
        2x+2y=4 == x+y=2
        5x - 7y + 11z + 4 = 0 == 5x - 7y + 11z = -4
        \\lambda^2 - 5\\lambda + 6 = 0 == 6 - 5\\lambda + \\lambda^2 = 0""",
    "intervals": """
        (1,2) == 1<x<2
        [-80, 82] == -80\\leq g(x)\\leq 82
        x < 1 or x > 3 == (-\\infty,1)\\cup(3,\\infty)
        x > 2 and x < 5 == (2,5)
        2 \\le x == [2,\\infty)
        x \\ne 3 == \\mathbb{R} \\setminus \\{3\\}
        (-\\infty, +\\infty) == \\mathbb{R}
        all real numbers == (-\\infty, \\infty)
        \\left( 3, \\frac{\\pi}{2} \\right) == (3, π/2)
        (1,234) == (1, 234)""",
    "units": """
        5 cm == 5
        12 square units == 12
        12\\text{ cm}^2 == 12
        10\\sqrt{3} square meters == 10\\sqrt3
        60 miles per hour == 60
        5 m/s^2 == 5
        9.8 \\frac{\\text{m}}{\\text{s}^2} == 9.8
        \\frac{5}{2}\\,\\frac{\\mathrm{km}}{\\mathrm{h}} == 2.5
        5 == 5 \\frac{\\text{m}}{\\text{s}}
        5 \\text{ m}/\\text{s} == 5
        5\\;\\mathrm{m}\\,\\mathrm{s}^{-1} == 5
        5\\text{ kg}\\cdot\\text{m}/\\text{s}^2 == 5
        \\sin 30^\\circ == \\frac{1}{2}
        \\tan^2(30^{\\circ}) == \\frac{1}{3}
        \\frac{\\cos{60^\\circ}}{2} == \\frac{1}{4}
        2\\sin 15^\\circ == \\frac{\\sqrt{6}-\\sqrt{2}}{2}
        18 dollars == \\$18
        €5 == 5
        50\\% == 50
        90 degrees == 90^\\circ
        12 (twelve) == 12
        9 am == 9\\text{ a.m.}
        4:51:06 == 4\\!:\\!51\\!:\\!06 \\text{ p.m.}""",
    "notation": """
        6:8 == 3:4
        3 to 4 == \\frac{3}{4}
        1:2:3 == 1 : 2 : 3
        1011_2 == 1011_{2}
        3+4i == 4i+3
        \\boxed{5} == 5
        \\dbinom{5}{2} == 10
        x^(1/2) == \\sqrt{x}
        \\mathbf{i} + 2\\mathbf{j} == 2\\mathbf{j}+\\mathbf{i}
        \\begin{pmatrix}1&2\\\\3&4\\end{pmatrix} == \\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}
        sin(x) == \\sin x
        yes == \\text{Yes}""",
}
DIFFERENT = {
    "numbers side by side": """
        1 2 3 == 6
        10 2 == 12
        3 .5 == 1.5
        2 3 == 5
        2 5 == 25
        2^5 3 4 == 384
        10_2 3 == 6
        \\log_2 3 4 == 4\\log_2 3""",
    "complex numbers": """
        6-5i == 6+5i
        2i == 2
        x+i == x-i
        i == 1
        2+i == 2+2i
        i+1=6 == i+2=6
        i^2=4 == i^2=9
        \\frac{1-2i}{5} == \\frac{1+2i}{5}
        \\sum_{i=1}^n i == \\sum_{i=1}^n 2i""",
    "logarithms": """
        \\log_2 3 == \\log_3 2
        \\log_2 3 == \\log_2 5""",
    "lists": """
        121484 == 121, 484
        1, 000 == 1000
        484,121 == 121,484
        1,2,3 == 123
        1,1,2 == 1,2
        1,1,2 == 1,2,2
        1, 2 == 1, 2, 3
        1, 1 == 1
        (1,2), (3,4) == (2,1),(3,4)
        1234 == (1,234)""",
    "digits": """
        3 4 == 34
        2 1/2 == 21/2
        2\\frac{1}{2} == 1
        2\\frac{1}{2} == 0.5""",
    "tiny and huge values": """
        2^{1000} == 2^{1001}
        0^0 == 5
        \\frac{1}{2006!} == \\frac{1}{2004!}
        2^{-98} == 2^{-99}
        \\frac{x}{2^{98}} == \\frac{x}{2^{99}}
        y = 2^{-98}x == y = 2^{-99}x
        x^2 + 2^{-98} = 0 == x^2 + 2^{-99} = 0
        (0, 2^{-98}) == (0, 2^{-99})
        [0, 2^{-98}] \\cup [1,2] == [0, 2^{-99}] \\cup [1,2]
        0 < x < 2^{-98} == 0 < x < 2^{-99}
        \\begin{pmatrix} 2^{-98} \\\\ 1 \\end{pmatrix} == \\begin{pmatrix} 2^{-99} \\\\ 1 \\end{pmatrix}
        10^{-20} == 0
        e^{-50} == 0
        \\sin(10^{-20}) == 10^{-20}
        10^{-12}\\pi == 2 \\cdot 10^{-12}\\pi
        0.000000000001x == 0.000000000002x
        10^{50}+1 == 10^{50}
        10^{50}+\\pi == 10^{50}+\\sqrt{10}
        \\sqrt{10^{40}+1} == 10^{20}
        0.333 == \\frac13
        \\frac{22}{7} == \\pi
        \\sqrt2 == 1.414214""",
    "equations and values": """
        13 == x^2 + y^2 = 13
        0 == 5x - 7y + 11z + 4 = 0
        5 == x + y = 5
        10 == 2x = 10
        6 == xy = 6
        4 == x^2 = 4
        6 == 2 + 3 = 6
        25 - 6 = 18 eggs == 18
        3 + a = 18 eggs == 18
        2+2=4 == 3+3=6
        x=3 == y=3
        x=2, y=3 == x=3, y=2
        x=2, y=3 == 3, 2
        x^2+1=0 == x^2+2=0""",
    "intervals, points and lists": """
        x=2\\text{ or }x=4 == (2,4)
        x_1 = 2, x_2 = 4 == (2,4)
        2 and 4 == (2,4)
        2; 4 == (2,4)
        \\{2,4\\} == (2,4)
        \\{2\\}\\cup\\{4\\} == (2,4)
        \\pm 3 == (-3,3)
        1,2 == 1<x<2
        1,2 == [1,2]
        \\{2,4\\} == [2,4]
        (1,2) == [1,2]
        (1,2) == (2,1)
        (1,2] == 1 < x < 2
        x > 2 == (-\\infty,2)
        x > 2 == y > 2""",
    "choices": """
        (C) 12 == D
        (C) 12 == (D) 12
        (C) 12 == 13
        D: \\text{a polygenic score} == E
        E - 5 == E""",
    "letters are no units": """
        3t == 3
        2h == 2
        2x+3t == 2x+3
        \\text{dog} == \\text{god}""",
    "notation": """
        1011_2 == 1011_3
        9:30 a.m. == 9:30 p.m.
        1:2:3 == 1:6
        x == y
        5\\% == 0.05
        \\text{Monday} == \\text{Tuesday}""",
}


def pairs(table: dict[str, str]) -> list[object]:
    lines = [(kind, line.strip()) for kind, block in table.items() for line in block.strip().splitlines()]
    return [pytest.param(*line.split(" == "), id=f"{kind}: {line}") for kind, line in lines]


@pytest.mark.parametrize(("a", "b"), pairs(SAME))
def test_the_same(a: str, b: str) -> None:
    assert (right_math(a, b)[0], right_math(b, a)[0]) == (True, True)
    assert same_math(a, b) == same_math(b, a) and same_math(a, b)[0]


@pytest.mark.parametrize(("a", "b"), pairs(DIFFERENT))
def test_different(a: str, b: str) -> None:
    assert (right_math(a, b)[0], right_math(b, a)[0]) == (False, False)
    assert same_math(a, b) == same_math(b, a) and not same_math(a, b)[0]


def test_lines_are_parts_of_a_list() -> None:
    assert grade_math("2\n4", "4, 2").correct
    assert grade_math("- $2$\n- $4$", "4, 2").correct
    assert grade_math("x^2 +\n1", "x^2+1").correct
    assert not grade_math("2\n4", "(2, 4)").correct


@pytest.mark.parametrize(
    "text", ["1.5e3", "1.5 \\times 10^3", "1 500", "1\\,500", "1,500", "1{,}500", "1500.0"]
)
def test_numbers_of_every_spelling(text: str) -> None:
    assert number(text) == 1500
    assert TEXT_TASKS["gsm8k"]().equal(text, "1500")


@pytest.mark.parametrize("text", ["1, 500", "1 50", "1,50", "2 3/2", "1e99999", "1.5e", "e3", "1 2 3"])
def test_what_is_no_number(text: str) -> None:
    assert number(text) is None


def test_the_answer_is_given_before_the_reference() -> None:
    """math-verify is not symmetric: grading asks it once, votes ask it in both orders."""

    class Asked(MathWorker):
        def compare(self, answer: str, reference: str, allowance: Allowance | None = None) -> Verdict:
            asked.append((answer, reference))
            return Verdict.EQUAL

    asked: list[tuple[str, str]] = []
    right_math("x+1", "1+x", Asked())
    assert asked == [("x+1", "1+x")]
    asked.clear()
    same_math("x+1", "1+x", Asked())
    assert sorted(asked) == [("1+x", "x+1"), ("x+1", "1+x")]


def test_one_allowance_serves_all_parts() -> None:
    worker = MathWorker()
    allowance = Allowance(60.0)
    assert worker.compare("x+1", "1+x", allowance) is Verdict.EQUAL
    assert 0 < allowance.left_s < 60
    assert worker.compare("x+1", "1+x", Allowance(0.0)) is Verdict.TIME_OUT
    worker.close()


def test_a_part_that_takes_too_long_ends_the_comparison() -> None:
    worker = MathWorker(timeout_s=0.5)
    worker.start()
    slow = ", ".join(f"\\binom{{10^9}}{{5 \\cdot 10^8 + {n}}}" for n in range(4))
    started = time.monotonic()
    assert right_math(slow, "42, 43, 44, 45", worker) == (False, How.TIME_OUT)
    assert time.monotonic() - started < 3
    worker.close()


@pytest.mark.parametrize("separator", [",", ", ", " and ", "\n", "\\\\", ";"])
def test_long_lists_are_compared_in_time(separator: str) -> None:
    numbers = [str(n) for n in range(60)]
    started = time.monotonic()
    assert right_math(separator.join(numbers), ", ".join(reversed(numbers)))[0]
    assert not right_math(separator.join(["1"] * 60), ", ".join(numbers))[0]
    assert not right_math(separator.join("abcdefghij" * 8), ", ".join("klmnopqrst" * 8))[0]
    assert time.monotonic() - started < 10
