"""Tests that are refused, by name: what they do cannot be carried to a program in another process."""

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
    "own eq": (
        "class P:\n  def __init__(s,x): s.x=x\n  def __eq__(s,o): return s.x==o.x",
        "assert P(1) == P(1)",
        "own __eq__",
    ),
    "own eq plain": (
        "class P:\n  def __init__(s,x): s.x=x\n  def __eq__(s,o): return s.x==o.x\ndef f(): return P(1)",
        "assert f() == 7",
        "own __eq__",
    ),
    "own eq in list": (
        """
class P:
  def __init__(s,x): s.x=x
  def __eq__(s,o): return s.x==o.x
def f(): return [P(1)]
""",
        "assert f() == [7]",
        "own __eq__",
    ),
    "own lt": (
        "class P:\n  def __init__(s,x): s.x=x\n  def __lt__(s,o): return s.x<o.x",
        "assert sorted([P(2),P(1)])[0].x == 1",
        "own __lt__",
    ),
    "own bool": ("class P:\n  def __bool__(s): return hasattr(s, 'x')", "assert P()", "own __bool__"),
    "own contains": (
        "class P:\n  def __contains__(s, x): return x == 4",
        "assert 3 in P()",
        "own __contains__",
    ),
    "own hash": (
        "class P:\n  def __eq__(s,o): return isinstance(o, P)\n  def __hash__(s): return 1",
        "assert len({P(), P()}) == 1",
        "own __hash__",
    ),
    "set of own hash": (
        """
class P:
  def __eq__(s,o): return isinstance(o, P)
  def __hash__(s): return 1
def f(): return {P()}
""",
        "assert len(f()) == 1",
        "own __hash__",
    ),
    "total ordering": (
        """
from functools import total_ordering
@total_ordering
class V:
  def __init__(s,x): s.x=x
  def __eq__(s,o): return s.x==o.x
  def __lt__(s,o): return s.x<o.x
""",
        "assert V(1) <= V(2)",
        "own __le__",
    ),
    "arith plain": (
        """
class V:
  def __init__(self, x): self.x = x
  def __mul__(self, k): return V(self.x * k)
""",
        "assert (V(2) * 3).x == 6",
        "use * on",
    ),
    "arith sub": (
        "class C:\n  def __sub__(self, k): return 0\ndef f(): return C()",
        "assert abs(f() - 7) < 1e-6",
        "use - on",
    ),
    "str subclass method": (
        "class P(str):\n  def __truediv__(self, o): return P(str(self) + \"/\" + o)",
        "assert P(\"a\") == \"a\"\nassert (P(\"a\") / \"b\") == \"a/b\"",
        "use / on",
    ),
    "method eq": ("class A:\n  def m(self): pass\na = A()", "assert a.m == a.m", "use =="),
    "pass lambda": ("def apply(f): return f()", "assert apply(lambda: 1) == 1", "function of their own"),
    "pass lambda swallowed": (
        "def apply(f): return f()",
        "try:\n    assert apply(lambda: 1) == 1\nexcept Exception:\n    pass",
        "function of their own",
    ),
    "pass test class": ("def apply(f): return f.x", "class A: x = 1\nassert apply(A()) == 1", "pass a A"),
    "pass test namedtuple": (
        "def apply(f): return f.x",
        "from collections import namedtuple\nA = namedtuple(\"A\", \"x\")\nassert apply(A(1)) == 1",
        "pass a A",
    ),
    "iter passed": ("def f(it): return sum(it)", "assert f(iter([1, 2])) == 3", "pass a list_iterator"),
    "gen passed": ("def f(it): return sum(it)", "assert f(x for x in [1, 2]) == 3", "pass a generator"),
    "file passed": (
        "def f(it): return it.read()",
        "import io\nassert f(io.StringIO(\"a\")) == \"a\"",
        "pass a StringIO",
    ),
    "derive": (
        "class A:\n  def go(self): return self.run()",
        "class B(A):\n    def run(self): return 1\nassert B().go() == 1",
        "derive a class (B)",
    ),
    "derive error": (
        "class A(Exception): pass",
        "class B(A): pass\nassert issubclass(B, A)",
        "derive a class (B)",
    ),
    "patch input": (
        "def f():\n  return input()",
        """
from unittest.mock import patch
with patch("builtins.input", return_value="3"):
    assert f() == "3"
""",
        "patch a name",
    ),
    "set input": (
        "def f():\n  return input()",
        "import builtins\nbuiltins.input = lambda *a: \"3\"\nassert f() == \"3\"",
        "change builtins.input",
    ),
    "patched print": (
        "def f(): print(\"x\")",
        """
from unittest.mock import patch
with patch("builtins.print") as p:
    f()
p.assert_called_once_with("x")
""",
        "patch a name",
    ),
    "monkeypatch program": (
        "def h(): return 1\ndef f(): return h()",
        "import program_name\nprogram_name.h = lambda: 5\nassert f() == 5",
        "function of their own",
    ),
    "environ": (
        "import os\ndef f():\n  return os.environ[\"X\"]",
        "import os\nos.environ[\"X\"] = \"3\"\nassert f() == \"3\"",
        "change os.environ",
    ),
    "file": (
        "def f(p):\n  return open(p).read()",
        "open(\"x.txt\", \"w\").write(\"a\")\nassert f(\"x.txt\") == \"a\"",
        "write a file",
    ),
    "warnings": (
        "import warnings\ndef f(): warnings.warn(\"x\", UserWarning)",
        """
import warnings
with warnings.catch_warnings(record=True) as w:
    warnings.simplefilter("always")
    f()
assert len(w) == 1
""",
        "collect warnings",
    ),
    "numpy": ("def f(): return 1", "import numpy as np\nassert f() == 1", "import numpy"),
    "pytest skip": (
        "def f(x): return x * 2",
        "import pytest\n@pytest.mark.skip\ndef test_a():\n    assert f(1) == 2",
        "pytest.mark.skip",
    ),
    "pytest warns": (
        "def f(x): return x * 2",
        "import pytest\nwith pytest.warns(UserWarning):\n    f(None)",
        "pytest.warns",
    ),
    "test fixture": ("def f(x): return x + 2", "def test_a(capsys):\n    assert f(0) == 2", "takes capsys"),
    "unittest skip": (
        "def f(x): return x + 2",
        """
import unittest
class T(unittest.TestCase):
    @unittest.skip("x")
    def test_a(self): assert f(0) == 3
""",
        "skip a test",
    ),
    "coroutine": (
        "async def f(): return 1",
        "import asyncio\nassert asyncio.run(f()) == 1",
        "does not allow",
    ),
    "deep": (
        "def f():\n  x = []\n  for _ in range(100000): x = [x]\n  return x",
        "assert f()",
        "nested too deeply",
    ),
    "deep arg": (
        "def f(x): return 1",
        "x = []\nfor _ in range(100000): x = [x]\nassert f(x) == 1",
        "nested too deeply",
    ),
}  # fmt: skip
"""Program, tests, and words of the reason. In one process, most of these programs pass."""


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_carried_is_refused_by_name(box: Sandbox, name: str) -> None:
    program, tests, words = CASES[name]
    verdict = box.run(program, Suite(tests, module="program_name"))
    assert verdict.outcome is Outcome.REFUSED and words in verdict.detail, verdict
    assert verdict.exception == ""


