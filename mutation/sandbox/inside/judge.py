"""The process that runs the tests. It makes every comparison, on plain data returned by the program.

One judge serves many jobs: tests are trusted, and no code of a program runs here. It runs inside the
sandbox, confined like a program. For each job it receives "r" with the descriptor of the pipe to the
program, then the job.

The code of the tests runs here unchanged. The names that the program provides stand for objects in its
process: functions are called there, classes have mirrors here (see `mirror`). Results are plain data,
rebuilt here, or mirrors. Containers are the same on both sides for as long as both refer to them (see
`shared`). What cannot be carried from one process to the other refuses the tests, by name: it is never the
program's fault.
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
from contextlib import suppress
from functools import lru_cache
from typing import Any

from mutation.sandbox.inside import collect
from mutation.sandbox.inside.border import STREAMS, Border, Broken, Overflow, Raised
from mutation.sandbox.inside.confine import Bounds, call_filter, limit_resources
from mutation.sandbox.inside.mirror import FROM_PROGRAM, Mirror, Refused, is_mirror
from mutation.sandbox.inside.pytest_names import Pytest
from mutation.sandbox.inside.unshared import unshared
from mutation.sandbox.inside.wire import Pipe, TooLong, WireError, unpack

FILENAME = "<tests>"
DETAIL_CHARS = 500


class TimeUp(BaseException):
    """The tests themselves have exceeded their limit of processor time."""


def judge(job: dict[str, Any], program: Pipe, cpu_s: float) -> dict[str, Any]:
    """Run one job. Returns the result as a JSON object."""
    _SEED(0)  # tests with random inputs get the same ones every time
    names: dict[str, Any] = {"__name__": "tests"}
    border, recorded = Border(program, names), list[Any]()
    names["record"] = lambda value: recorded.append(border.record(value))

    def expire(*_: object) -> None:
        border.fault = border.fault or TimeUp()
        raise border.fault

    signal.signal(signal.SIGPROF, expire)
    signal.setitimer(signal.ITIMER_PROF, cpu_s, 0.1)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * cpu_s)  # ends this process if the tests catch every exception
    failed: BaseException | None = None
    result: dict[str, Any] = {}
    try:
        result = _run(job, border)
    except BaseException as error:
        failed = error
    finally:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        for name, stream in STREAMS.items():
            setattr(sys, name, stream)
    failed = border.fault or failed  # even if the tests have caught it
    if failed is not None:
        result = _failure(failed)
    if result["outcome"] in ("assertion", "exception") and (reason := unshared(job["tests"])):
        result |= {"outcome": "refused", "exception": "", "detail": f"{reason} ({result['detail']})"}
    return result | {"recorded": recorded}


def _run(job: dict[str, Any], border: Border) -> dict[str, Any]:
    try:
        code, wanted, unused = _compiled(job["tests"])
    except (SyntaxError, ValueError) as error:
        return {"outcome": "refused", "detail": f"the tests do not compile: {error}"}
    names = border.names
    names |= {name: unpack(value) for name, value in job["values"].items()}
    names["__builtins__"] = vars(builtins) | {"__import__": _importer(job["module"], border)}
    provides = frozenset(job["provides"])
    given = border.load(
        job["program"], job["trace"],
        [name for name in wanted if name in provides or not (name in names or _is_known(name))],
    )  # fmt: skip
    names |= given
    for name in wanted:
        if name in sys.stdlib_module_names and name not in names:
            with suppress(ImportError):
                names[name] = importlib.import_module(name)
    before = border.requests
    exec(code, names)
    collect.run(names, unused if border.requests > before else None, border)
    if border.requests == before and all(map(is_mirror, given.values())):
        return {"outcome": "refused", "detail": "the tests do not use the program"}
    result: dict[str, Any] = {"outcome": "passed"}
    if job["trace"]:
        result["lines"] = [line for line in border.ask("lines") if type(line) is int]
    return result


def _is_known(name: str) -> bool:
    """Whether the name belongs to Python, so that a program cannot replace it."""
    return name in sys.stdlib_module_names or hasattr(builtins, name)


def _importer(module: str, border: Border) -> Any:
    """The tests' `import`. They import the program by this name, where it has one, from any package."""

    def find(
        name: str, names: Any = None, local: Any = None, wanted: tuple[str, ...] | None = (), level: int = 0
    ) -> Any:
        if module and (name == module or (wanted and name.endswith("." + module))):
            return border.module
        if level and wanted and module in wanted:  # from . import program
            return types.SimpleNamespace(**{module: border.module})
        if name == "pytest":
            return Pytest()
        return __import__(name, names, local, wanted or (), level)

    return find


@lru_cache(64)
def _compiled(tests: str) -> tuple[types.CodeType, list[str], frozenset[str]]:
    """The compiled tests, the names that they read and do not define, and those that they only define.

    Many programs share their tests.
    """
    top = symtable.symtable(tests, FILENAME, "exec")
    symbols = top.get_symbols()
    own = {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}
    read = _read(top)
    code = compile(tests, FILENAME, "exec", dont_inherit=True)
    return code, sorted(read - own), frozenset(own - read)


def _read(table: symtable.SymbolTable) -> set[str]:
    """Global names that are read in a scope or in a nested one."""
    names = {
        symbol.get_name() for symbol in table.get_symbols()
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module")
    }  # fmt: skip
    return names.union(*map(_read, table.get_children()))


def _failure(error: BaseException) -> dict[str, Any]:
    """The result of a run that ended with an exception."""
    raised = vars(error).get(FROM_PROGRAM)
    kind, message = type(error).__name__, ""
    if isinstance(raised, Raised):
        kind, message = raised.kind, raised.message
    else:
        with suppress(BaseException):  # it may hold an object of the program
            message = str(error)
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
    elif isinstance(error, Refused):
        result |= {"outcome": "refused", "exception": "", "detail": str(error)}
    elif isinstance(error, MemoryError):
        result["outcome"] = "memory"
    elif isinstance(error, AssertionError) and raised is None:
        result["outcome"] = "assertion"
    elif raised is None and (reason := _impossible(error)):
        result |= {"outcome": "refused", "exception": "", "detail": reason}
    return result


def _impossible(error: BaseException) -> str:
    """Why the tests themselves cannot do what they do here; "" if an exception says no such thing."""
    if isinstance(error, ModuleNotFoundError):
        return f"the tests import {error.name}, which is not in the standard library"
    if isinstance(error, OSError) or "can't start new thread" in str(error):
        return f"the tests do what the sandbox does not allow: {type(error).__name__}: {error}"
    return ""


def _line(error: BaseException) -> int | None:
    """The innermost line of the tests in the traceback of an exception."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


_SEED = random.seed


def _seed(*arguments: Any, **keywords: Any) -> None:
    """`random.seed` of the tests, which the program's numbers follow too."""
    _SEED(*arguments, **keywords)
    Mirror.link.seeded = True


def main() -> None:
    """Run jobs until the other side closes the connection."""
    control, settings = socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2])
    os.chdir(settings["folder"])
    random.seed = _seed
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
