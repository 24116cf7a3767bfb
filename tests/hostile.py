"""Programs that try to escape from the sandbox, or to pass although they are wrong, with expected verdicts.

None of them knows that `answer(x)` must be 2 * x + 1. Some outcomes depend on which limit is reached first.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent

from mutation.sandbox.verdict import Outcome

TESTS = "assert answer(3) == 7\nassert answer(10) == 21"

ASSERTION, EXCEPTION, KILLED = Outcome.ASSERTION, Outcome.EXCEPTION, Outcome.KILLED
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

    @property
    def idle(self) -> bool:
        return self.name in ("sleeps", "falls silent")


def _at_import(name: str, text: str, *outcomes: Outcome, exception: str = "", tests: str = TESTS) -> Hostile:
    """A program that does something when it is loaded, and then gives wrong answers."""
    program = dedent(text).strip() + "\n\ndef answer(x):\n    return 0\n"
    return Hostile(name, program, outcomes, exception, tests)


def _in_call(name: str, text: str, *outcomes: Outcome, exception: str = "", tests: str = TESTS) -> Hostile:
    """A program that does something when it is called, and then gives a wrong answer."""
    body = "\n".join("    " + line for line in dedent(text).strip().splitlines())
    return Hostile(name, f"def answer(x):\n{body}\n    return 0\n", outcomes, exception, tests)


FORGED = """
import json, os
def say(reply):
    data = json.dumps(reply).encode()
    os.write(3, len(data).to_bytes(4, "big") + data)
"""

HOSTILE = [
    # -- exiting early -----------------------------------------------------------------------------
    _at_import("exits at import", "import sys; sys.exit(0)", EXCEPTION, exception="SystemExit"),
    _in_call("exits when called", "raise SystemExit(0)", EXCEPTION, exception="SystemExit"),
    _at_import("leaves at import", "import os; os._exit(0)", KILLED),
    _in_call("leaves when called", "import os; os._exit(0)", KILLED),
    _in_call("leaves and the tests catch it", "import os; os._exit(0)", KILLED,
             tests="try:\n    answer(3)\nexcept BaseException:\n    pass"),
    _in_call("aborts", "import os; os.abort()", KILLED),
    _in_call("kills itself", "import os; os.kill(os.getpid(), 9)", KILLED),
    _in_call("crashes the interpreter", "import ctypes; ctypes.string_at(1)", KILLED),
    _in_call("interrupts", "raise KeyboardInterrupt", EXCEPTION, exception="KeyboardInterrupt"),
    _in_call("asserts by itself", "raise AssertionError", EXCEPTION, exception="AssertionError"),
    # -- attacking other processes -----------------------------------------------------------------
    _in_call("kills its parent", "import os; os.kill(os.getppid(), 9)", EXCEPTION,
             exception="PermissionError"),
    _in_call("kills all processes", "import os; os.kill(-1, 9)", EXCEPTION, exception="PermissionError"),
    _in_call("kills its group", "import os; os.killpg(0, 9)", EXCEPTION, exception="PermissionError"),
    _in_call("kills every process id", """
        import os
        for pid in range(1, 200):
            if pid != os.getpid():
                try:
                    os.kill(pid, 9)
                except OSError:
                    pass
        """, ASSERTION),
    _in_call("signals its parent through a descriptor", """
        import fcntl, os
        fcntl.fcntl(3, fcntl.F_SETOWN, os.getppid())
        """, EXCEPTION, exception="PermissionError"),
    _in_call("traces its parent", """
        import ctypes, os
        assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0, "cannot"
        """, EXCEPTION, exception="AssertionError"),
    _in_call("reads its memory file", "open('/proc/self/mem', 'rb').read(1)", EXCEPTION,
             exception="FileNotFoundError"),
    _in_call("lists processes", "import os; os.listdir('/proc')", EXCEPTION, exception="FileNotFoundError"),
    _in_call("limits its parent", """
        import os, resource
        resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))
        """, EXCEPTION, exception="PermissionError"),
    _in_call("raises its own limits", """
        import resource
        resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))
        """, EXCEPTION, exception="ValueError"),
    # -- forging -----------------------------------------------------------------------------------
    _at_import("prints a verdict", """
        print('{"outcome": "passed"}', flush=True)
        print("passed")
        """, ASSERTION),
    _in_call("writes a verdict everywhere", """
        import json, os
        data = json.dumps({"outcome": "passed", "recorded": []}).encode()
        for fd in range(64):
            try:
                os.write(fd, len(data).to_bytes(4, "big") + data)
            except OSError:
                pass
        """, KILLED),
    _at_import("answers before it is called", FORGED + """
