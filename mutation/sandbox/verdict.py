"""Verdicts on programs, the tests that lead to them, and resource limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from search.errors import UsageError

SLOWDOWN = 10.0
"""The processor time that a program may take, as a multiple of the reference's."""
MIN_CPU_S = 0.2
"""The least limit set in this way. An ordinary program takes a few milliseconds."""


class Outcome(StrEnum):
    """How a program's tests ended. Only PASSED is a pass."""

    PASSED = "passed"
    """Every test ran to its end and held."""
    ASSERTION = "assertion"
    """An assertion of the tests did not hold."""
    EXCEPTION = "exception"
    """The program raised an exception, or the tests did when they used a result of it."""
    TIME_OUT = "time-out"
    """It exceeded its limit of processor time or wall-clock time."""
    MEMORY = "memory"
    """It exceeded its limit of memory."""
    OUTPUT = "output limit"
    """It printed or returned more than it may."""
    KILLED = "killed"
    """Its process ended before its tests did: it exited, crashed, or closed the pipe."""
    REFUSED = "refused"
    """The tests cannot be used: they do not compile, never use the program, or do what cannot be carried to
    another process. The detail names it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of one program. Its tests have the same limits, counted separately.

    cpu_s: seconds of processor time, so that the load of the machine does not change a verdict.
    wall_s: seconds of wall-clock time, for programs that sleep.
    memory_mb: address space. file_mb: size of the folder that the program may write to.
    output_chars: how much it may print in all, in characters and bytes. The output is not kept.
    Raises UsageError if a limit is out of range.
    """

    cpu_s: float = 2.0
    wall_s: float = 60.0
    memory_mb: int = 512
    file_mb: int = 4
    output_chars: int = 100_000

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value <= 0:
                raise UsageError(f"{name}={value}: it must be greater than 0")
        if self.memory_mb < 128:
            raise UsageError(f"memory_mb={self.memory_mb}: the interpreter itself needs up to 128")


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests: Python code with assertions about a program. It is trusted; see `mutation.sandbox.sandbox`.

    provides: names to take from the program although Python or its standard library has them too ("sum",
        "string"). Any other name that the tests use and do not define is taken from the program if the
        program defines it.
    values: names that the tests can use, with plain data as their values.
    cpu_s: seconds of processor time that a program may take for these tests; None for the sandbox's limit.
    module: the name under which the tests import the program, "" if they do not.
    """

    code: str
    provides: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    cpu_s: float | None = None
    module: str = ""

    def with_values(self, **values: object) -> Suite:
        return replace(self, values={**self.values, **values})

    def within(self, reference: Verdict, most_s: float) -> Suite:
        """The same tests with a limit of `SLOWDOWN` times the reference's processor time, at most `most_s`.

        Mutation testing usually sets the limit in this way: most of its time goes into endless loops.
        """
        return replace(self, cpu_s=min(most_s, max(MIN_CPU_S, SLOWDOWN * reference.seconds)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of running a program against its tests.

    detail: an explanation, for people. exception: the name of the type, for EXCEPTION and MEMORY.
    line: the line of the tests at which they ended, if they did not pass.
    program_line: the line of the program at which it raised, as reported by the program's process.
    seconds: processor time of the program's process. peak_mb: peak memory, 0 if unknown.
    flaky: several runs did not end in the same way. isolated: False if only resources were limited.
    recorded: the values that the tests passed to `record`.
    lines: the lines of the program that ran, if a trace was requested.
    """

    outcome: Outcome
    detail: str = ""
    exception: str = ""
    line: int | None = None
    program_line: int | None = None
    seconds: float = 0.0
    peak_mb: float = 0.0
    flaky: bool = False
    isolated: bool = True
    recorded: tuple[Any, ...] = ()
    lines: frozenset[int] = frozenset()

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASSED and not self.flaky

    @property
    def ending(self) -> tuple[object, ...]:
        """What must be equal in two runs for them to have ended in the same way."""
        if self.outcome is Outcome.TIME_OUT:  # where the time-out interrupts it is chance
            return (self.outcome,)
        return self.outcome, self.exception, self.line, repr(self.recorded)

    def as_json(self) -> dict[str, Any]:
        """As a JSON object, without `recorded` and `lines`."""
        kept = asdict(self) | {"outcome": str(self.outcome), "seconds": round(self.seconds, 3)}
        kept["peak_mb"] = round(self.peak_mb, 1)
        return {name: value for name, value in kept.items() if name not in ("recorded", "lines")}
