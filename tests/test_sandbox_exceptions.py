"""A program's exceptions, as its tests catch them in another process."""

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
    "exceptions": (
        """
class AppError(Exception):
    \"\"\"Base.\"\"\"
    def __init__(self, msg, code=1):
        super().__init__(msg)
        self.code = code
    def hint(self): return "h" + str(self.code)
class Small(AppError, ValueError):
    pass
class Odd(Exception):
    def __str__(self): return "odd!"
def f(x):
    if x < 0: raise Small("neg", 7)
    if x == 0:
        try: {}["k"]
        except KeyError as e: raise AppError("wrapped") from e
    if x == 1: raise KeyError("k")
    if x == 2: raise Odd(1, 2)
    return x
def h(e): return type(e).__name__, str(e), isinstance(e, ValueError)
def make(): return Small("m")
""",
        """
for kind in (Small, AppError, ValueError, Exception):
    try:
        f(-1)
        assert False
    except kind as e:
        assert str(e) == "neg" and e.code == 7 and e.args == ("neg",) and type(e) is Small
        assert e.hint() == "h7"
try:
    f(0)
    assert False
except AppError as e:
    assert isinstance(e.__cause__, KeyError) and e.__cause__.args == ("k",)
try:
    f(1)
except KeyError as e:
    assert type(e) is KeyError and e.args == ("k",) and str(e) == "'k'"
try:
    f(2)
except Odd as e:
    assert str(e) == "odd!" and e.args == (1, 2)
try:
    f(-1)
except (TypeError, AppError):
    pass
import contextlib
with contextlib.suppress(Small):
    f(-1)
assert issubclass(Small, ValueError) and issubclass(Small, AppError)
assert not issubclass(Odd, AppError)
e = Small("x", 3)
assert e.code == 3 and str(e) == "x"
try:
    raise e
except AppError as g:
    assert g is e
assert h(e) == ("Small", "x", True) and h(ValueError("q")) == ("ValueError", "q", True)
assert isinstance(make(), Small) and make().code == 1
import unittest
class T(unittest.TestCase):
    def test_a(self):
        with self.assertRaises(Small) as cm:
            f(-1)
        self.assertEqual(cm.exception.code, 7)
        self.assertRaises(AppError, f, 0)
        with self.assertRaisesRegex(Small, "neg"):
            f(-1)
""",
    ),
    "library exceptions": (
        """
import json, decimal, queue
def f(x): return json.loads(x)
def g(): raise queue.Empty
class Mine(json.JSONDecodeError): pass
def k(): raise Mine("m", "doc", 0)
def o(): return open("/nowhere/x")
def u(): return b"\\xff".decode()
def s(): compile("1 +", "x", "exec")
def n(): return undefined_name
def at(): return (3).foo
def st(): raise StopIteration(5)
def gr(): raise ExceptionGroup("g", [ValueError("a"), KeyError("b")])
def ex(): raise SystemExit(3)
""",
        """
import json, queue
try:
    f("{")
    assert False
except json.JSONDecodeError as e:
    assert e.pos == 1
except ValueError:
    assert False
try:
    g()
except queue.Empty:
    pass
try:
    k()
except json.JSONDecodeError as e:
    pass
try:
    o()
except FileNotFoundError as e:
    assert e.errno == 2 and e.filename == "/nowhere/x"
try:
    u()
except UnicodeDecodeError as e:
    assert e.start == 0
try:
    s()
except SyntaxError as e:
    assert e.lineno == 1
try:
    n()
except NameError as e:
    assert "undefined_name" in str(e)
try:
    at()
except AttributeError:
    pass
try:
    st()
except StopIteration as e:
    assert e.value == 5
try:
    gr()
except* ValueError as eg:
    assert len(eg.exceptions) == 1
except* KeyError:
    pass
try:
    ex()
except SystemExit as e:
    assert e.code == 3
""",
    ),
    "errors more": (
        """
class E1(Exception):
    def __init__(self, a, b):
        self.a, self.b = a, b
class E2(E1):
    def __str__(self): return f"{self.a}-{self.b}"
class E3(Exception): pass
class E4(BaseException): pass
class E5(KeyError): pass
class E6(OSError): pass
class E7(ExceptionGroup): pass
def f(i):
    if i == 1: raise E1(1, [2])
    if i == 2: raise E2(1, 2)
    if i == 3: raise E3
    if i == 4: raise E4("x")
    if i == 5: raise E5("k")
    if i == 6: raise E6(5, "m")
    if i == 7: raise E7("g", [E3(), ValueError("v")])
    if i == 8: raise E3({"a": E3("in")})
    if i == 9:
        try: f(3)
        except E3: raise ValueError("second")
    if i == 10:
        e = E3("n"); e.add_note("note"); raise e
    if i == 11: raise E3() from None
    if i == 12:
        e = ValueError("n"); e.add_note("note"); e.more = [1]; raise e
def gen():
    yield 1
    raise E3("in gen")
def ret(): return [E3("r"), ValueError, E2, StopIteration(4)]
""",
        """
def caught(i):
    try:
        f(i)
    except BaseException as e:
        return e
e = caught(1)
assert e.a == 1 and e.b == [2] and e.args == (1, [2]) and isinstance(e, E1)
assert str(caught(2)) == "1-2"
assert type(caught(3)) is E3 and caught(3).args == () and str(caught(3)) == ""
assert isinstance(caught(4), E4) and not isinstance(caught(4), Exception)
assert caught(5).args == ("k",) and isinstance(caught(5), KeyError)
assert caught(6).errno == 5 and isinstance(caught(6), OSError)
assert [type(x) for x in caught(7).exceptions] == [E3, ValueError]
assert caught(8).args[0]["a"].args == ("in",)
e = caught(9)
assert isinstance(e.__context__, E3) and e.__cause__ is None
assert caught(10).__notes__ == ["note"]
assert caught(11).__cause__ is None
e = caught(12)
assert e.__notes__ == ["note"] and e.more == [1]
g = gen()
next(g)
try:
    next(g)
    assert False
except E3 as e:
    assert str(e) == "in gen"
r = ret()
assert isinstance(r[0], E3) and r[1] is ValueError and r[2] is E2 and r[3].value == 4
try:
    raise r[0]
except E3 as e:
    assert e is r[0]
assert repr(caught(3)) == "E3()" and repr(E3("q")) == "E3('q')"
h = iter(gen())
for x in h:
    break
try:
    h.throw(E3("thrown"))
    assert False
except E3 as e:
    assert str(e) == "thrown"
""",
    ),
}  # fmt: skip
"""Program and tests, by name. In one process, each program passes."""


@pytest.mark.parametrize("name", CASES)
def test_a_right_program_passes(box: Sandbox, name: str) -> None:
    program, tests = CASES[name]
    in_one_process(program, tests)
    verdict = box.run(program, Suite(tests))
    assert verdict.passed, (verdict, (tests.splitlines() or [""])[(verdict.line or 1) - 1])
