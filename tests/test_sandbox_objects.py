"""A program's own objects, as its tests see them from another process."""

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
    "nested own": (
        """
class Outer:
    class Inner:
        def __init__(self, v): self.v = v
    def make(self): return Outer.Inner(3)
class Meta(type):
    def __len__(cls): return 7
class M(metaclass=Meta): pass
class G:
    def __getattr__(self, name):
        if name.startswith("x"): return name * 2
        raise AttributeError(name)
class C:
    count = 0
    def __init__(self): C.count += 1
class D:
    def __init__(self): self._t = 0
    @property
    def t(self): return self._t
    @t.setter
    def t(self, v):
        if v < 0: raise ValueError("low")
        self._t = v
    @t.deleter
    def t(self): self._t = None
class A:
    def who(self): return "A"
class B(A):
    def who(self): return "B" + super().who()
class E(A):
    def who(self): return "E" + super().who()
class F(B, E): pass
class Counter2:
    def __init__(self): self.d = {}
    def __getitem__(self, k): return self.d.get(k, 0)
    def __setitem__(self, k, v): self.d[k] = v
    def keys(self): return self.d.keys()
    def __iter__(self): return iter(self.d)
    def __len__(self): return len(self.d)
""",
        """
assert Outer().make().v == 3 and isinstance(Outer().make(), Outer.Inner)
assert len(M) == 7
g = G()
assert g.xa == "xaxa" and not hasattr(g, "b")
C(); C()
assert C.count == 2
C.count = 5
C()
assert C.count == 6
d = D()
d.t = 4
assert d.t == 4
try:
    d.t = -1
    assert False
except ValueError as e:
    assert str(e) == "low"
del d.t
assert d.t is None
assert F().who() == "BEA" and [k.__name__ for k in F.__mro__] == ["F", "B", "E", "A", "object"]
assert isinstance(F(), A) and issubclass(F, E) and F.__bases__ == (B, E)
c = Counter2()
c["a"] += 2
assert c["a"] == 2 and dict(c) == {"a": 2} and {**c} == {"a": 2} and "a" in c and "z" not in c
assert list(c) == ["a"] and len(c) == 1
""",
    ),
    "arith own": (
        """
class V:
    def __init__(self, x): self.x = x
    def __add__(self, o): return V(self.x + o.x)
    def __mul__(self, k): return V(self.x * k)
    def __neg__(self): return V(-self.x)
    def __abs__(self): return abs(self.x)
    def __iadd__(self, o): self.x += o.x; return self
    def __float__(self): return float(self.x)
    def __int__(self): return self.x
    def __index__(self): return self.x
    def __round__(self, n=0): return self.x
    def __format__(self, spec): return "V" + spec
""",
        """
assert (V(1) + V(2)).x == 3
assert (-V(1)).x == -1 and abs(V(-2)) == 2 and float(V(2)) == 2.0 and int(V(2)) == 2
assert [0, 1, 2][V(2)] == 2 and round(V(2)) == 2
v = V(1)
w = v
v += V(5)
assert v.x == 6 and w is v
assert f"{v:>3}" == "V>3" and format(v) == "V"
import math
assert math.sqrt(V(4)) == 2
""",
    ),
    "abc": (
        """
from abc import ABC, abstractmethod
class Shape(ABC):
    @abstractmethod
    def area(self): ...
class Sq(Shape):
    def __init__(self, s): self.s = s
    def area(self): return self.s ** 2
from typing import Generic, TypeVar, Protocol, runtime_checkable
T = TypeVar("T")
class Box(Generic[T]):
    def __init__(self, v): self.v = v
import collections.abc
class Seq(collections.abc.Sequence):
    def __len__(self): return 2
    def __getitem__(self, i): return [7, 8][i]
@runtime_checkable
class HasArea(Protocol):
    def area(self): ...
""",
        """
assert Sq(2).area() == 4 and isinstance(Sq(2), Shape) and issubclass(Sq, Shape)
assert not isinstance(3, Shape)
try:
    Shape()
    assert False
except TypeError:
    pass
assert Box(3).v == 3 and Box[int](4).v == 4
import collections.abc
s = Seq()
assert list(s) == [7, 8] and isinstance(s, collections.abc.Sequence) and s.index(8) == 1
assert len(s) == 2
assert isinstance(Sq(1), HasArea)
""",
    ),
    "tree": (
        """
class Node:
    def __init__(self, v, left=None, right=None):
        self.v, self.left, self.right = v, left, right
        self.kids = []
def invert(n):
    if n: n.left, n.right = invert(n.right), invert(n.left)
    return n
def build(xs):
    head = None
    for x in reversed(xs): head = Node(x, head)
    return head
def depth(n): return 1 + max(map(depth, n.kids), default=0)
""",
        """
r = Node(1, Node(2), Node(3))
assert invert(r) is r and r.left.v == 3 and r.right.v == 2
assert r.left is r.left
h = build([1, 2, 3])
out = []
while h:
    out.append(h.v)
    h = h.left
assert out == [1, 2, 3]
n = Node(0)
n.kids.append(Node(1))
n.kids[0].kids.append(Node(2))
assert depth(n) == 3
a = [Node(i) for i in range(3)]
a[0].left = a[1]; a[1].left = a[0]
assert a[0].left.left is a[0]
""",
    ),
    "context manager": (
        """
import contextlib
@contextlib.contextmanager
def cm(log):
    log.append("in")
    try: yield 5
    finally: log.append("out")
class Swallow:
    def __enter__(self): return self
    def __exit__(self, kind, *a): return kind is ValueError
def boom(): raise ValueError("b")
""",
        """
log = []
with cm(log) as x:
    assert x == 5 and log == ["in"]
assert log == ["in", "out"]
with Swallow():
    boom()
try:
    with cm(log):
        boom()
    assert False
except ValueError:
    pass
""",
    ),
    "chain": (
        """
class Q:
  def __init__(self): self.w = []
  def where(self, x):
    self.w.append(x)
    return self
  def run(self): return self.w
""",
        "assert Q().where(1).where(2).run() == [1, 2]",
    ),
    "property error": (
        "class A:\n  @property\n  def x(self): raise ValueError(\"v\")",
        "try:\n    A().x\n    assert False\nexcept ValueError: pass",
    ),
    "isinstance names": (
        "class A: pass\ndef f(): return A()",
        "assert not isinstance(f(), (int, str, list)) and isinstance(f(), object)",
    ),
    "own hash only": ("class P:\n  def __hash__(s): return 1", "assert len({P(), P()}) == 2"),
    "list of own": (
        """
class N:
    def __init__(self, v): self.v = v
def many(): return [N(i) for i in range(3)]
def first(xs): return xs[0]
def table(): return {"a": N(1), "b": (N(2), [N(3)])}
def sort(xs): xs.sort(key=lambda n: -n.v)
""",
        """
xs = many()
assert [n.v for n in xs] == [0, 1, 2] and first(xs) is xs[0] and xs.index(xs[1]) == 1
assert xs[2] in xs
assert xs.count(xs[0]) == 1
sort(xs)
assert [n.v for n in xs] == [2, 1, 0]
xs.remove(xs[0])
assert len(xs) == 2
t = table()
assert t["b"][1][0].v == 3 and isinstance(t["a"], N)
assert sorted(xs, key=lambda n: n.v)[0].v == 0
assert len({*xs, *xs}) == 2
assert N(1) != N(1) and [N(1)] != [N(1)]
""",
    ),
    "class as value": (
        "class A:\n  x = 1\ndef f(): return A\ndef g(c): return c().x",
        "assert f() is A and f()().x == 1 and g(A) == 1 and [A] == [f()] and {A: 1}[A] == 1",
    ),
    "copy own": (
        "class A:\n  def __init__(self): self.x = [1]",
        """
import copy
a = A()
b = copy.copy(a)
c = copy.deepcopy(a)
a.x.append(2)
assert b.x == [1, 2] and c.x == [1] and b is not a and isinstance(c, A)
""",
    ),
    "own iterator protocol": (
        "class R:\n  def __getitem__(self, i):\n    if i > 2: raise IndexError\n    return i * 10",
        "assert list(R()) == [0, 10, 20] and 10 in R() and 11 not in R()",
    ),
}  # fmt: skip
"""Program and tests, by name. In one process, each program passes."""


@pytest.mark.parametrize("name", CASES)
def test_a_right_program_passes(box: Sandbox, name: str) -> None:
    program, tests = CASES[name]
    in_one_process(program, tests)
    verdict = box.run(program, Suite(tests))
    assert verdict.passed, (verdict, (tests.splitlines() or [""])[(verdict.line or 1) - 1])
