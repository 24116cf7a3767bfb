"""The tests' side of the pipe to the program: it asks the program, and takes over what has changed there."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from mutation.sandbox.inside.mirror import FROM_PROGRAM, Refused
from mutation.sandbox.inside.rebuild import Rebuilder
from mutation.sandbox.inside.wire import UNREADABLE, Closed, Json, NotPlain, Pipe, TooLong, WireError

MISSING = object()
MODULE = 1
"""The number of the program's module."""
STREAMS = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
"""The streams of this process, where the tests have not replaced them."""


class Broken(BaseException):
    """The program's process has ended, or does not keep to the protocol."""


class Overflow(BaseException):
    """The program has printed or returned more than it may."""


class Raised:
    """Attached to an exception of the program: name of its type, message, line of the program."""

    def __init__(self, kind: str, message: str, line: int | None) -> None:
        self.kind, self.message, self.line = kind, message, line


class Border:
    """The connection to one program.

    fault: the error that decides the verdict, even if the tests catch it. requests: how many so far.
    names: the global names of the tests, where those of the program are kept up to date.
    module: stands for the program's module.
    """

    def __init__(self, pipe: Pipe, names: dict[str, Any]) -> None:
        self.fault: BaseException | None = None
        self.requests = 0
        self.names = names
        self._pipe = pipe
        self._objects = Rebuilder(self.ask, self.refuse, names)
        self._watched: dict[str, object] = {}
        self.module = self._objects.unpack(["object", MODULE, ["type", "module"]])

    def load(self, source: str, trace: bool, wanted: Iterable[str]) -> dict[str, Any]:
        """Have the program run. Returns the wanted names that it defines, which are then watched."""
        values: dict[str, Any] = self.ask("load", source, trace, list(wanted))
        self._watched = {name: values.get(name, MISSING) for name in wanted}
        return values

    def ask(self, verb: str, *arguments: object, **keywords: object) -> Any:
        """The program's answer. Raises what the program raised, Refused, Broken or Overflow."""
        if self.fault is not None:
            raise self.fault
        self.requests += 1
        self._send(verb, arguments, keywords)
        try:
            reply = self._pipe.receive()
            if not isinstance(reply, dict):
                raise WireError("not a reply")
            if "output" in reply:
                raise TooLong
            if "refused" in reply:
                self.refuse(str(reply["refused"]))
            value = self._objects.unpack(reply["value"] if "value" in reply else reply["raise"])
            self._take(reply)
            if "raise" in reply:
                if not isinstance(value, BaseException):
                    raise WireError("it raised what is no exception")
                raised = Raised(str(reply["kind"]), str(reply["message"]), reply["line"])
                value.with_traceback(None).__dict__[FROM_PROGRAM] = raised
        except TooLong:
            raise self._failed(Overflow()) from None
        except Closed:
            raise self._failed(Broken()) from None
        except (WireError, *UNREADABLE) as error:
            raise self._failed(Broken(f"its replies cannot be read: {error}")) from None
        if "raise" in reply:
            raise value
        return value

    def refuse(self, reason: str) -> NoReturn:
        raise self._failed(Refused(reason))

    def record(self, value: object) -> Json:
        """A value as plain data, for the verdict's `recorded`."""
        return self._objects.record(value)

    def _failed(self, fault: BaseException) -> BaseException:
        self.fault = self.fault or fault
        return self.fault

    def _send(self, verb: str, arguments: tuple[object, ...], keywords: dict[str, object]) -> None:
        objects = self._objects
        request: dict[str, Json] = {"do": verb}
        try:
            request["with"] = [objects.pack(argument) for argument in arguments]
            if keywords:
                request["named"] = {name: objects.pack(value) for name, value in keywords.items()}
            if changed := [[n, objects.pack(tuple(parts))] for n, parts in objects.shared.changed()]:
                request["changed"] = changed
            if released := objects.shared.release():
                request["released"] = released
            if objects.seeded:
                request["seed"], objects.seeded = objects.pack(random.getstate()), False
            if replaced := [name for name, stream in STREAMS.items() if getattr(sys, name) is not stream]:
                request["streams"] = self._streams(replaced)
            self._pipe.send(request)
        except NotPlain as error:
            self.refuse(str(error))
        except TooLong as error:
            self.refuse(f"the tests pass too much to the program: {error}")
        except (WireError, RecursionError):
            self.refuse("the tests pass a value to the program that is nested too deeply")
        except Closed:
            raise self._failed(Broken()) from None

    def _streams(self, replaced: list[str]) -> dict[str, Json]:
        """The standard streams that the tests have replaced: what is to be captured, and what to be read."""
        if "stdin" not in replaced:
            return {"captured": replaced}
        if not isinstance(sys.stdin, io.StringIO):
            self.refuse(f"the tests replace sys.stdin by a {type(sys.stdin).__name__}")
        return {"captured": [name for name in replaced if name != "stdin"], "stdin": sys.stdin.read()}

    def _take(self, reply: dict[str, Any]) -> None:
        """Take over what has changed in the program's process."""
        objects = self._objects
        for number, parts in reply.get("changed", ()):
            objects.shared.change(number, list(objects.unpack(parts)))
        for name, packed in reply.get("names", {}).items():
            value = objects.unpack(packed)
            if self.names.get(name, MISSING) is self._watched.get(name, self):  # the tests have not bound it
                self.names[name] = self._watched[name] = value
        objects.shared.forget(reply.get("released", []))
        objects.shared.mark()
        for name in ("stdout", "stderr"):
            if text := reply.get("printed", {}).get(name):
                getattr(sys, name).write(text)
        if unread := reply.get("printed", {}).get("unread"):
            sys.stdin.seek(max(0, sys.stdin.tell() - unread))
