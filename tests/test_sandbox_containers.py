"""Containers that a program and its tests both have: arguments changed in place, results that are kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutation.sandbox.inside.shared import Shared
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
    "in place": (
        """
def srt(a): a.sort()
def rev(a): a.reverse(); return a
def dct(d): d["x"] = 1; d.pop("y", None)
def st(s): s.add(5)
def grid(g): g[0][1] = 9
def nested(d): d["k"].append(1)
def swap(a, b): a[:], b[:] = b[:], a[:]
def both(a, b): a.append(1); return b
def keep(t): t[0].append(2)
def new(a): a.append([1])
from collections import deque, Counter, defaultdict, OrderedDict
def dq(q): q.appendleft(0)
def ct(c): c.update("aa")
def dd(d): d["z"].append(3)
def od(d): d.move_to_end("a")
def ba(b): b[0] = 65
def cyc(a): a.append(a)
def kw(*, items): items.clear()
def failing(a): a.append(1); raise ValueError
def gen(a):
    for i in range(2):
        a.append(i); yield i
""",
        """
a = [3, 1, 2]
assert srt(a) is None and a == [1, 2, 3]
b = rev(a)
assert b is a and a == [3, 2, 1]
d = {"y": 2}
dct(d)
assert d == {"x": 1} and list(d) == ["x"]
s = {1}
st(s)
assert s == {1, 5}
g = [[1, 2], [3, 4]]
row = g[0]
grid(g)
assert g == [[1, 9], [3, 4]] and row == [1, 9] and g[0] is row
k = {"k": []}
inner = k["k"]
nested(k)
assert inner == [1]
x, y = [1], [2]
swap(x, y)
assert x == [2] and y == [1]
z = [0]
assert both(z, z) == [0, 1] and z == [0, 1]
t = ([1],)
keep(t)
assert t == ([1, 2],)
n = []
new(n)
assert n == [[1]]
from collections import deque, Counter, defaultdict, OrderedDict
q = deque([1], maxlen=5); dq(q); assert q == deque([0, 1]) and q.maxlen == 5
cc = Counter("a"); ct(cc); assert cc == Counter("aaa")
e = defaultdict(list); dd(e); assert e == {"z": [3]} and e["new"] == []
o = OrderedDict(a=1, b=2); od(o); assert list(o) == ["b", "a"]
w = bytearray(b"bc"); ba(w); assert w == b"Ac"
m = []
cyc(m)
assert m[0] is m
i = [1]
kw(items=i)
assert i == []
r = []
try:
    failing(r)
except ValueError:
    pass
assert r == [1]
v = []
it = gen(v)
next(it)
assert v == [0]
next(it)
assert v == [0, 1]
orig = [3, 1]
copy = orig[:]
srt(copy)
assert orig == [3, 1] and copy == [1, 3]
""",
    ),
    "kept lists": (
        """
LOG = []
COUNT = 0
LATER = None
class Box:
    def __init__(self, items): self.items = items
    def add(self, x): self.items.append(x)
def inc():
    global COUNT
    COUNT += 1
    LOG.append(COUNT)
def make():
    global NEW
    NEW = 5
cache = {}
def memo(n):
    cache[n] = n * n
    return cache
""",
        """
data = [1]
b = Box(data)
b.add(2)
assert data == [1, 2]
data.append(3)
assert b.items == [1, 2, 3] and b.items is data
assert COUNT == 0 and LOG == []
inc()
assert COUNT == 1 and LOG == [1]
inc()
assert COUNT == 2 and LOG == [1, 2]
LOG.clear()
inc()
assert LOG == [3]
c = memo(2)
memo(3)
assert c == {2: 4, 3: 9} and cache == c and cache is c
items = b.items
b.add(9)
assert items[-1] == 9
make()
assert NEW == 5
""",
    ),
    "large grid": (
        """
def f(g):
  for r in g:
    for i in range(len(r)): r[i] += 1
""",
        """
g = [[0] * 300 for _ in range(300)]
f(g)
assert sum(map(sum, g)) == 90000
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


SHARED = """
KEPT = []

def push(xs, x): xs.append(x)
def pop(xs): return xs.pop() if xs else None
def turn(xs): xs.reverse()
def wrap(xs): return [xs, {"x": xs}]
def keep(xs): KEPT.append(xs)
def kept(i): return KEPT[i % len(KEPT)] if KEPT else []
def fill(xs): xs[:] = [len(xs), [0]]
def store(d, xs): d["k"] = xs
def touch(): [xs.append(7) for xs in KEPT if len(xs) < 5]
def drop(): KEPT.clear()
"""
SHAPE = """
def shape(value, seen):
    if isinstance(value, (list, dict)):
        if id(value) in seen:
            return seen[id(value)]
        seen[id(value)] = f"#{len(seen)}"
        parts = value.items() if isinstance(value, dict) else value
        return [type(value).__name__, *(shape(part, seen) for part in parts)]
    return [shape(part, seen) for part in value] if isinstance(value, tuple) else value

SEEN = {}
SHAPES = [shape(value, SEEN) for value in (a, b, c, d, KEPT)]
record(SHAPES)
"""
STEPS = """
push(a, 1)|push(b, a)|push(c, b)|push(a, [2])|pop(b)|turn(a)|c = wrap(a)|c = wrap(b)|keep(a)|keep(b)|keep(c)
a = kept(0)|b = kept(1)|c = kept(2)|fill(a)|fill(c)|store(d, a)|store(d, c)|touch()|drop()|a.append(3)
b.append(a)
c.insert(0, [4])|a = [5]|b = a|c.clear()|d["y"] = b|b = d.get("k", [])|push(d.setdefault("z", []), 6)
"""


@settings(max_examples=150)
@given(st.lists(st.sampled_from(STEPS.strip().replace("\n", "|").split("|")), max_size=12))
def test_containers_are_shared_as_in_one_process(box: Sandbox, steps: list[str]) -> None:
    """Random steps of the program and of its tests, and in the end: what holds what."""
    tests = "\n".join(["a, b, c, d = [0], [], [], {}", *steps, SHAPE])
    expected = in_one_process(SHARED, tests.replace("record(SHAPES)", ""))["SHAPES"]
    verdict = box.run(SHARED, Suite(tests))
    assert verdict.passed and list(verdict.recorded) == [expected], verdict


def test_what_nobody_else_refers_to_is_released() -> None:
    shared = Shared(1)
    inner: list[object] = [1]
    numbers = [shared.add([inner, 2]), shared.add(inner), shared.add({})]
    assert shared.release() == [numbers[0], numbers[2]]
    del inner
    assert shared.release() == [numbers[1]] and not shared.objects and not shared.numbers


def test_many_calls_leave_nothing_shared(box: Sandbox) -> None:
    tests = "CASES = [[n] for n in range(2000)]\nfor case in CASES:\n    assert f(case) == [case[0], 1]"
    verdict = box.run("def f(xs):\n    return [*xs, 1]\n", Suite(tests))
    assert verdict.passed and verdict.seconds < 2
