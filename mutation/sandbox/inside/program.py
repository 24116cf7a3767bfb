"""The process that runs a program: it executes the program's code, then answers calls from the tests.

A program can change anything here, but no verdict depends on it: the process receives the arguments of one
call at a time and sends back a value. It holds no tests, no expected values and no verdict.
"""

from __future__ import annotations

import builtins
import copy
import io
import json
import math
import operator
import os
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mutation.sandbox.inside.objects import Exporter, message_of
from mutation.sandbox.inside.specials import ANSWERED, is_native
from mutation.sandbox.inside.streams import OutputLimit, Printed
from mutation.sandbox.inside.wire import Closed, Json, Pipe, TooLong, WireError

FILENAME = "<program>"
MESSAGE_CHARS = 300
NO_MEMORY: Json = {
    "raise": ["error", 0, ["class", "MemoryError"], [], "", None, None, {}], "kind": "MemoryError",
    "message": "", "line": None,
}  # fmt: skip
MISSING = object()
APPLY: dict[str, Callable[..., Any]] = {
    "__len__": len, "__iter__": iter, "__next__": next, "__reversed__": reversed, "__str__": str,
    "__repr__": repr, "__format__": format, "__int__": int, "__float__": float, "__complex__": complex,
    "__bytes__": bytes, "__abs__": abs, "__round__": round, "__dir__": dir, "__fspath__": os.fspath,
    "__trunc__": math.trunc, "__floor__": math.floor, "__ceil__": math.ceil,
    "__instancecheck__": lambda kind, value: isinstance(value, kind),
    "__subclasscheck__": lambda kind, value: issubclass(value, kind),
    "__missing__": lambda value, key: type(value).__missing__(value, key),
    "__enter__": lambda value: type(value).__enter__(value),
    "__exit__": lambda value, *error: type(value).__exit__(value, *error),
}  # fmt: skip
APPLY |= {name: getattr(operator, name.strip("_")) for name in ANSWERED - APPLY.keys() - {"__length_hint__"}}
APPLY["__length_hint__"] = operator.length_hint


