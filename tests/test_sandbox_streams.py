"""A program's standard streams, and what its tests make of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits, Suite
from tests.sandboxed import why_not


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    if reason := why_not():
        pytest.skip(reason)
    with Sandbox(Limits(cpu_s=5), workers=1) as made:
        yield made


CASES = {
    "stdout siblings": (
        """
import sys, io, os
print("a", file=sys.stderr)
n = sys.stdout.write("abc")
assert n == 3
assert sys.stdout.fileno() == 1 and sys.stderr.fileno() == 2 and sys.stdin.fileno() == 0
assert sys.stdout.encoding.lower().replace("-", "") == "utf8"
sys.stdout.flush(); sys.stderr.flush()
assert sys.stdout.buffer.write(b"x") == 1
sys.stdout.buffer.flush()
assert not sys.stdout.isatty() and sys.stdout.writable() and not sys.stdout.readable()
sys.stdout.writelines(["a", "b"])
sys.stdout.reconfigure(line_buffering=True)
sys.stdin.reconfigure(encoding="utf-8")
assert sys.stdin.buffer.read() == b"" and sys.stdin.read() == "" and sys.stdin.readline() == ""
assert sys.stdout.errors == "strict" and sys.stderr.errors == "backslashreplace"
input = sys.stdin.readline
data = sys.stdin.buffer.readlines()
print(end="", flush=True)
sys.stdout.buffer.raw.write(b"y")
os.write(1, b"z")
w = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", write_through=True)
w.write("q")
o = open(1, "w", closefd=False); o.write("k"); o.flush()
e = open(sys.stdout.fileno(), "wb", closefd=False, buffering=0); e.write(b"m")
print(repr(sys.stdout), sys.stdout.name, sys.stdout.mode, sys.stdout.closed, sys.stdout.newlines)
try:
    sys.stdout.write(b"bytes")
except TypeError as error:
    assert "str" in str(error)
try:
    sys.stdout.write(5)
except TypeError:
    pass
try:
    sys.stdout.read()
except io.UnsupportedOperation:
    pass
def f(x):
    print(x, file=sys.stderr)
    sys.stdout.buffer.write(b"abc")
    return x + 1
""",
        "assert f(1) == 2",
    ),
    "stdout detached": (
        """
import sys, io
sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="utf-8")
def f(x):
  print("hallo")
  return x
""",
        "assert f(1) == 1",
    ),
    "stdout closed": ("import sys\nsys.stdout.close()\ndef f(x):\n  return x", "assert f(1) == 1"),
    "stdout none": ("import sys\nsys.stdout = None\ndef f(x):\n  print(3)\n  return x", "assert f(1) == 1"),
    "codecs": (
        """
import sys, codecs
sys.stdout = codecs.getwriter("utf-8")(sys.stdout.buffer)
def f(x):
  print("ü")
  return x
""",
        "assert f(1) == 1",
    ),
    "redirect inside": (
        """
import io, contextlib
def g(): print("x")
def f():
  b = io.StringIO()
  with contextlib.redirect_stdout(b): g()
  return b.getvalue()
""",
        "assert f() == \"x\\n\"",
    ),
    "logging": (
        """
import logging, sys, warnings
logging.basicConfig(stream=sys.stdout, level=logging.INFO)
def f():
  logging.info("x"); logging.warning("y"); warnings.warn("z"); return 1
""",
        "assert f() == 1",
    ),
    "traceback": (
        """
import traceback
def f():
  try: 1/0
  except ZeroDivisionError: traceback.print_exc(); return traceback.format_exc().splitlines()[-1]
""",
        "assert f() == \"ZeroDivisionError: division by zero\"",
    ),
    "pprint": (
        "from pprint import pprint, pformat\ndef f():\n  pprint({\"a\": 1}); return pformat([1])",
        "assert f() == \"[1]\"",
    ),
    "stdin none": ("import sys\ndef f(): return sys.stdin.buffer.readline()", "assert f() == b\"\""),
    "print override": (
        """
import sys, io
sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
print("ü")
sys.stdout.flush()
def f(): return 1
""",
        "assert f() == 1",
    ),
    "open 1": (
        """
import os, sys
out = os.fdopen(1, "wb")
out.write(b"x")
out.flush()
sys.stdin.buffer.read()
data = sys.stdin.readlines()
sys.__stdout__.write("x")
def f(): return 1
""",
        "assert f() == 1",
    ),
    "capture": (
        """
def f():
  print("hi", 3)
  import sys
  sys.stdout.write("x")
  sys.stdout.buffer.write(b"bin")
  sys.stdout.flush()
  print("e", file=sys.stderr)
""",
        """
import io, contextlib, sys
b = io.StringIO()
with contextlib.redirect_stdout(b):
    f()
assert b.getvalue() == "hi 3\\nxbin", b.getvalue()
old = sys.stdout
sys.stdout = io.StringIO()
f()
out = sys.stdout.getvalue()
sys.stdout = old
assert out.startswith("hi 3")
with contextlib.redirect_stderr(io.StringIO()) as err:
    f()
assert err.getvalue() == "e\\n"
f()
""",
    ),
    "capture order": (
        """
import sys
def f():
  print("a"); sys.stdout.flush(); sys.stdout.buffer.write(b"b\\n"); sys.stdout.buffer.flush(); print("c")
""",
        """
import io, contextlib
with contextlib.redirect_stdout(io.StringIO()) as out:
    f()
assert out.getvalue() == "a\\nb\\nc\\n", out.getvalue()
""",
    ),
    "capture import": (
        "print(\"at import\")\ndef f(): print(\"x\")",
        """
import io, contextlib
with contextlib.redirect_stdout(io.StringIO()) as out:
    f()
assert out.getvalue() == "x\\n"
""",
    ),
    "capture own": (
        "class A:\n  def __repr__(self): return \"A!\"\n  def show(self): print(self)",
        """
import io, contextlib
with contextlib.redirect_stdout(io.StringIO()) as out:
    A().show()
    print(A())
assert out.getvalue() == "A!\\nA!\\n"
""",
    ),
    "stdin": (
        "def f():\n  n = int(input())\n  return sum(int(input()) for _ in range(n))",
        """
import sys, io
sys.stdin = io.StringIO("2\\n3\\n4\\nrest\\n")
assert f() == 7
assert sys.stdin.read() == "rest\\n"
""",
    ),
    "stdin loop": (
        "import sys\ndef f(): return sum(map(int, sys.stdin))",
        "import io, sys\nsys.stdin = io.StringIO(\"1\\n2\\n\")\nassert f() == 3",
    ),
    "stdin two": (
        "def f(): return input()",
        """
import io, sys
sys.stdin = io.StringIO("1\\n2\\n")
assert f() == "1"
assert f() == "2"
import builtins
try:
    f()
    assert False
except EOFError: pass
""",
    ),
    "mock stdout": (
        "def f(): print(\"x\")",
        """
import io
from unittest.mock import patch
with patch("sys.stdout", new_callable=io.StringIO) as out:
    f()
assert out.getvalue() == "x\\n"
""",
    ),
}  # fmt: skip
"""Program and tests, by name."""


@pytest.mark.parametrize("name", CASES)
def test_a_right_program_passes(box: Sandbox, name: str) -> None:
    program, tests = CASES[name]
    verdict = box.run(program, Suite(tests, module="program_name"))
    assert verdict.passed, (verdict, tests.splitlines()[(verdict.line or 1) - 1])
