"""The ways in which tests can be written, and what they import."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits, Outcome, Suite
from tests.sandboxed import why_not


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    if reason := why_not():
        pytest.skip(reason)
    with Sandbox(Limits(cpu_s=5), workers=1) as made:
        yield made


CASES = {
    "set constant": (
        "K = 1\ndef f(): return K",
        "import program_name\nprogram_name.K = 5\nassert f() == 5",
    ),
    "import program": (
        """
class Stack:
    \"\"\"A stack.\"\"\"
    size_limit = 10
    def __init__(self, items=()): self.a = list(items)
    def push(self, x): self.a.append(x); return self
    def __len__(self): return len(self.a)
    def __getitem__(self, i): return self.a[i]
    def __setitem__(self, i, v): self.a[i] = v
    def __delitem__(self, i): del self.a[i]
    def __repr__(self): return f"Stack({self.a})"
    def __iter__(self): return iter(self.a)
    def __enter__(self): return self
    def __exit__(self, *a): self.closed = True
    def __call__(self, y): return y + 1
    @property
    def top(self): return self.a[-1]
    @classmethod
    def of(cls, *xs): return cls(xs)
    @staticmethod
    def zero(): return 0
class Sub(Stack):
    pass
def f(): return 1
X = 3
""",
        """
from program_name import f, Stack, X
import program_name
assert f() == 1 and program_name.f() == 1 and Stack.zero() == 0 and X == 3 and program_name.X == 3
""",
    ),
    "import star": ("def f(): return 1\n_p = 2", "from program_name import *\nassert f() == 1"),
    "future": (
        "from __future__ import annotations\ndef f(x: Undefined) -> int: return 1",
        "from __future__ import annotations\nassert f(1) == 1",
    ),
    "no future": (
        "def f(x: int) -> int: return 1\ndef g(): return f.__annotations__[\"x\"] is int",
        "assert g()",
    ),
    "test functions": (
        "def f(x): return x + 1",
        """
def test_a():
    assert f(1) == 2

class TestB:
    def setup_method(self): self.x = 1
    def test_b(self):
        assert f(self.x) == 2
""",
    ),
    "test main": (
        "def f(x): return x + 2",
        "def test_a():\n    assert f(0) == 2\n\nif __name__ == \"__main__\":\n    test_a()",
    ),
    "test class ctx": (
        "def f(x): return x * 2",
        """
import unittest
class TestF(unittest.TestCase):
    def setUp(self): self.x = 2
    def test_a(self): self.assertEqual(f(self.x), 4)
    def test_b(self):
        self.assertAlmostEqual(f(0.1), 0.2)
        self.assertIn(f(1), [2])
        self.assertIsInstance(f("a"), str)
        self.assertListEqual(f([1]), [1, 1])
if __name__ == "__main__":
    unittest.main()
""",
    ),
    "pytest class": (
        "def f(x): return x * 2",
        """
class TestF:
    x = 3
    def test_a(self): assert f(self.x) == 6
    def helper(self): assert False
""",
    ),
    "try numpy": (
        "def f(x): return x * 2",
        "try:\n    import numpy\nexcept ImportError:\n    numpy = None\nassert f(2) == 4",
    ),
    "pytest's names": (
        """
class Odd(Exception):
    def __init__(self, code): self.code = code
def f(x):
    if x is None: raise TypeError("no None here")
    return x * 2
def g(): raise Odd(4)
def h(): return [0.1 + 0.2, 1.0]
""",
        """
import pytest
from pytest import approx, raises
from package.program_name import Odd, f, g, h
from . import program_name

@pytest.fixture
def two():
    return [2]

@pytest.fixture(scope="module")
def three(two):
    yield two + [3]

@pytest.mark.parametrize("x, want", [(1, 2), pytest.param(2, 4, id="b")])
@pytest.mark.parametrize("extra", [0, 1])
def test_a(x, want, extra, two, three):
    assert f(x) == want and extra in (0, 1) and two == [2] and three == [2, 3]
    with pytest.raises(TypeError, match="None") as info:
        f(None)
    assert "here" in str(info.value) and info.type is TypeError

def test_b():
    with raises((Odd, KeyError)) as info:
        g()
    assert info.value.code == 4
    assert h() == approx([0.3, 1]) and h()[0] == pytest.approx(0.3) and h()[0] != approx(0.4)
    assert {"a": h()[0]} == approx({"a": 0.3}) and 5 == approx(5.5, abs=1) and "a" == approx("a")
    pytest.raises(TypeError, f, None)

@pytest.mark.slow
class TestC:
    @pytest.mark.parametrize("x", [1, 2])
    def test_c(self, x):
        assert program_name.f(x) == 2 * x
""",
    ),
}  # fmt: skip
"""Program and tests, by name."""


@pytest.mark.parametrize("name", CASES)
def test_a_right_program_passes(box: Sandbox, name: str) -> None:
    program, tests = CASES[name]
    verdict = box.run(program, Suite(tests, module="program_name"))
    assert verdict.passed, (verdict, tests.splitlines()[(verdict.line or 1) - 1])


@pytest.mark.parametrize(
    "tests",
    [
        "import pytest\n@pytest.mark.parametrize('x', [1, 2])\ndef test(x):\n    assert f(x) == 2",
        "import pytest\nwith pytest.raises(ValueError):\n    f(1)",
        "import pytest\ndef test():\n    assert f(1) == pytest.approx(2.1)",
        "def test_first():\n    assert f(1) == 2\ndef test_second():\n    assert f(1) == 3",
        "class Test:\n    def test_b(self): assert f(1) == 2\n    def test_a(self): assert f(1) == 3",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(f(1), 3)",
    ],
)
def test_every_test_of_a_file_is_run(box: Sandbox, tests: str) -> None:
    verdict = box.run("def f(x):\n    return 2 * x\n", Suite(tests))
    assert verdict.outcome is Outcome.ASSERTION, verdict
