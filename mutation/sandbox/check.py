"""Check one program, read from a file, against tests in another."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits, Outcome, Suite, Verdict
from search.errors import UsageError, reason


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """provides: see `Suite`. isolated: see `Sandbox`."""

    program: Path
    tests: Path
    provides: tuple[str, ...] = ()
    limits: Limits = Limits()
    isolated: bool = True


def check(request: CheckRequest) -> Verdict:
    """Run the program three times. Raises UsageError if a file cannot be read or the sandbox cannot run."""
    program, tests = _read(request.program), _read(request.tests)
    if not request.isolated:
        print("warning: not isolated; the program can do anything that you can do", file=sys.stderr)
    with Sandbox(request.limits, workers=1, isolated=request.isolated) as sandbox:
        suite = Suite(tests, request.provides, module=request.program.stem)
        return sandbox.run_repeatedly(program, suite)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {reason(error)}") from error


def one_line(verdict: Verdict) -> str:
    """The verdict as a line of text."""
    parts = [f"{verdict.outcome}{', but flaky (the runs differ)' if verdict.flaky else ''}"]
    if verdict.outcome is not Outcome.PASSED:
        at = f" (line {verdict.line} of the tests)" if verdict.line else ""
        parts.append(f"{verdict.detail or 'an assertion does not hold'}{at}")
    parts.append(f"{verdict.seconds:.2f} s of processor time, at most {verdict.peak_mb:.0f} MB")
    if not verdict.isolated:
        parts.append("not isolated")
    return "; ".join(parts)
