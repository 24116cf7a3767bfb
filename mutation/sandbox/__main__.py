"""python -m mutation.sandbox: run one program against its tests, in isolation."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mutation.sandbox.check import CheckRequest, check, one_line
from mutation.sandbox.verdict import Limits
from search.command import Exit, exit_code

ABOUT = """\
Run one program against its tests, in isolation, and print the verdict: passed, assertion, exception,
time-out, memory, output limit, killed, or refused (the tests cannot be used, and the verdict says why). The
tests are Python code with assertions, at the top level or in functions named test_*, methods of Test* classes
or of unittest.TestCase. Names that they do not define refer to the program, which they can also import under
the name of its file.
"""
EXIT_CODES = "exit codes: 0 passed; 1 any other verdict; 2 nothing was run, and the message says why"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    return exit_code(lambda: _run(_parser().parse_args(arguments)))


def _run(args: argparse.Namespace) -> int:
    verdict = check(CheckRequest(
        args.program, args.tests, tuple(args.provides), Limits(cpu_s=args.cpu_s, memory_mb=args.memory_mb),
        isolated=not args.unsafe_no_isolation,
    ))  # fmt: skip
    print(json.dumps(verdict.as_json()) if args.json else one_line(verdict))
    return Exit.DONE if verdict.passed else Exit.FAILED


def _parser() -> argparse.ArgumentParser:
    defaults = Limits()
    parser = argparse.ArgumentParser(
        prog="python -m mutation.sandbox", description=ABOUT, epilog=EXIT_CODES,
    )
    parser.add_argument("program", metavar="PROGRAM.py", type=Path)
    parser.add_argument("tests", metavar="TESTS.py", type=Path)
    parser.add_argument("--json", action="store_true", help="print the verdict as a JSON object")
    parser.add_argument(
        "--provides", metavar="NAME", action="append", default=[],
        help="take this name from the program even if Python also defines it (e.g. sum); repeatable",
    )
    parser.add_argument(
        "--cpu-s", metavar="N", type=float, default=defaults.cpu_s,
        help="limit of processor time, in seconds (default: %(default)s)",
    )
    parser.add_argument(
        "--memory-mb", metavar="N", type=int, default=defaults.memory_mb,
        help="limit of memory, in megabytes (default: %(default)s)",
    )
    parser.add_argument(
        "--unsafe-no-isolation", action="store_true",
        help="run without bubblewrap, with resource limits only: for programs that you trust",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