WRONG = {
    "wrong stays wrong": (
        "class A:\n  def get(self): return 3",
        "assert A().get() == 4",
        Outcome.ASSERTION,
    ),
    "wrong inplace": ("def f(a): a = sorted(a)", "a = [2, 1]\nf(a)\nassert a == [1, 2]", Outcome.ASSERTION),
    "none returned": ("def f(a): a.sort()", "assert f([2, 1]) == [1, 2]", Outcome.ASSERTION),
    "missing method": ("class A: pass", "assert A().get() == 4", Outcome.EXCEPTION),
    "missing class": ("class A: pass", "assert B().get() == 4", Outcome.EXCEPTION),
    "raises wrong": (
        "class E(Exception): pass\ndef f(): raise ValueError",
        "try:\n    f()\n    assert False\nexcept E: pass",
        Outcome.EXCEPTION,
    ),
    "generator where list": ("def f():\n  yield 1", "assert f() == [1]", Outcome.ASSERTION),
    "len of generator": ("def f():\n  yield 1", "assert len(f()) == 1", Outcome.EXCEPTION),
    "index generator": ("def f():\n  yield 1", "assert f()[0] == 1", Outcome.EXCEPTION),
    "arith none": ("class C: pass\ndef f(): return C()", "assert abs(f() - 7) < 1e-6", Outcome.EXCEPTION),
    "dont know": ("def f(): return 1", "assert g() == 1", Outcome.EXCEPTION),
    "import missing": (
        "def f(): return 1",
        "from program_name import g\nassert g() == 1",
        Outcome.EXCEPTION,
    ),
    "assert message": ("class A: pass", "assert not A(), A()", Outcome.ASSERTION),
    "fail repr": (
        "class A:\n  def __repr__(self): raise ValueError",
        "x = A()\nassert x is None, x",
        Outcome.ASSERTION,
    ),
    "unittest fail": (
        "def f(x): return x",
        """
import unittest
class T(unittest.TestCase):
    def test_a(self):
        for i in range(3):
            with self.subTest(i=i):
                self.assertEqual(f(i), i + 1)
""",
        Outcome.ASSERTION,
    ),
    "test functions fail": (
        "def f(x): return x + 2",
        "def test_a():\n    assert f(0) == 2\n\ndef test_b():\n    assert f(1) == 2",
        Outcome.ASSERTION,
    ),
}  # fmt: skip
"""Program, tests, outcome."""


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_still_wrong(box: Sandbox, name: str) -> None:
    program, tests, outcome = WRONG[name]
    assert box.run(program, Suite(tests, module="program_name")).outcome is outcome
