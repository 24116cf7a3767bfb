"""The process that runs the tests. It makes every comparison, on plain data returned by the program.

One judge serves many jobs: tests are trusted, and no code of a program runs here. It runs inside the
sandbox, confined like a program. For each job it receives "r" with the descriptor of the pipe to the
program, then the job.

The code of the tests runs here unchanged. The names that the program provides stand for calls into its
process. The results are plain data, rebuilt here, or a `Remote`: a number that stands for an object in the
program's process. A `Remote` can be called, iterated over and passed back, and its attributes can be read.
It equals only itself and has no truth value and no order, so the program's own methods never decide a
comparison.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import json
import os
import random
import signal
import socket
import symtable
import sys
import types
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

from mutation.sandbox.inside.confine import Bounds, call_filter, limit_resources
from mutation.sandbox.inside.wire import Closed, Json, NotPlain, Pipe, TooLong, WireError, pack, unpack

FILENAME = "<tests>"
DETAIL_CHARS = 500
MODULE = 0
"""The handle of the program's module."""


class TimeUp(BaseException):
    """The tests themselves have exceeded their limit of processor time."""


class Broken(BaseException):
    """The program's process has ended, or does not keep to the protocol."""


class Overflow(BaseException):
    """The program has printed or returned more than it may."""


class NotPassable(NotPlain):
    """The tests pass a value that is not plain data: a fault of the tests, not of the program."""


class Raised:
    """Attached to an exception of the program: name of its type, message, line of the program."""

    def __init__(self, kind: str, message: str, line: int | None) -> None:
        self.kind, self.message, self.line = kind, message, line


class Caller:
    """The judge's side of the pipe to the program.

    fault: the error that broke it. Once it is set, the program cannot pass.
    requests: the number of requests so far.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self.fault: BaseException | None = None
        self.requests = 0

    def ask(self, *request: Json) -> Any:
        """The program's reply to a request. Raises what the program raised, Broken, or Overflow."""
        if self.fault is not None:
            raise self.fault
        self.requests += 1
        self._pipe.send(list(request))
        reply: Any = None
        try:
            reply = self._pipe.receive()
            match reply:
                case ["value", packed]:
                    return unpack(packed, self.remote)
                case ["raise", str(kind), [*bases], str(message), int() | None as line]:
                    pass
                case ["output"]:
                    raise TooLong
                case _:
                    raise WireError
        except TooLong:
            self.fault = Overflow()
            raise self.fault from None
        except (Closed, WireError) as error:
            self.fault = Broken(str(error))
            raise self.fault from None
        raise _as_raised(kind, bases, message, line)

    def remote(self, handle: int) -> Remote:
        return Remote(self, handle)

    def pack(self, value: object) -> Json:
        return pack(value, _handle)


