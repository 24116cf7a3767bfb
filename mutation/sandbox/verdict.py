"""What the sandbox says of a program, and what it may be limited to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from search.errors import UsageError

PATIENCE = 10.0
"""How many times the reference's processor time a program may take."""
LEAST_S = 0.2
"""But never less; an ordinary program takes a few milliseconds."""


class Outcome(StrEnum):
    """How a program's tests ended. Only PASSED is a pass."""

    PASSED = "passed"
    """Every test ran to its end and held."""
    ASSERTION = "assertion"
    """An assertion of the tests did not hold."""
    EXCEPTION = "exception"
    """The program raised, or the tests did over what it answered."""
    TIME_OUT = "time-out"
    """Over its limit of processor time or wall-clock time."""
    MEMORY = "memory"
    """Over its limit of memory."""
    OUTPUT = "output limit"
    """Printed or answered more than it may."""
    KILLED = "killed"
    """Its process ended before its tests did: it left by itself, crashed, or broke off the conversation."""
    REFUSED = "refused"
    """The tests say nothing: they do not compile, pass the program what is no plain data, or never use it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one program, and as much again for its tests. Raises UsageError if one makes no sense.

    cpu_s: seconds of processor time, so that a loaded machine changes no verdict.
    wall_s: for programs that sleep. memory_mb: address space. file_mb: the folder it may write to.
    output_chars: what it may print in all; nothing of it is kept.
    """

    cpu_s: float = 2.0
    wall_s: float = 60.0
    memory_mb: int = 512
    file_mb: int = 4
    output_chars: int = 100_000

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value <= 0:
                raise UsageError(f"{name}={value}: it must be more than 0")
        if self.memory_mb < 128:
            raise UsageError(f"memory_mb={self.memory_mb}: the interpreter itself needs up to 128")


@dataclass(frozen=True, slots=True)
class Suite:
    """Python text that asserts things of a program. It is trusted; see `mutation.sandbox`.

    provides: names that are the program's although they are also built-in or of the standard library
        ("sum", "string"). Any other name that the tests read and do not define is taken from the program
        if it defines it.
    values: further names, with plain data as their values.
    cpu_s: seconds of processor time for a program that meets these tests; None: the sandbox's limit.
    """

    code: str
    provides: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    cpu_s: float | None = None

    def with_values(self, **values: object) -> Suite:
        return replace(self, values={**self.values, **values})

    def within(self, reference: Verdict, most_s: float) -> Suite:
        """With a limit on time that a right program keeps: `PATIENCE` times what the reference took,
        as mutation testing does it, and at most `most_s`. Endless loops are most of what a run costs.
        """
        return replace(self, cpu_s=min(most_s, max(LEAST_S, PATIENCE * reference.seconds)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a program fared.

    detail: for people. exception: its type's name, for EXCEPTION and MEMORY. line: of the tests, where
    they ended. program_line: of the program, by its own account, where it raised.
    seconds: processor time of the program's process. peak_mb: most memory it held, 0 if unknown.
    flaky: several runs did not end alike. isolated: False if only resources were limited.
    recorded: what the tests gave to `record`. lines: of the program that ran, if that was asked for.
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
        """What two runs must have in common to have ended alike."""
        if self.outcome is Outcome.TIME_OUT:  # where it was when its time was over is chance
            return (self.outcome,)
        return self.outcome, self.exception, self.line, repr(self.recorded)

    def as_json(self) -> dict[str, Any]:
        """Without what only some callers ask for."""
        kept = asdict(self) | {"outcome": str(self.outcome), "seconds": round(self.seconds, 3)}
        kept["peak_mb"] = round(self.peak_mb, 1)
        return {name: value for name, value in kept.items() if name not in ("recorded", "lines")}
