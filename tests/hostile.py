"""Probes of the sandbox: programs that each try one thing that they may not do, with expected verdicts.

Every probe is harmless where it runs without a sandbox: it asks for one process, one connection or one file,
takes a little more than it may, and stops. None is a way to pass tests: what could be one (a method that the
tests call, a name that they use) only reports that it was reached, by raising `RuntimeError: reached`.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent

from mutation.sandbox.verdict import Outcome

TESTS = "assert answer(3) == 7\nassert answer(10) == 21"
REACHED = "reached"
"""What a probe says if it could do what it tried."""

PASSED, ASSERTION, EXCEPTION = Outcome.PASSED, Outcome.ASSERTION, Outcome.EXCEPTION
KILLED, REFUSED = Outcome.KILLED, Outcome.REFUSED
TIME_OUT, MEMORY, OUTPUT = Outcome.TIME_OUT, Outcome.MEMORY, Outcome.OUTPUT


@dataclass(frozen=True)
class Hostile:
    """A program and its expected verdict.

    outcomes: any of these is right. exception: the expected type, "" if any type is right.
    idle: the program takes no processor time, so only the wall-clock limit can end it.
    """

    name: str
    program: str
    outcomes: tuple[Outcome, ...]
    exception: str = ""
    tests: str = TESTS
    idle: bool = False


def _at_import(name: str, text: str, *outcomes: Outcome, exception: str = "", tests: str = TESTS) -> Hostile:
    """A program that tries something when it is loaded, and answers rightly if it is not stopped."""
    program = f"{dedent(text).strip()}\n\n\ndef answer(x):\n    return 2 * x + 1\n"
    return Hostile(name, program, outcomes, exception, tests)


def _in_call(
    name: str, text: str, *outcomes: Outcome, exception: str = "", tests: str = TESTS, idle: bool = False
) -> Hostile:
    """A program that tries something when it is called, and answers rightly if it is not stopped."""
    body = "\n".join("    " + line for line in dedent(text).strip().splitlines())
    return Hostile(name, f"def answer(x):\n{body}\n    return 2 * x + 1\n", outcomes, exception, tests, idle)


def _object(name: str, methods: str, *outcomes: Outcome, tests: str = TESTS, base: str = "object") -> Hostile:
    """A program that returns an object whose methods report that they were called."""
    lines = "".join(f"    {method} = reached\n" for method in methods.split())
    program = f'def reached(*_):\n    raise RuntimeError("reached")\n\n\nclass Probe({base}):\n{lines}'
    return Hostile(name, program + "\n\ndef answer(x):\n    return Probe()\n", outcomes, tests=tests)


HOSTILE = [
    # -- ending early ------------------------------------------------------------------------------
    _at_import("exits at import", "raise SystemExit(3)", EXCEPTION, exception="SystemExit"),
    _in_call("exits when called", "raise SystemExit(3)", EXCEPTION, exception="SystemExit"),
    _at_import("leaves at import", "import os; os._exit(3)", KILLED),
    _in_call("leaves when called", "import os; os._exit(3)", KILLED),
    _in_call("leaves and the tests catch it", "import os; os._exit(3)", KILLED,
             tests="try:\n    answer(3)\nexcept BaseException:\n    pass"),
    _in_call("aborts", "import os; os.abort()", KILLED),
    _in_call("ends itself", "import os; os.kill(os.getpid(), 9)", KILLED),
    _in_call("interrupts", "raise KeyboardInterrupt", EXCEPTION, exception="KeyboardInterrupt"),
    _in_call("fails an assertion of its own", "raise AssertionError", EXCEPTION, exception="AssertionError"),
    # -- other processes ---------------------------------------------------------------------------
    _in_call("asks for its parent", "import os; os.kill(os.getppid(), 0)", EXCEPTION,
             exception="PermissionError"),
    _in_call("asks for the first process", "import os; os.kill(1, 0)", EXCEPTION,
             exception="PermissionError"),
    _in_call("asks for its group", "import os; os.killpg(0, 0)", EXCEPTION, exception="PermissionError"),
    _in_call("wants signals of a descriptor", """
        import fcntl, os
        fcntl.fcntl(3, fcntl.F_SETOWN, os.getpid())
        """, EXCEPTION, exception="PermissionError"),
    _in_call("wants to be traced", """
        import ctypes
        assert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0, "not allowed"
        """, EXCEPTION, exception="AssertionError"),
    _in_call("reads its own memory", "open('/proc/self/mem', 'rb').close()", EXCEPTION,
             exception="FileNotFoundError"),
    _in_call("lists processes", "import os; os.listdir('/proc')", EXCEPTION, exception="FileNotFoundError"),
    _in_call("reads its parent's limits", """
        import os, resource
        resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)
        """, EXCEPTION, exception="PermissionError"),
    _in_call("raises its own limit", """
        import resource
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (hard + 1, hard + 1))
        """, EXCEPTION, exception="ValueError"),
    # -- the pipe ----------------------------------------------------------------------------------
    _at_import("prints to both streams", """
        import sys
        print("probe", flush=True)
        print("probe", file=sys.stderr)
        """, PASSED),
    _at_import("sends a frame that is no JSON", "import os; os.write(3, b'\\0\\0\\0\\4oops')", KILLED),
    _at_import("sends a frame that is no reply", "import os; os.write(3, b'\\0\\0\\0\\2[]')", KILLED),
    _at_import("sends a frame that is too long", "import os; os.write(3, b'\\xff\\xff\\xff\\xff')", OUTPUT),
    _at_import("sends a number that no object has", """
        import os
        data = b'{"value": ["same", 99]}'
        os.write(3, len(data).to_bytes(4, "big") + data)
        """, KILLED),
    _at_import("sends an object of a class of Python", """
        import os
        data = b'{"value": ["object", 99, ["class", "int"], 7]}'
        os.write(3, len(data).to_bytes(4, "big") + data)
        """, KILLED),
    _at_import("sends a change to what nobody shares", """
        import os
        data = b'{"value": ["dict", 0], "changed": [[2, ["tuple", 1]], [4, ["tuple", 1]]]}'
        os.write(3, len(data).to_bytes(4, "big") + data)
        """, KILLED),
    _in_call("closes its descriptors", "import os; os.closerange(0, 64)", KILLED),
    _in_call("closes the pipe", "import os; os.close(3)", KILLED),
    # -- names that the tests use ------------------------------------------------------------------
    _at_import("replaces a built-in function", """
        import builtins
        def reached(*_):
            raise RuntimeError("reached")
        builtins.sorted = reached
        """, PASSED, tests="assert sorted([answer(3), 1]) == [1, 7]"),
    _at_import("replaces the built-in functions that describe its objects", """
        import builtins
        def reached(*_):
            raise RuntimeError("reached")
        builtins.sorted = builtins.next = builtins.any = builtins.vars = builtins.hasattr = reached
        class Number(int):
            __lt__ = __index__ = int.__add__
        """, PASSED, tests="assert Number(7).real == answer(3)"),
    _at_import("defines a built-in name", """
        def sorted(*_):
            raise RuntimeError("reached")
        """, PASSED, tests="assert sorted([answer(3), 1]) == [1, 7]"),
    _at_import("defines a module of the tests", """
        class math:
            @staticmethod
            def floor(x):
                raise RuntimeError("reached")
        """, PASSED, tests="assert math.floor(answer(3)) == 7"),
    _in_call("rebinds a name that the tests have bound", """
        def reached(*_):
            raise RuntimeError("reached")
        globals()["floor"] = reached
        """, PASSED, tests="from math import *\nassert answer(3) == 7 and floor(7.5) == 7"),
    _at_import("replaces a module", """
        import sys, types
        sys.modules["math"] = types.ModuleType("math")
        """, PASSED, tests="import math\nassert math.floor(answer(3)) == 7"),
    _at_import("replaces the class of failed assertions", """
        import builtins
        builtins.AssertionError = type("Probe", (Exception,), {})
        """, ASSERTION, tests="assert answer(3) == 8"),
    _at_import("replaces a function of the runner", """
        import mutation.sandbox.inside.wire as wire
        def reached(*_):
            raise RuntimeError("reached")
        wire.unpack = wire.pack = reached
        """, PASSED),
    # -- objects -----------------------------------------------------------------------------------
    _object("is compared", "__eq__", REFUSED),
    _object("is compared from the right", "__eq__ __ne__", REFUSED, tests="assert 7 != answer(3)"),
    _object("is compared in a list", "__eq__", REFUSED, tests="assert [7] == [answer(3)]"),
    _object("is compared as a number", "__eq__", REFUSED, base="int"),
    _object("is compared as a list", "__eq__ __len__ __iter__", REFUSED, base="list"),
    _object("is compared as a text", "__eq__", REFUSED, base="str", tests="assert answer(3) == ''"),
    _object("is ordered", "__lt__ __gt__", REFUSED, tests="assert answer(3) < 7"),
    _object("is asked whether it is true", "__bool__", REFUSED, tests="assert answer(3)"),
    _object("is asked what it holds", "__contains__", REFUSED, tests="assert 7 in answer(3)"),
    _object("is hashed", "__eq__ __hash__", REFUSED, tests="assert {answer(3)}"),
    _object("is subtracted from", "__sub__", REFUSED, tests="assert abs(answer(3) - 7) < 1"),
    _object("is subtracted", "__rsub__", REFUSED, tests="assert abs(7 - answer(3)) < 1"),
    _object("is multiplied in place", "__imul__", REFUSED, tests="x = answer(3)\nx *= 7\nassert x == 7"),
    _object("is pickled", "__reduce_ex__ __getstate__", REFUSED,
            tests="import pickle\nassert pickle.dumps(answer(3))"),
    _object("is compared by name", "__eq__", REFUSED, tests="assert answer(3).__eq__(7)"),
    _object("is created", "__del__ __getattr__", ASSERTION),
    _object("says what class it has", "__eq__", ASSERTION, tests="assert isinstance(answer(3), int)"),
    _in_call("ends a block of the tests", """
        class Block:
            def __enter__(self): return self
            def __exit__(self, *error):
                if error != (None, None, None):
                    raise RuntimeError("reached")
        return Block()
        """, ASSERTION, tests="with answer(3):\n    assert answer is None"),
    _in_call("raises what cannot be shown", """
        class Probe(Exception):
            def __str__(self): raise RuntimeError("reached")
        raise Probe
        """, EXCEPTION, exception="Probe"),
    _in_call("raises what is no identifier", "raise type('an odd name', (Exception,), {})", EXCEPTION,
             exception="an odd name"),
    # -- the tests' text ---------------------------------------------------------------------------
    _in_call("looks for its tests in memory", """
        import gc
        if any("assert answer" + "(3)" in value for found in gc.get_objects() if isinstance(found, dict)
               for value in list(found.values()) if isinstance(value, str)):
            raise RuntimeError("reached")
        """, PASSED),
    _in_call("looks for its tests on the stack", """
        import sys
        frame = sys._getframe()
        while frame:
            if any("== " + "7" in str(value) for value in frame.f_locals.values()):
                raise RuntimeError("reached")
            frame = frame.f_back
        """, PASSED),
    _in_call("looks for its tests in a descriptor", """
        import os
        try:
            os.pread(0, 1, 0)
            os.pread(3, 1, 0)
        except OSError:
            pass
        else:
            raise RuntimeError("reached")
        """, PASSED),
    _in_call("reads its environment", """
        import os
        if os.environ.keys() - {"LC_ALL", "LC_CTYPE", "PATH", "PWD", "PYTHONHASHSEED", "TZ"}:
            raise RuntimeError("reached")
        """, PASSED),
    # -- leaving something running -----------------------------------------------------------------
    _in_call("starts a thread", "import threading; threading.Thread(target=int).start()", EXCEPTION,
             exception="RuntimeError"),
    _in_call("forks once", """
        import os
        if os.fork() == 0:
            os._exit(0)
        """, EXCEPTION, exception="OSError"),
    _in_call("starts a program", "import subprocess; subprocess.run(['/bin/true'])", EXCEPTION),
    _in_call("becomes another program", "import os; os.execv('/bin/true', ['true'])", EXCEPTION),
    # -- a little more than it may -----------------------------------------------------------------
    _in_call("computes too long", """
        import time
        while time.process_time() < 4:
            pass
        """, TIME_OUT),
    _at_import("computes too long at import", """
        import time
        while time.process_time() < 4:
            pass
        """, TIME_OUT),
    _in_call("sleeps", "import time; time.sleep(4)", TIME_OUT, idle=True),
    _in_call("computes on after the signal", """
        import signal, time
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        while time.process_time() < 4:
            pass
        """, TIME_OUT),
    _in_call("catches every exception", """
        import time
        while time.process_time() < 4:
            try:
                raise ValueError
            except BaseException:
                pass
        """, TIME_OUT),
    _in_call("recurses", "return answer(x)", EXCEPTION, exception="RecursionError"),
    _in_call("takes memory at once", "bytearray(300 << 20)", MEMORY),
    _in_call("takes memory in pieces", "kept = [bytearray(1 << 20) for _ in range(300)]", MEMORY),
    _in_call("prints too much", "print('x' * 21_000)", OUTPUT),
    _in_call("prints too many bytes", "import sys; sys.stdout.buffer.write(b'x' * 21_000)", OUTPUT),
    _in_call("prints too much and catches it", """
        try:
            print('x' * 21_000)
        except BaseException:
            pass
        """, OUTPUT),
    _in_call("answers too much", "return 'x' * (17 << 20)", OUTPUT),
    _in_call("answers with a list that contains itself", "x = []; x.append(x); return x", ASSERTION),
    _in_call("answers with too deep a list", """
        x = []
        for _ in range(10_000):
            x = [x]
        return x
        """, REFUSED),
    _in_call("writes a large file", "open('large', 'wb').write(b'x' * (5 << 20))", EXCEPTION,
             exception="OSError"),
    _in_call("writes many files", """
        for n in range(600):
            with open(str(n), "w") as file:
                file.write("x" * 8192)
        """, EXCEPTION, exception="OSError"),
    # -- outside the sandbox -----------------------------------------------------------------------
    _in_call("connects", "import socket; socket.create_connection(('127.0.0.1', 9), 1)", EXCEPTION,
             exception="OSError"),
    _in_call("connects to a socket file", "import socket; socket.socket(socket.AF_UNIX)", EXCEPTION,
             exception="OSError"),
    _in_call("writes to the system", "open('/runner/probe', 'w')", EXCEPTION, exception="OSError"),
    _in_call("makes a namespace", """
        import ctypes
        assert ctypes.CDLL(None).unshare(0x4000000) == 0, "not allowed"
        """, EXCEPTION, exception="AssertionError"),
    _in_call("changes its root", "import os; os.chroot('/')", EXCEPTION, exception="OSError"),
    _in_call("shares memory", "from multiprocessing import shared_memory as s; s.SharedMemory('p', True, 9)",
             EXCEPTION),
    _in_call("reads a file that is there", f"open({__file__!r}).read(1)", EXCEPTION,
             exception="FileNotFoundError"),
    _in_call("reads a file of the system", "open('/etc/passwd').read(1)", EXCEPTION,
             exception="FileNotFoundError"),
    _in_call("waits for input", "input()", EXCEPTION, exception="EOFError"),
]  # fmt: skip