class Program:
    """One program: its module, its standard streams, and the objects that the tests have seen."""

    def __init__(self, output_chars: int) -> None:
        self.module = types.ModuleType("program")
        self.lines: set[int] = set()
        self.printed = Printed(output_chars)
        self._exporter = Exporter()
        self._exporter.shared.keep(self.module)
        self._watched: dict[str, object] = {}
        sys.modules["program"] = self.module
        self.printed.install()

    def answer(self, request: dict[str, Any]) -> Json:
        """Handle a request. The reply has "value", "raise", "refused" or "output"."""
        self._kept: dict[str, Json] = {}
        try:
            if "streams" in request:
                with self._streams(request["streams"]):
                    reply: Json = {"value": self._done(request)}
            else:
                reply = {"value": self._done(request)}
        except OutputLimit:
            return {"output": True}
        except MemoryError:  # not described: that needs memory too
            return NO_MEMORY
        except WireError as error:
            return {"refused": f"the program returns a value that cannot be carried to the tests: {error}"}
        except BaseException as error:
            reply = self._raised(error)
        try:
            self._report(reply)
        except MemoryError:
            return NO_MEMORY
        except (WireError, RecursionError):
            return {"refused": "the program has nested a value too deeply to be carried to the tests"}
        return {"output": True} if self.printed.over() else reply

    def _done(self, request: dict[str, Any]) -> Json:
        exporter, shared = self._exporter, self._exporter.shared
        arguments = [exporter.unpack(packed) for packed in request["with"]]
        keywords = {name: exporter.unpack(packed) for name, packed in request.get("named", {}).items()}
        for number, parts in request.get("changed", ()):
            shared.change(number, list(exporter.unpack(parts)))
        shared.forget(request.get("released", ()))
        shared.mark()
        if "seed" in request:
            import random

            random.setstate(exporter.unpack(request["seed"]))
        value = getattr(self, "do_" + request["do"])(*arguments, **keywords)
        try:
            return exporter.pack(value)
        except RecursionError as error:
            raise WireError("the value is nested too deeply") from error

    def _report(self, reply: dict[str, Json]) -> None:
        """Add to a reply what else has changed in this process: names of the module, shared containers."""
        exporter = self._exporter
        get = self.module.__dict__.get
        if changed := {n: get(n, MISSING) for n, old in self._watched.items() if get(n, MISSING) is not old}:
            self._watched |= changed
            reply["names"] = {n: exporter.pack(v) for n, v in changed.items() if v is not MISSING}
            del changed
        if contents := [[n, exporter.pack(tuple(parts))] for n, parts in exporter.shared.changed()]:
            reply["changed"] = contents
        if released := exporter.shared.release():
            reply["released"] = released
        if self._kept:
            reply["printed"] = self._kept

    @contextmanager
    def _streams(self, replaced: dict[str, Any]) -> Iterator[None]:
        """Give the program the standard streams of the tests, where the tests have replaced them."""
        stdin, given = sys.stdin, replaced.get("stdin")
        if given is not None:
            sys.stdin = io.StringIO(given)
        self.printed.keep(replaced["captured"])
        try:
            yield
        finally:
            self.printed.over()
            self._kept = dict(self.printed.kept())
            if given is not None:
                self._kept["unread"] = len(sys.stdin.read()) if isinstance(sys.stdin, io.StringIO) else 0
                sys.stdin = stdin

    def do_load(self, source: str, trace: bool, wanted: list[str]) -> dict[str, object]:
        """Run the program's code. Returns those of the wanted names that it defines."""
        code = compile(source, FILENAME, "exec", dont_inherit=True)
        if trace:
            sys.settrace(self._trace)
        own = sys.modules["builtins"] = types.ModuleType("builtins")  # what carries its values keeps Python's
        vars(own).update(vars(builtins))
        vars(self.module)["__builtins__"] = own
        exec(code, self.module.__dict__)
        self._watched = {name: self.module.__dict__.get(name, MISSING) for name in wanted}
        return {name: value for name, value in self._watched.items() if value is not MISSING}

    def do_call(self, target: Any, /, *arguments: Any, **keywords: Any) -> object:
        return target(*arguments, **keywords)

    def do_get(self, target: Any, name: str) -> object:
        if target is self.module and name == "__dict__":  # for `from program import *`
            return {n: value for n, value in vars(target).items() if not n.startswith("__")}
        return getattr(target, name)

    def do_set(self, target: Any, name: str, value: object) -> None:
        setattr(target, name, value)

    def do_delete(self, target: Any, name: str) -> None:
        delattr(target, name)

    def do_apply(self, name: str, target: Any, *arguments: Any) -> object:
        """A special method, called as Python calls it."""
        return APPLY[name](target, *arguments)

    def do_operate(self, name: str, left: Any, right: Any) -> object:
        if name == "divmod":
            return divmod(left, right)
        return getattr(operator, f"__{name}__")(left, right)

    def do_fields(self, target: Any, names: list[str]) -> list[object]:
        return [getattr(target, name) for name in names]

    def do_copy(self, target: Any, deep: bool) -> object:
        return copy.deepcopy(target) if deep else copy.copy(target)

    def do_data_fields(self, target: Any) -> list[tuple[str, bool, bool, bool, bool]]:
        """The fields of a data class: name; whether in `__init__`, compared, printed, given by keyword."""
        fields = vars(target)["__dataclass_fields__"].values()
        return [(f.name, f.init, f.compare, f.repr, f.kw_only is True) for f in fields]

    def do_lines(self) -> list[int]:
        return sorted(self.lines)

    def _raised(self, error: BaseException) -> Json:
        kind, message, line = type(error).__name__, message_of(error)[:MESSAGE_CHARS], _line(error)
        try:
            packed = self._exporter.error(error)
        except OutputLimit:
            return {"output": True}
        except BaseException:  # its attributes cannot be read or carried
            packed = ["error", 0, ["class", _nearest(error)], [], message, None, None, {}]
        return {"raise": packed, "kind": kind, "message": message, "line": line}

    def _trace(self, frame: types.FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename != FILENAME:
            return None
        if event == "line":
            self.lines.add(frame.f_lineno)
        return self._trace


def _line(error: BaseException) -> int | None:
    """The line of the program at which it raised an exception."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == FILENAME:
        line = error.lineno
    return line


def _nearest(error: BaseException) -> str:
    """The name of the nearest built-in class of an exception."""
    return next(str(kind.__name__) for kind in type(error).__mro__ if is_native(kind))


WARM_UP = """
def f(x):
    x.append(1)
    return [x, "a", (1.5, None), {"k": x}]
"""


def prepared(output_chars: int) -> Program:
    """A program without text yet, in a process that has done what all its forks will do: they are faster."""
    for _ in range(12):  # from then on Python runs the specialised form of this module's code
        program = Program(output_chars)
        loaded = program.answer({"do": "load", "with": [WARM_UP, False, ["list", 2, "f"]]})
        function = ["same", loaded["value"][3][1]]
        call = json.dumps({"do": "call", "with": [function, ["list", 4, 1, ["dict", 6]]]})
        json.dumps(program.answer(json.loads(call)))
    return Program(output_chars)


def serve(pipe: Pipe, program: Program) -> None:
    """Answer requests until the tests are done."""
    while True:
        try:
            request = pipe.receive()
            reply = program.answer(request)
            try:
                pipe.send(reply)
            except (TooLong, MemoryError):
                pipe.send({"output": True})
            except WireError as error:
                pipe.send({"refused": f"the program returns a value that cannot be carried: {error}"})
        except Closed:
            return
