"""The process that runs a program: it executes the program's code, then answers calls from the tests.

A program can change anything here, but no verdict depends on it: the process receives the arguments of one
call at a time and sends back a value. It holds no tests, no expected values and no verdict.
"""

from __future__ import annotations

import builtins
import io
import sys
import types
from collections.abc import Callable
from typing import Any

from mutation.sandbox.inside.wire import Closed, Json, NotPlain, Pipe, TooLong, WireError, pack, unpack

FILENAME = "<program>"
MESSAGE_CHARS = 300
NO_MEMORY: Json = ["raise", "MemoryError", ["MemoryError", "Exception"], "", None]


class OutputLimit(BaseException):
    """The program has printed more than it may."""


class Printed(io.TextIOBase):
    """Counts the characters that are printed, and discards them."""

    def __init__(self, left: int) -> None:
        self.left = left

    def write(self, text: str) -> int:
        self.left -= len(text)
        if self.left < 0:
            raise OutputLimit
        return len(text)

    def writable(self) -> bool:
        return True


class Program:
    """One program: its module, and those of its objects for which the tests have handles."""

    def __init__(self, output_chars: int) -> None:
        self.module = types.ModuleType("program")
        self.objects: list[object] = [self.module]
        self.lines: set[int] = set()
        self.printed = Printed(output_chars)

    def answer(self, request: list[Any]) -> Json:
        """Handle a request. Returns ["value", packed], ["raise", ...] or ["output"]."""
        verb, *arguments = request
        try:
            value = getattr(self, f"do_{verb}")(*arguments)
            reply: Json = ["value", pack(value, self._handle)]
        except OutputLimit:
            reply = ["output"]
        except MemoryError:  # not described: that needs memory too
            reply = NO_MEMORY
        except BaseException as error:
            reply = ["raise", *describe(error)]
        return ["output"] if self.printed.left < 0 else reply

    def do_load(self, source: str, trace: bool) -> list[str]:
        """Run the program's code. Returns the names that it defines."""
        sys.modules["program"] = self.module
        sys.stdout = sys.stderr = self.printed
        code = compile(source, FILENAME, "exec")
        if trace:
            sys.settrace(self._trace)
        exec(code, self.module.__dict__)
        return [name for name in self.module.__dict__ if not name.startswith("__")]

    def do_call(self, target: int, arguments: Json, keywords: Json) -> object:
        function: Any = self.objects[target]
        return function(*unpack(arguments, self._object), **unpack(keywords, self._object))

    def do_get(self, target: int, name: str) -> object:
        return getattr(self.objects[target], name)

    def do_set(self, target: int, name: str, value: Json) -> None:
        setattr(self.objects[target], name, unpack(value, self._object))

    def do_iter(self, target: int) -> object:
        iterable: Any = self.objects[target]
        return iter(iterable)

    def do_next(self, target: int) -> object:
        """A list with the next item; an empty list at the end."""
        iterator: Any = self.objects[target]
        try:
            return [next(iterator)]
        except StopIteration:
            return []

    def do_lines(self) -> list[int]:
        return sorted(self.lines)

    def _handle(self, value: object) -> Json:
        self.objects.append(value)
        return ["remote", len(self.objects) - 1]

    def _object(self, handle: int) -> object:
        return self.objects[handle]

    def _trace(self, frame: types.FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename != FILENAME:
            return None
        if event == "line":
            self.lines.add(frame.f_lineno)
        return self._trace


def describe(error: BaseException) -> list[Any]:
    """Name of the type, its built-in bases from the nearest on, message, line of the program."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == FILENAME:
        line = error.lineno
    try:
        message = str(error)[:MESSAGE_CHARS]
    except BaseException:  # the program's own __str__
        message = ""
    bases = [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, 0) is kind]
    return [type(error).__name__, bases, message, line]


def serve(pipe: Pipe, output_chars: int) -> None:
    """Answer requests until the tests are done."""
    program = Program(output_chars)
    while True:
        try:
            request = pipe.receive()
            reply = program.answer(request)
            try:
                pipe.send(reply)
            except (TooLong, MemoryError):
                pipe.send(["output"])
            except WireError as error:
                pipe.send(["raise", *describe(NotPlain(str(error)))])
        except Closed:
            return