class Remote:
    """An object in the program's process that is not plain data."""

    __slots__ = ("_caller", "_handle")

    def __init__(self, caller: Caller, handle: int) -> None:
        object.__setattr__(self, "_caller", caller)
        object.__setattr__(self, "_handle", handle)

    def __call__(self, *arguments: object, **keywords: object) -> Any:
        pack_ = self._caller.pack
        return self._caller.ask("call", self._handle, pack_(list(arguments)), pack_(keywords))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._caller.ask("get", self._handle, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._caller.ask("set", self._handle, name, self._caller.pack(value))

    def __iter__(self) -> Iterator[Any]:
        iterator = self._caller.ask("iter", self._handle)
        if not isinstance(iterator, Remote):
            raise NotPlain("the program's object is not an iterator")
        while item := self._caller.ask("next", iterator._handle):
            yield item[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and other._handle == self._handle

    def __hash__(self) -> int:
        return hash(self._handle)

    def __bool__(self) -> bool:
        raise NotPlain("an object of the program has no truth value here: only plain data can be tested")


def _handle(value: object) -> Json:
    if isinstance(value, Remote):
        return ["remote", value._handle]
    raise NotPassable(f"the tests pass a {type(value).__name__} to the program, which is not plain data")


def _as_raised(kind: str, bases: list[Any], message: str, line: int | None) -> BaseException:
    """An exception that the tests can catch, derived from the nearest built-in base of its type."""
    base = next((b for b in (getattr(builtins, str(n), None) for n in bases) if _is_error(b)), Exception)
    own: Any = types.new_class(kind if kind.isidentifier() else "Exception", (base,))
    error: BaseException = own.__new__(own)
    error.args = (message,)
    error.raised = Raised(kind, message, line)  # type: ignore[attr-defined]
    return error


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def judge(job: dict[str, Any], program: Pipe, cpu_s: float) -> dict[str, Any]:
    """Run one job. Returns the result as a JSON object."""
    random.seed(0)  # tests with random inputs get the same ones every time
    caller, recorded = Caller(program), list[Any]()

    def expire(*_: object) -> None:
        caller.fault = caller.fault or TimeUp()
        raise caller.fault

    signal.signal(signal.SIGPROF, expire)
    signal.setitimer(signal.ITIMER_PROF, cpu_s, 0.1)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * cpu_s)  # ends this process if the tests catch every exception
    try:
        result = _run(job, caller, recorded)
    except BaseException as error:
        result = _failure(error)
    finally:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if caller.fault is not None:
        result = _failure(caller.fault)  # even if the tests have caught it
    return result | {"recorded": recorded}


def _run(job: dict[str, Any], caller: Caller, recorded: list[Any]) -> dict[str, Any]:
    try:
        code, wanted = _compiled(job["tests"])
    except (SyntaxError, ValueError) as error:
        return {"outcome": "refused", "detail": f"the tests do not compile: {error}"}
    defined = set(caller.ask("load", job["program"], job["trace"]))
    names: dict[str, Any] = {"__name__": "tests"}
    names["record"] = lambda value: recorded.append(pack(value, _opaque))
    names |= {name: unpack(value) for name, value in job["values"].items()}
    provided, given = defined.intersection(job["provides"]), list[Any]()
    for name in wanted:
        if name in provided or (name in defined and not _is_known(name, names)):
            names[name] = caller.ask("get", MODULE, name)
            given.append(names[name])
        elif name in sys.stdlib_module_names and name not in names:
            with suppress(ImportError):
                names[name] = importlib.import_module(name)
    before = caller.requests
    exec(code, names)
    if caller.requests == before and all(isinstance(value, Remote) for value in given):
        return {"outcome": "refused", "detail": "the tests do not use the program"}
    result: dict[str, Any] = {"outcome": "passed"}
    if job["trace"]:
        result["lines"] = [line for line in caller.ask("lines") if type(line) is int]
    return result


def _is_known(name: str, names: dict[str, Any]) -> bool:
    """Whether the name belongs to the tests or to Python, so that a program cannot replace it."""
    return name in names or name in sys.stdlib_module_names or hasattr(builtins, name)


@lru_cache(64)
def _compiled(tests: str) -> tuple[types.CodeType, list[str]]:
    """The compiled tests, and the names that they read and do not define. Many programs share their tests."""
    top = symtable.symtable(tests, FILENAME, "exec")
    own = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    return compile(tests, FILENAME, "exec"), sorted(_read(top) - own)


def _read(table: symtable.SymbolTable) -> set[str]:
    """Global names that are read in a scope or in a nested one."""
    names = {
        symbol.get_name() for symbol in table.get_symbols()
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module")
    }  # fmt: skip
    return names.union(*map(_read, table.get_children()))


def _opaque(value: object) -> Json:
    """What is recorded for an object that is not plain data: its type, which is the same in every run."""
    return f"<{type(value).__name__}>"


def _failure(error: BaseException) -> dict[str, Any]:
    """The result of a run that ended with an exception."""
    raised = getattr(error, "raised", None)
    kind, message = type(error).__name__, str(error)
    if isinstance(raised, Raised):  # str() of a rebuilt SyntaxError is not its message
        kind, message = raised.kind, raised.message
    detail = f"{kind}: {message}" if message else kind
    result: dict[str, Any] = {"outcome": "exception", "exception": kind, "detail": detail[:DETAIL_CHARS]}
    result["line"] = _line(error)
    if isinstance(raised, Raised):
        result["program_line"] = raised.line
    if isinstance(error, TimeUp):
        result |= {"outcome": "time-out", "exception": "", "detail": "the tests exceeded their time limit"}
    elif isinstance(error, Overflow):
        result |= {"outcome": "output limit", "exception": "", "detail": "output limit exceeded"}
    elif isinstance(error, Broken):
        result |= {"outcome": "killed", "exception": "", "detail": str(error)}
    elif isinstance(error, MemoryError):
        result["outcome"] = "memory"
    elif isinstance(error, AssertionError) and raised is None:
        result["outcome"] = "assertion"
    elif isinstance(error, NotPassable):
        result |= {"outcome": "refused", "exception": ""}
    return result


def _line(error: BaseException) -> int | None:
    """The innermost line of the tests in the traceback of an exception."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def main() -> None:
    """Run jobs until the other side closes the connection."""
    control, settings = socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2])
    os.chdir(settings["folder"])
    control.sendall(b"ready\n")
    limit_resources(Bounds(settings["memory_mb"], settings["file_mb"]))
    if (own_filter := call_filter(receives=True)) is not None:
        own_filter.install()
    gc.collect()
    gc.freeze()
    while True:
        command, descriptors, *_ = socket.recv_fds(control, 1, 1)
        if not command:
            return
        host = Pipe(control.fileno())  # a new one each time: it reads ahead, and "r" is not a frame
        job = host.receive()
        try:
            result = judge(job, Pipe(descriptors[0]), settings["cpu_s"])
        finally:
            os.close(descriptors[0])
        try:
            host.send(result)
        except (TooLong, WireError):
            host.send({"outcome": "output limit", "detail": "the tests recorded too much", "recorded": []})
