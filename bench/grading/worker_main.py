"""Runs math-verify in a worker process. bench.grading.worker starts it by its path.

The first line of standard input is empty. The reply is "", or why math-verify cannot be loaded. Every other
line is [answer, reference, seconds], and the reply is true or false; with null as the reference, the reply is
the answer's value as a decimal or a fraction, "" if it has none.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

MEMORY_BYTES = 2 << 30


def main() -> None:
    """Reply to requests until the pipe is closed."""
    requests, replies = sys.stdin, sys.stdout
    sys.stdout = sys.stderr  # output of libraries must not be taken for a reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends this process
    for line in requests:
        if line.strip():
            answer, reference, seconds = json.loads(line)
            # The parent kills this process after `seconds`. This covers the case that the parent has ended.
            faulthandler.dump_traceback_later(2 * seconds + 1, exit=True)
            reply: bool | str = value(answer) if reference is None else equal(answer, reference)
            faulthandler.cancel_dump_traceback_later()
        else:
            reply = load()
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def load() -> str:
    """Limit the memory and import math-verify. Returns "", or why that failed."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # every thread would reserve memory
    with suppress(ImportError, OSError, ValueError):  # missing on Windows, refused by macOS
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable()
    try:
        from math_verify import grader

        if not hasattr(grader, "sympy_numeric_eq"):
            return "this version of math-verify compares numbers in another place"
        grader.sympy_numeric_eq = close
        parse("1")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def equal(answer: str, reference: str) -> bool:
    """Whether math-verify calls the LaTeX answer equal to the reference."""
    from math_verify import verify

    try:
        gold, target = parse(reference), parse(answer)
        if not gold or not target or kind(gold[0]) != kind(target[0]):
            return False
        if kind(gold[0]) == "equation":
            if proportional(gold[0], target[0]):
                return True
            if not solutions(gold[0]):
                return False
        return bool(verify(list(gold), list(target), allow_set_relation_comp=True, timeout_seconds=None))
    except Exception:
        return False


VALUE_DIGITS = 30
LARGEST = "1e1000"
"""Values beyond it, or closer to zero than its inverse, count as none."""


def value(text: str) -> str:
    """The real number that a LaTeX expression is, to 30 digits; "" if it is none."""
    from sympy import Expr, Float

    try:
        parsed = parse(text)
        if len(parsed) != 1 or not isinstance(parsed[0], Expr) or parsed[0].free_symbols:
            return ""
        number = parsed[0].doit()
        if not number.is_Rational:
            number = number.evalf(VALUE_DIGITS)
        if not number.is_Rational and not number.is_Float:  # complex, or infinite
            return ""
        small = number == 0 or 1 / Float(LARGEST) <= abs(number) <= Float(LARGEST)
        return str(number) if small else ""
    except Exception:
        return ""


def kind(parsed: object) -> str:
    """What math-verify must not mix up: it calls (2,4) and {2,4} equal, and x + y = 13 and 13."""
    from sympy import Eq, FiniteSet

    if isinstance(parsed, Eq):
        return "equation"
    return "finite set" if isinstance(parsed, FiniteSet) else "other"


def proportional(a: Any, b: Any) -> bool:
    """Whether one equation is a multiple of the other."""
    from sympy import simplify

    ratio = simplify((a.lhs - a.rhs) / (b.lhs - b.rhs))
    return bool(ratio.is_number and ratio.is_finite and not ratio.is_zero)


def solutions(equation: Any) -> list[Any]:
    """The solutions of an equation that sympy finds. math-verify calls two equations without any equal."""
    from sympy import solve

    try:
        return list(solve(equation, equation.free_symbols))
    except NotImplementedError:
        return []


@lru_cache(maxsize=128)
def parse(text: str) -> Sequence[object]:
    """The answer as sympy objects. Uses only math-verify's LaTeX grammar: its other parser evaluates text."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig
    from math_verify import parse as read
    from sympy import Set

    # Units are gone already; math-verify would take the t of 3t for one.
    how = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all")
    config = LatexExtractionConfig(boxed_match_priority=0, normalization_config=how)
    parsed = read(f"\\boxed{{{text}}}", [config], fallback_mode="no_fallback", parsing_timeout=None)
    return tuple(one.doit() if isinstance(one, Set) else one for one in map(with_one_kind_of_symbols, parsed))


def with_one_kind_of_symbols(parsed: Any) -> Any:
    """The object with real symbols, and with the imaginary unit for i where it is an expression or a matrix.

    math-verify makes all symbols of an answer real unless it sees an i, which it does not behind a digit: no
    symbol of 2+3i is one of 2+i then. An index of a sum is no free symbol and stays.
    """
    from sympy import Basic, Expr, I, MatrixBase, Symbol

    if not isinstance(parsed, Basic | MatrixBase):
        return parsed
    number = {"i": I} if isinstance(parsed, Expr | MatrixBase) else {}  # relations refuse complex numbers
    wanted = {one: number.get(one.name, Symbol(one.name, real=True)) for one in parsed.free_symbols}
    return parsed.xreplace({old: new for old, new in wanted.items() if old != new})


DECIMAL_TOLERANCE = "1e-10"
"""Relative, where a number is a decimal: 1.414214 is not the square root of 2."""
EXACT_TOLERANCE, EXACT_DIGITS = "1e-300", 400
"""Relative, between exact numbers whose difference cancels only to this precision."""


def close(a: Any, b: Any, *_: object) -> bool:
    """Whether two expressions are the same number, exactly or relative to their size.

    Replaces a function of math-verify with an absolute tolerance, by which 1/2006! and 1/2004! are equal.
    """
    from sympy import MatrixBase

    try:
        a, b = a.doit(), b.doit()
        if isinstance(a, MatrixBase) or isinstance(b, MatrixBase):
            return a.shape == b.shape and all(close(x, y) for x, y in zip(a.flat(), b.flat(), strict=True))
        if a == b:
            return True
        if a.free_symbols or b.free_symbols:
            first, second = a.expand().as_coefficients_dict(), b.expand().as_coefficients_dict()
            return first.keys() == second.keys() and all(close(first[term], second[term]) for term in first)
        return near(a, b)
    except Exception:
        return False


def near(a: Any, b: Any) -> bool:
    """Whether two constants differ by no more than rounding."""
    from sympy import Float

    if (a.is_Rational and b.is_Rational) or not (a.is_finite and b.is_finite):
        return False
    tolerance = DECIMAL_TOLERANCE if a.has(Float) or b.has(Float) else EXACT_TOLERANCE
    size = max(abs(a.evalf(30)), abs(b.evalf(30)))
    return bool(abs((a - b).evalf(30, maxn=EXACT_DIGITS)) <= Float(tolerance) * size)


if __name__ == "__main__":
    main()