say(["value", ["list", "answer"]])
say(["value", ["remote", 1]])
for _ in range(9):
    say(["value", True])
""", ASSERTION),
    _at_import("answers with a fake handle", FORGED + "say(['value', ['remote', 'x']])", KILLED),
    _at_import("answers with an invalid frame", "import os; os.write(3, b'\\xff' * 64)", OUTPUT),
    _at_import("answers with invalid JSON", "import os; os.write(3, b'\\0\\0\\0\\4oops')", KILLED),
    _at_import("names no names", FORGED + "say(['value', 7])", EXCEPTION),
    _at_import("patches the runner", """
        import mutation.sandbox.inside.program as program
        program.pack = lambda *_: True
        """, EXCEPTION, ASSERTION),
    _at_import("patches the encoder", """
        import json
        json.JSONEncoder.encode = lambda *_: '["value", true]'
        """, EXCEPTION, ASSERTION),
    _at_import("patches what assert needs", """
        import builtins
        builtins.AssertionError = type("Nothing", (Exception,), {})
        builtins.__build_class__ = builtins.isinstance = builtins.len = lambda *_: True
        """, ASSERTION, EXCEPTION, KILLED),
    _at_import("patches what its tests call", "set = tuple = sorted = abs = lambda *_: 0", ASSERTION,
               tests="assert set([answer(3)]) == {7}"),
    _at_import("shadows a module of the tests", """
        class math:
            isclose = staticmethod(lambda *_: True)
        """, ASSERTION, tests="assert math.isclose(answer(3), 7)"),
    _at_import("traces the runner", """
        import sys
        def trace(frame, event, argument):
            frame.f_locals["reply"] = ["value", 7]
            return trace
        sys.settrace(trace)
        """, ASSERTION, EXCEPTION),
    # -- objects that lie --------------------------------------------------------------------------
    _in_call("equals everything", """
        class Equal:
            __eq__ = lambda self, other: True
            __ne__ = lambda self, other: False
            __hash__ = None
        return Equal()
        """, ASSERTION),
    _in_call("equals everything, as a number", """
        class Equal(int):
            __eq__ = lambda self, other: True
        return Equal(0)
        """, ASSERTION),
    _in_call("equals everything, as a list", """
        class Equal(list):
            __eq__ = lambda self, other: True
            __iter__ = lambda self: iter([7])
        return Equal()
        """, ASSERTION, tests="assert answer(3) == [7]"),
    _in_call("is true and false", """
        class Both:
            __bool__ = lambda self: True
            __invert__ = __sub__ = __lt__ = lambda *_: True
        return Both()
        """, EXCEPTION, tests="assert answer(3)"),
    _in_call("is close to everything", """
        class Close:
            __sub__ = __rsub__ = __abs__ = lambda *_: 0
            __lt__ = lambda *_: True
        return Close()
        """, EXCEPTION, tests="assert abs(answer(3) - 7) < 1e-6"),
    _in_call("lies about its class", """
        class Number:
            __class__ = int
            __eq__ = lambda self, other: True
        return Number()
        """, EXCEPTION, ASSERTION),
    _in_call("raises an exception that exits", """
        import os
        class Bite(Exception):
            __str__ = lambda self: os._exit(0)
        raise Bite
        """, KILLED),
    _in_call("raises an odd name", "raise type('passed or', (Exception,), {})", EXCEPTION),
    # -- reading the tests -------------------------------------------------------------------------
    _in_call("searches its memory", """
        import gc
        sought = "assert answer".__add__("(3)")
        for found in gc.get_objects():
            if isinstance(found, dict):
                for value in list(found.values()):
                    if isinstance(value, str) and sought in value:
                        return 2 * x + 1
        """, ASSERTION),
    _in_call("searches the stack", """
        import sys
        frame = sys._getframe()
        while frame:
            for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
                if "answer" + "(3) == 7" in repr(value):
                    return 2 * x + 1
            frame = frame.f_back
        """, ASSERTION),
    _in_call("searches the files", """
        import os
        for folder in ("/", "/tmp", "/runner", ".", "/etc", "/root", "/home", "/work"):
            if os.path.isdir(folder):
                for name in os.listdir(folder):
                    if "test" in name:
                        return 2 * x + 1
        """, ASSERTION),
    _in_call("searches its descriptors", """
        import os
        for fd in range(64):
            try:
                if b"assert" in os.pread(fd, 4096, 0):
                    return 2 * x + 1
            except OSError:
                pass
        """, ASSERTION),
    # -- leaving something running, or closing the pipe --------------------------------------------
    _in_call("leaves a thread", """
        import threading, time
        threading.Thread(target=time.sleep, args=(60,)).start()
        return 2 * x + 1
        """, EXCEPTION, exception="RuntimeError"),
    _in_call("leaves a child", """
        import os
        os.fork()
        return 2 * x + 1
        """, EXCEPTION, exception="OSError"),
    _in_call("starts a program", """
        import subprocess
        subprocess.Popen(["/bin/sleep", "60"])
        return 2 * x + 1
        """, EXCEPTION),
    _in_call("becomes another program", "import os; os.execv('/bin/true', ['true'])", EXCEPTION),
    _in_call("closes its descriptors", "import os; os.closerange(0, 64)", KILLED),
    _in_call("replaces the pipe", """
        import os
        os.dup2(os.open("/dev/null", os.O_RDWR), 3)
        """, KILLED),
    _in_call("falls silent", """
        import os, time
        os.write = lambda fd, data: len(data)
        """, TIME_OUT),
    # -- exhausting resources ----------------------------------------------------------------------
    _in_call("loops", "while True: pass", TIME_OUT),
    _at_import("loops at import", "while True: pass", TIME_OUT),
    _in_call("sleeps", "import time; time.sleep(600)", TIME_OUT),
    _in_call("loops and ignores the signal", """
        import signal
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        while True:
            pass
        """, TIME_OUT),
    _in_call("swallows every exception", """
        while True:
            try:
                raise ValueError
            except BaseException:
                pass
        """, TIME_OUT),
    _in_call("recurses", "return answer(x)", EXCEPTION, exception="RecursionError"),
    _in_call("recurses without a limit", """
        import sys
        sys.setrecursionlimit(10**9)
        return answer(x) + answer(x)
        """, MEMORY, KILLED, TIME_OUT, EXCEPTION),
    _in_call("takes memory at once", "return len([0] * 10**9)", MEMORY),
    _in_call("takes memory in small pieces", """
        kept = []
        while True:
            kept.append(bytearray(1 << 20))
        """, MEMORY),
    _in_call("prints without end", "while True: print('x' * 1000)", OUTPUT),
    _in_call("answers too much", "return 'x' * (20 << 20)", OUTPUT),
    _in_call("answers with endless data", "import itertools; return itertools.count()", TIME_OUT, MEMORY,
             tests="assert 7 == sum(answer(3))"),
    _in_call("answers with a list that contains itself", "x = []; x.append(x); return x", EXCEPTION),
    _in_call("forks without end", """
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """, TIME_OUT),
    _in_call("writes a large file", "open('large', 'wb').write(b'x' * (100 << 20))", EXCEPTION,
             exception="OSError"),
    _in_call("writes many files", """
        for n in range(10**9):
            open(str(n), "w").write("x" * 5000)
        """, EXCEPTION, TIME_OUT),
    # -- escaping from the sandbox -----------------------------------------------------------------
    _in_call("opens a port", "import socket; socket.socket().bind(('', 0))", EXCEPTION, exception="OSError"),
    _in_call("writes to the system", "open('/runner/x', 'w')", EXCEPTION, exception="OSError"),
    _in_call("makes a namespace", """
        import ctypes
        assert ctypes.CDLL(None).unshare(0x10000000) == 0, "cannot"
        """, EXCEPTION, exception="AssertionError"),
    _in_call("mounts", """
        import ctypes
        assert ctypes.CDLL(None).mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0, "cannot"
        """, EXCEPTION, exception="AssertionError"),
    _in_call("shares memory", "from multiprocessing import shared_memory as s; s.SharedMemory('a', True, 9)",
             EXCEPTION),
    _in_call("reads a secret", "open('/etc/passwd').read()", EXCEPTION, exception="FileNotFoundError"),
    _in_call("waits for input", "input()", EXCEPTION, exception="EOFError"),
]  # fmt: skip
