"""The process that tests run in: it evaluates every comparison, over plain data that the program answered.

It lives on from job to job: tests are trusted, and nothing that a program wrote runs here. Run inside the
sandbox, confined like a program; told "r" with the descriptor that leads to the program, then the job.

The tests' text runs here, unchanged. The names that the program provides stand for calls into its process.
What comes back is plain data, built anew, or a `Remote`: a number that stands for an object over there.
A `Remote` can be called, asked for attributes, walked through, and passed back; it equals only itself, has
no truth value and no order, so the program's own methods never decide a comparison.
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
    """The tests themselves have taken their limit of processor time."""


class Broken(BaseException):
    """The program's process is gone, or does not speak the protocol."""


class Overflow(BaseException):
    """The program has printed or answered more than it may."""


class NotPassable(NotPlain):
    """The tests give the program what cannot cross the border: a fault of the tests, not of the program."""


class Raised:
    """What an exception of the program carries on this side: type's name, message, the program's line."""

    def __init__(self, kind: str, message: str, line: int | None) -> None:
        self.kind, self.message, self.line = kind, message, line


class Caller:
    """This side of the program's pipe.

    fault: what broke it; once set, nothing can be a pass. asked: how many times.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self.fault: BaseException | None = None
        self.asked = 0

    def ask(self, *request: Json) -> Any:
        """Raises what the program raised; Broken, Overflow."""
        if self.fault is not None:
            raise self.fault
        self.asked += 1
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
    """An object of the program's process that is not plain data."""

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
            raise NotPlain("the program's object is no iterator")
        while item := self._caller.ask("next", iterator._handle):
            yield item[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and other._handle == self._handle

    def __hash__(self) -> int:
        return hash(self._handle)

    def __bool__(self) -> bool:
        raise NotPlain("an object of the program has no truth value here: only plain data is judged")


def _handle(value: object) -> Json:
    if isinstance(value, Remote):
        return ["remote", value._handle]
    raise NotPassable(f"the tests pass a {type(value).__name__} to the program, which is not plain data")


def _as_raised(kind: str, bases: list[Any], message: str, line: int | None) -> BaseException:
    """The exception as the tests could catch it: the nearest built-in type it is one of."""
    base = next((b for b in (getattr(builtins, str(n), None) for n in bases) if _is_error(b)), Exception)
    own: Any = types.new_class(kind if kind.isidentifier() else "Exception", (base,))
    error: BaseException = own.__new__(own)
    error.args = (message,)
    error.raised = Raised(kind, message, line)  # type: ignore[attr-defined]
    return error


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def judge(job: dict[str, Any], program: Pipe, cpu_s: float) -> dict[str, Any]:
    """Run one job. Returns how it ended."""
    random.seed(0)  # tests that draw their inputs draw the same ones every time
    caller, recorded = Caller(program), list[Any]()

    def expire(*_: object) -> None:
        caller.fault = caller.fault or TimeUp()
        raise caller.fault

    signal.signal(signal.SIGPROF, expire)
    signal.setitimer(signal.ITIMER_PROF, cpu_s, 0.1)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * cpu_s)  # ends tests that catch everything, and this process
    try:
        said = _run(job, caller, recorded)
    except BaseException as error:
        said = _how(error)
    finally:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if caller.fault is not None:
        said = _how(caller.fault)  # whatever the tests made of it
    return said | {"recorded": recorded}


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
    before = caller.asked
    exec(code, names)
    if caller.asked == before and all(isinstance(value, Remote) for value in given):
        return {"outcome": "refused", "detail": "the tests ask nothing of the program"}
    said: dict[str, Any] = {"outcome": "passed"}
    if job["trace"]:
        said["lines"] = [line for line in caller.ask("lines") if type(line) is int]
    return said


def _is_known(name: str, names: dict[str, Any]) -> bool:
    """Whether the tests mean something of their own, or Python's, by it: a program cannot take its place."""
    return name in names or name in sys.stdlib_module_names or hasattr(builtins, name)


@lru_cache(64)
def _compiled(tests: str) -> tuple[types.CodeType, list[str]]:
    """The tests' code, and the names that it reads and does not define. Many programs have the same tests."""
    top = symtable.symtable(tests, FILENAME, "exec")
    own = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    return compile(tests, FILENAME, "exec"), sorted(_read(top) - own)


def _read(table: symtable.SymbolTable) -> set[str]:
    """Global names that are read in a scope or one inside it."""
    names = {
        symbol.get_name() for symbol in table.get_symbols()
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module")
    }  # fmt: skip
    return names.union(*map(_read, table.get_children()))


def _opaque(value: object) -> Json:
    """In place of what is not plain data, in a record: its kind, so that two of them are alike."""
    return f"<{type(value).__name__}>"


def _how(error: BaseException) -> dict[str, Any]:
    """The end of a run that did not pass."""
    raised = getattr(error, "raised", None)
    kind, message = type(error).__name__, str(error)
    if isinstance(raised, Raised):  # a SyntaxError made from its message alone does not show it
        kind, message = raised.kind, raised.message
    detail = f"{kind}: {message}" if message else kind
    said: dict[str, Any] = {"outcome": "exception", "exception": kind, "detail": detail[:DETAIL_CHARS]}
    said["line"] = _line(error)
    if isinstance(raised, Raised):
        said["program_line"] = raised.line
    if isinstance(error, TimeUp):
        said |= {"outcome": "time-out", "exception": "", "detail": "the tests took their limit of time"}
    elif isinstance(error, Overflow):
        said |= {"outcome": "output limit", "exception": "", "detail": "more output than it may make"}
    elif isinstance(error, Broken):
        said |= {"outcome": "killed", "exception": "", "detail": str(error)}
    elif isinstance(error, MemoryError):
        said["outcome"] = "memory"
    elif isinstance(error, AssertionError) and raised is None:
        said["outcome"] = "assertion"
    elif isinstance(error, NotPassable):
        said |= {"outcome": "refused", "exception": ""}
    return said


def _line(error: BaseException) -> int | None:
    """The innermost line of the tests' text that the exception went through."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def main() -> None:
    """Judge until the other side is gone."""
    control, settings = socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2])
    os.chdir(settings["folder"])
    control.sendall(b"ready\n")
    limit_resources(Bounds(settings["memory_mb"], settings["file_mb"]))
    if (own_filter := call_filter(receives=True)) is not None:
        own_filter.install()
    gc.collect()
    gc.freeze()
    while True:
        word, descriptors, *_ = socket.recv_fds(control, 1, 1)
        if not word:
            return
        host = Pipe(control.fileno())  # a new one: it reads ahead, and the next word is not a frame
        job = host.receive()
        try:
            said = judge(job, Pipe(descriptors[0]), settings["cpu_s"])
        finally:
            os.close(descriptors[0])
        try:
            host.send(said)
        except (TooLong, WireError):
            host.send({"outcome": "output limit", "detail": "more was recorded than fits", "recorded": []})
