"""What a program returns that is not plain data, as its tests see it from another process."""

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
    "subclasses of builtins": (
        """
class MyList(list):
    def total(self): return sum(self)
    def append(self, x): super().append(x * 2)
class MyDict(dict):
    def __missing__(self, k): return k * 2
    def __getattr__(self, k):
        try: return self[k]
        except KeyError: raise AttributeError(k)
class Up(str):
    def shout(self): return self.upper() + "!"
class Num(int):
    def double(self): return Num(self * 2)
class Temp(float): pass
class T(tuple):
    @property
    def first(self): return self[0]
from collections import OrderedDict, UserDict, UserList, Counter
class LRU(OrderedDict):
    def __init__(self, cap): super().__init__(); self.cap = cap
    def put(self, k, v):
        self[k] = v
        if len(self) > self.cap: self.popitem(last=False)
class UD(UserDict): pass
class Bag(Counter): pass
def fill(l): l.append(1)
""",
        """
l = MyList([1, 2])
assert l.total() == 3 and l == [1, 2] and isinstance(l, list) and len(l) == 2
l.append(5)
assert l == [1, 2, 10] and l[2] == 10
l.extend([1])
assert l.total() == 14
fill(l)
assert l == [1, 2, 10, 1, 2]
d = MyDict(a=1)
assert d == {"a": 1} and d.a == 1 and dict(d) == {"a": 1} and d["zz"] == "zzzz"
d["b"] = 5
assert d.b == 5 and "b" in d and sorted(d) == ["a", "b"]
u = Up("hi")
assert u == "hi" and u.shout() == "HI!" and "".join([u, "x"]) == "hix" and isinstance(u, str)
n = Num(4)
assert n == 4 and n.double() == 8 and n.double().double() == 16 and n + 1 == 5
assert range(10)[n] == 4
assert Temp(1.5) == 1.5 and abs(Temp(1.5) - 1.5) < 1e-9
assert T((1, 2)).first == 1
c = LRU(2)
c.put(1, 1); c.put(2, 2); c.put(3, 3)
assert list(c) == [2, 3] and c.cap == 2 and c.get(1) is None and 1 not in c
x = UD({"a": 1})
assert x["a"] == 1 and len(x) == 1
assert Bag("aab").most_common(1) == [("a", 2)] and Bag("aab")["a"] == 2
""",
    ),
    "generators": (
        """
import itertools
def count():
    yield from range(3)
def nat():
    n = 0
    while True:
        got = yield n
        n = n + 1 if got is None else got
def pairs(): return zip([1, 2], "ab")
def m(): return map(str, [1, 2])
def fl(): return filter(None, [0, 1])
def r(): return range(3)
def k(): return {"a": 1, "b": 2}.keys()
def v(): return {"a": 1}.values()
def i(): return {"a": 1}.items()
def en(): return enumerate("ab")
def rv(): return reversed([1, 2])
def it(): return iter([1, 2])
def ch(): return itertools.chain([1], [2])
class It:
    def __init__(self): self.n = 0
    def __iter__(self): return self
    def __next__(self):
        self.n += 1
        if self.n > 2: raise StopIteration
        return self.n
""",
        """
import types, collections.abc, inspect, itertools
g = count()
assert next(g) == 0 and list(g) == [1, 2] and next(g, None) is None
assert isinstance(count(), types.GeneratorType) and inspect.isgenerator(count())
assert isinstance(count(), collections.abc.Iterator)
assert isinstance(count(), collections.abc.Generator)
assert list(itertools.islice(nat(), 3)) == [0, 1, 2]
h = nat(); next(h)
assert h.send(10) == 10
h.close()
assert list(pairs()) == [(1, "a"), (2, "b")] and dict(pairs()) == {1: "a", 2: "b"}
assert list(m()) == ["1", "2"] and list(fl()) == [1] and r() == range(3)
assert list(en()) == [(0, "a"), (1, "b")]
assert k() == {"a", "b"} and "a" in k() and list(k()) == ["a", "b"] and len(k()) == 2
assert sorted(v()) == [1] and list(i()) == [("a", 1)]
assert list(rv()) == [2, 1] and list(it()) == [1, 2] and list(ch()) == [1, 2]
assert list(It()) == [1, 2] and sum(It()) == 3 and next(It()) == 1
assert isinstance(It(), collections.abc.Iterator) and not isinstance(3, collections.abc.Iterator)
for a, b in pairs():
    assert b in "ab"
assert iter(g) is g
assert count.__name__ == "count" and inspect.isgeneratorfunction(count)
assert count() != [0, 1, 2]
""",
    ),
    "re match": (
        "import re\ndef f(s): return re.search(r\"(a)(b)\", s)\nPAT = re.compile(\"a\")",
        """
import re
m = f("xab")
assert m and m.group(1) == "a" and m[2] == "b" and m.span() == (1, 3) and isinstance(m, re.Match)
assert f("q") is None and not f("q")
assert PAT.pattern == "a" and isinstance(PAT, re.Pattern)
""",
    ),
    "types": (
        """
import datetime, decimal, fractions, pathlib
def f():
    utc = datetime.timezone.utc
    return [
        datetime.time(1, 2), utc, datetime.datetime(2020, 1, 1, tzinfo=utc), decimal.Decimal("1.10"),
        fractions.Fraction(1, 3), slice(1, 2), ..., b"a", 1j, float("nan"), datetime.date.today,
    ]
def p(): return pathlib.Path("a/b")
""",
        """
import datetime, decimal, fractions
r = f()
assert r[0] == datetime.time(1, 2) and r[1] is not None
assert r[2] == datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
assert r[3] == decimal.Decimal("1.1") and r[4] * 3 == 1 and r[5] == slice(1, 2) and r[6] is ...
assert r[9] != r[9]
assert p().name == "b" and str(p()) == "a/b"
""",
    ),
    "defaultdict": (
        """
from collections import defaultdict
def f():
  d = defaultdict(lambda: [7])
  d[1].append(8)
  return d
def g(): return defaultdict(int, a=1)
""",
        """
d = f()
assert d == {1: [7, 8]} and d[2] == [7] and g()["zz"] == 0 and isinstance(g(), dict)
""",
    ),
    "simple ns": (
        "from types import SimpleNamespace\ndef f(): return SimpleNamespace(a=1)",
        "assert f().a == 1",
    ),
    "global type": (
        """
import typing
Movie = typing.TypedDict("Movie", {"name": str})
def f(): return Movie(name="x")
""",
        "assert f() == {\"name\": \"x\"} and Movie(name=\"y\")[\"name\"] == \"y\"",
    ),
    "frozen set": (
        "def f(): return frozenset([1]), {frozenset([2]): 3}",
        "assert f() == (frozenset([1]), {frozenset([2]): 3})",
    ),
    "view live": (
        "D = {\"a\": 1}\ndef keys(): return D.keys()\ndef add(k): D[k] = 2",
        "k = keys()\nadd(\"b\")\nassert list(k) == [\"a\", \"b\"] and \"b\" in k",
    ),
    "defaultdict shared": (
        """
from collections import defaultdict
class G:
  def __init__(self): self.e = defaultdict(list)
  def add(self, a, b): self.e[a].append(b)
""",
        """
g = G()
g.add(1, 2)
e = g.e
g.add(1, 3)
assert e == {1: [2, 3]} and g.e[1] == [2, 3] and g.e[9] == []
""",
    ),
    "string io": (
        "import io\ndef f():\n  s = io.StringIO()\n  s.write(\"x\")\n  return s",
        "assert f().getvalue() == \"x\"",
    ),
    "large ints": (
        "def f(): return 10**5000, -(1 << 300)",
        "a, b = f()\nassert a == 10**5000 and b == -(1 << 300)",
    ),
    "datetime": (
        """
from datetime import datetime, timedelta, date
def f(d): return d + timedelta(days=1)
def now(): return datetime(2020, 1, 1)
""",
        """
from datetime import date
assert f(date(2020, 1, 1)) == date(2020, 1, 2)
assert now().year == 2020
""",
    ),
    "own int ops": (
        "class M(int):\n  def __add__(self, o): return M((int(self) + int(o)) % 7)",
        "assert M(5) + M(4) == 2 and isinstance(M(5) + M(4), M)",
    ),
    "self ref": ("def f():\n  d = {}\n  d[\"me\"] = d\n  return d", "d = f()\nassert d[\"me\"] is d"),
    "input list alias result": (
        "def f(a): return a, a",
        "x, y = f([1])\nassert x is y\nx.append(2)\nassert y == [1, 2]",
    ),
}  # fmt: skip
"""Program and tests, by name. In one process, each program passes."""


@pytest.mark.parametrize("name", CASES)
def test_a_right_program_passes(box: Sandbox, name: str) -> None:
    program, tests = CASES[name]
    in_one_process(program, tests)
    verdict = box.run(program, Suite(tests))
    assert verdict.passed, (verdict, (tests.splitlines() or [""])[(verdict.line or 1) - 1])
