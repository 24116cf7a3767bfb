"""A program's functions, as its tests call them from another process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits, Suite
from tests.sandboxed import in_one_process, why_not


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    if reason := why_not():
        pytest.skip(reason)
    with Sandbox(Limits(cpu_s=5), workers=1) as made:
        yield made


CASES = {
    "functions": (
        """
import functools
def add(a, b=2, *, c=0):
    "Adds."
    return a + b + c
def make_adder(n):
    return lambda x: x + n
part = functools.partial(add, 1)
@functools.lru_cache
def fib(n): return n if n < 2 else fib(n-1) + fib(n-2)
def apply(f, *a): return f(*a)
def compose(f, g): return lambda x: f(g(x))
class M:
    def m(self): return 3
def anno(x: int) -> str: return ""
""",
        """
import operator, inspect, math
assert add(1) == 3 and add(1, c=4) == 7 and add.__name__ == "add" and add.__doc__ == "Adds."
assert make_adder(3)(4) == 7 and part(5) == 6 and fib(10) == 55
assert fib.cache_info().hits > 0
assert apply(operator.add, 1, 2) == 3 and apply(len, [1, 2]) == 2 and apply(math.sqrt, 4) == 2
assert apply(str.upper, "a") == "A" and apply(add, 1, 1) == 2
assert compose(make_adder(1), make_adder(2))(0) == 3
assert list(inspect.signature(add).parameters) == ["a", "b", "c"]
assert callable(add) and add.__defaults__ == (2,)
assert M().m() == 3
f = M().m
assert f() == 3
assert list(map(make_adder(1), [1, 2])) == [2, 3] and sorted([3, 1], key=make_adder(0)) == [1, 3]
assert anno.__annotations__ == {"x": int, "return": str}
assert add is add and add != fib
""",
    ),
    "closures": (
        """
def counter():
    n = 0
    def inc(by=1):
        nonlocal n
        n += by
        return n
    return inc
def twice(f):
    def g(*a): return f(f(*a))
    return g
@twice
def inc(x): return x + 1
def pair(): return (lambda: 1), {"f": lambda x: x * 2, "l": [lambda: 3]}
def curry(a): return lambda b: lambda c: (a, b, c)
""",
        """
c = counter()
assert c() == 1 and c(5) == 6 and counter()() == 1
assert inc(1) == 3
a, d = pair()
assert a() == 1 and d["f"](4) == 8 and d["l"][0]() == 3
assert curry(1)(2)(3) == (1, 2, 3)
assert list(map(d["f"], [1, 2])) == [2, 4] and max([1, -5], key=d["f"]) == 1
""",
    ),
    "star args": (
        "def f(*a, **k): return a, k",
        "assert f(1, *[2], x=3, **{\"y\": [4]}) == ((1, 2), {\"x\": 3, \"y\": [4]})",
    ),
    "callback name": (
        "def f(xs, key=None): return sorted(xs, key=key)",
        "assert f([\"bb\", \"a\"], key=len) == [\"a\", \"bb\"]",
    ),
    "recursion": ("def f(x): return f(x)", "try:\n    f(1)\n    assert False\nexcept RecursionError: pass"),
    "random both": (
        "import random\ndef f(xs): random.shuffle(xs); return xs",
        """
import random
random.seed(0)
a = f(list(range(10)))
random.seed(0)
b = list(range(10))
random.shuffle(b)
assert a == b
""",
    ),
    "typing": (
        """
from typing import List, Optional
def f(x: List[int]) -> Optional[int]: return x[0] if x else None
""",
        "def check(xs: List[int]) -> Optional[int]:\n    return f(xs)\nassert check([1]) == 1",
    ),
    "property cached": (
        """
from functools import cached_property
class A:
  n = 0
  @cached_property
  def x(self):
    A.n += 1
    return [1]
""",
        "a = A()\nassert a.x is a.x and A.n == 1",
    ),
    "compare method": (
        "class A:\n  def equals(self, o): return self is o",
        "a = A()\nassert a.equals(a) and not a.equals(A())",
    ),
    "bool of own none": (
        "class A: pass\ndef f(x): return A() if x else None",
        "assert f(1) and not f(0) and f(1) is not None",
    ),
}  # fmt: skip
"""Program and tests, by name. In one process, each program passes."""


@pytest.mark.parametrize("name", CASES)
def test_a_right_program_passes(box: Sandbox, name: str) -> None:
    program, tests = CASES[name]
    in_one_process(program, tests)
    verdict = box.run(program, Suite(tests))
    assert verdict.passed, (verdict, (tests.splitlines() or [""])[(verdict.line or 1) - 1])
