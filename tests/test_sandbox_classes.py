"""A program's own classes, as its tests see them from another process."""

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
    "class basics": (
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
""",
        """
s = Stack()
s.push(4).push(5)
assert len(s) == 2
assert s[0] == 4 and s[-1] == 5 and s[0:2] == [4, 5]
s[0] = 9
assert list(s) == [9, 5]
del s[0]
assert s.a == [5]
assert 5 in s and 7 not in s
assert str(s) == "Stack([5])" and repr(s) == "Stack([5])" and f"{s}" == "Stack([5])"
assert s.top == 5
assert Stack.of(1, 2).a == [1, 2] and Stack.zero() == 0
assert Stack.size_limit == 10
assert isinstance(s, Stack) and type(s) is Stack and s.__class__ is Stack
assert type(s).__name__ == "Stack" and Stack.__name__ == "Stack"
assert issubclass(Sub, Stack) and isinstance(Sub(), Stack) and not isinstance(s, Sub)
assert Stack.__doc__ == "A stack." and s.__doc__ == "A stack."
with s as t:
    assert t is s
assert s.closed
assert s(3) == 4 and callable(s)
assert bool(Stack()) is False and s
assert not Stack()
s.new = 3
assert s.new == 3 and hasattr(s, "new") and not hasattr(s, "old")
del s.new
assert getattr(s, "new", None) is None
assert vars(s)["a"] == [5]
a, = s
assert a == 5 and [*s] == [5] and sum(s) == 5 and sorted(Stack([3,1])) == [1, 3]
assert max(Stack([3, 1])) == 3
assert list(reversed(Stack([1, 2]))) == [2, 1]
s.a.append(8)
assert len(s) == 2 and s.top == 8
assert s == s and s != Stack()
assert {s: 1}[s] == 1
try:
    s[10]
    assert False
except IndexError:
    pass
try:
    s.nothing
    assert False
except AttributeError as e:
    assert "nothing" in str(e)
""",
    ),
    "dataclass": (
        """
from dataclasses import dataclass, field
@dataclass
class Point:
    x: int
    y: int = 0
    tags: list = field(default_factory=list)
    def norm(self): return self.x ** 2 + self.y ** 2
@dataclass(frozen=True, order=True)
class K:
    a: int
    b: str = "b"
def mid(p, q): return Point((p.x + q.x) // 2, (p.y + q.y) // 2)
def table(): return {K(1): "one", K(2): "two"}
""",
        """
p = Point(1, 2)
assert p == Point(1, 2) and p != Point(2, 1) and p.norm() == 5
assert mid(Point(0, 0), Point(2, 4)) == p
assert str(p) == "Point(x=1, y=2, tags=[])"
p.tags.append(3)
assert p.tags == [3] and p == Point(1, 2, [3])
p.x = 7
assert p.norm() == 53
assert p != 7 and not (p == (7, 2, [3]))
assert table()[K(1)] == "one" and K(2) in table() and table() == {K(1): "one", K(2): "two"}
assert K(1) < K(2) and sorted([K(3), K(1)])[0] == K(1) and max(K(1), K(5)).a == 5
assert {K(1), K(1)} == {K(1)}
import dataclasses
assert dataclasses.asdict(p) == {"x": 7, "y": 2, "tags": [3]}
assert dataclasses.astuple(K(1)) == (1, "b")
assert dataclasses.replace(K(1), a=4) == K(4)
assert dataclasses.is_dataclass(p)
assert [f.name for f in dataclasses.fields(Point)] == ["x", "y", "tags"]
try:
    K(1).a = 3
    assert False
except dataclasses.FrozenInstanceError:
    pass
try:
    hash(p)
    assert False
except TypeError:
    pass
""",
    ),
    "dataclass more": (
        """
from dataclasses import dataclass, field, KW_ONLY
@dataclass
class Base:
    a: int
@dataclass
class Child(Base):
    b: int = field(default=2, compare=False)
@dataclass(order=True)
class O:
    k: int
    v: str = field(compare=False, default="")
@dataclass(eq=False)
class NoEq:
    a: int
@dataclass
class Own:
    a: int
    def __eq__(self, other): return self.a == other.a
@dataclass(slots=True)
class S:
    a: int
    def __post_init__(self):
        if self.a < 0: raise ValueError
@dataclass(frozen=True)
class Fz:
    a: tuple
def make(): return {"c": Child(1), "l": [O(2), O(1)]}
def sort(xs): xs.sort()
""",
        """
assert Child(1, 5) == Child(1, 6) and Child(1) != Base(1) and Child(2) != Child(1)
assert make() == {"c": Child(1), "l": [O(2), O(1)]}
xs = make()["l"]
sort(xs)
assert xs == [O(1), O(2)] and O(1, "z") == O(1) and min(O(3), O(2)) == O(2)
assert NoEq(1) != NoEq(1)
assert S(1) == S(1)
try:
    S(-1)
    assert False
except ValueError:
    pass
assert Fz((1, [2])) == Fz((1, [2])) and repr(Fz((1,))) == "Fz(a=(1,))"
assert [O(1)] == [O(1)] and O(1) in [O(1)] and [O(2), O(1)].index(O(1)) == 1
""",
    ),
    "namedtuple": (
        """
from collections import namedtuple
from typing import NamedTuple
P = namedtuple("P", "x y")
class Q(NamedTuple):
    a: int
    b: str = "z"
    def twice(self): return self.a * 2
def f(): return P(1, 2)
""",
        """
p = f()
assert p == (1, 2) and p.x == 1 and p.y == 2 and p[0] == 1
assert p == P(1, 2) and isinstance(p, tuple) and isinstance(p, P)
assert p._asdict() == {"x": 1, "y": 2} and p._replace(x=5) == (5, 2) and P._fields == ("x", "y")
assert repr(p) == "P(x=1, y=2)"
a, b = p
assert (a, b) == (1, 2) and len(p) == 2 and 2 in p and p.count(1) == 1 and p.index(2) == 1
q = Q(3)
assert q.twice() == 6 and q.b == "z" and q == (3, "z") and q < Q(4)
assert {p: 1}[(1, 2)] == 1
import json
assert json.dumps(p) == "[1, 2]"
assert P._make([3, 4]) == (3, 4)
assert p + (3,) == (1, 2, 3)
import copy
assert copy.deepcopy(p) == p
""",
    ),
    "enum": (
        """
from enum import Enum, IntEnum, Flag, auto
class Color(Enum):
    RED = 1
    GREEN = 2
    def label(self): return self.name.lower()
class Level(IntEnum):
    LOW = 1
    HIGH = 2
class Perm(Flag):
    R = auto()
    W = auto()
def mix(c): return Color.GREEN if c is Color.RED else Color.RED
""",
        """
import enum
assert mix(Color.RED) == Color.GREEN and mix(Color.RED) is Color.GREEN
assert mix(Color.GREEN) != Color.GREEN
assert Color.RED.name == "RED" and Color.RED.value == 1 and Color(2) is Color.GREEN
assert Color["RED"] is Color.RED
assert [c.name for c in Color] == ["RED", "GREEN"] and len(Color) == 2
assert list(Color)[0] is Color.RED
assert str(Color.RED) == "Color.RED" and repr(Color.RED) == "<Color.RED: 1>"
assert Color.RED.label() == "red" and Color.RED in Color
assert {Color.RED: 1}[Color.RED] == 1
assert isinstance(Color.RED, Color) and isinstance(Color.RED, enum.Enum)
assert issubclass(Color, enum.Enum)
assert Level.LOW == 1 and Level.LOW < Level.HIGH and Level(2) is Level.HIGH and Level.HIGH + 1 == 3
assert Level.LOW.name == "LOW" and isinstance(Level.LOW, int)
try:
    Color(5)
    assert False
except ValueError:
    pass
assert list(Color.__members__) == ["RED", "GREEN"]
assert (Perm.R | Perm.W).value == 3
""",
    ),
    "own metaclass": (
        """
class Meta(type):
  def __call__(cls, *a):
    if not hasattr(cls, "one"): cls.one = super().__call__(*a)
    return cls.one
class S(metaclass=Meta):
  pass
""",
        "assert S() is S()",
    ),
    "slots": (
        "class P:\n  __slots__ = (\"x\",)\n  def __init__(self): self.x = 1",
        """
p = P()
p.x = 4
assert p.x == 4
try:
    p.y = 1
    assert False
except AttributeError:
    pass
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
