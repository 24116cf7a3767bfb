"""python -m mutation.build: step labels for code, by mutation testing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from mutation.building import BuildRequest, build
from mutation.label import After, LabelParams, Survivors
from mutation.mbpp import MBPP
from mutation.own import EXAMPLE
from mutation.sandbox.isolation import cores
from search.command import exit_code

ABOUT = """\
Change the reference solutions of MBPP, or functions of your own, run each changed program against the tests
of the problem (and of MBPP+), and label the steps: those of the reference are positive, and a changed step is
negative if a test fails and neutral if none does. Programs run only in the sandbox. Beside OUT, three files
are written: OUT.work (every verdict, so that an interrupted build can resume), OUT.summary.json (the figures
and the audit) and OUT.png.
"""
EPILOG = f"""\
functions of your own: --source NAME names the data set, and --data is a folder with name.py and test_name.py
for each function (in folders named train, validation and test, if there are several splits), or a file of
JSON lines, in which "question" and "split" are optional:
{EXAMPLE}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    return exit_code(lambda: build(_request(arguments)))


def _request(arguments: Sequence[str] | None) -> BuildRequest:
    args = _parser().parse_args(arguments)
    params = LabelParams(
        args.survivors, args.after, args.order, args.most, not args.no_rewordings, args.exceptions,
        args.time_outs, args.seed,
    )  # fmt: skip
    return BuildRequest(
        args.data, args.out, args.split, args.limit, params, args.workers,
        isolated=not args.unsafe_no_isolation, sample=args.sample, source=args.source,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    defaults = LabelParams()
    parser = argparse.ArgumentParser(
        prog="python -m mutation.build", description=ABOUT, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source", metavar="NAME", default=MBPP,
        help="mbpp, or a name for functions of your own, which the labels then have as their source "
        "(default: mbpp)",
    )
    parser.add_argument(
        "--data", metavar="PATH", type=Path, required=True,
        help="folder with mbpp.jsonl and, for the tests of MBPP+, MbppPlus*.jsonl; or your own functions",
    )
    parser.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="file for the labels, as JSON lines"
    )
    parser.add_argument(
        "--split", metavar="NAME", default="train",
        help="which problems: train, validation or test, for MBPP by task id (601 to 974, 511 to 600, 11 to "
        "510); or a split of your own functions (default: train)",
    )
    parser.add_argument("--limit", metavar="N", type=int, help="use only the first N problems")
    parser.add_argument(
        "--survivors", choices=get_args(Survivors), default=defaults.survivors,
        help="label of a changed step if every test still passes (default: neutral)",
    )
    parser.add_argument(
        "--after", choices=get_args(After), default=defaults.after,
        help="what happens to the steps after a wrong one. stop: they are left out; negative: they are "
        "labelled negative; ignore: they are labelled as if it were right (default: stop)",
    )
    parser.add_argument(
        "--order", metavar="N", type=int, default=defaults.order,
        help="the most mistakes in one program, 1 to 3 (default: 1)",
    )
    parser.add_argument(
        "--most", metavar="N", type=int, default=defaults.most,
        help="most mutants of each order per problem; 0 for all (default: %(default)s)",
    )
    parser.add_argument(
        "--no-rewordings", action="store_true",
        help="do not add programs with the same meaning as the reference as positives",
    )
    parser.add_argument(
        "--exceptions", metavar="R", type=float, default=defaults.exceptions,
        help="keep at most R crashes per failed assertion (default: %(default)s)",
    )
    parser.add_argument(
        "--time-outs", metavar="R", type=float, default=defaults.time_outs,
        help="keep at most R time-outs per failed assertion (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", metavar="S", type=int, default=defaults.seed, help="seed of all sampling (default: 0)"
    )
    parser.add_argument(
        "--workers", metavar="N", type=int, default=cores(), help="processes (default: one per core)"
    )
    parser.add_argument(
        "--sample", metavar="FILE", type=Path,
        help="write 50 labelled programs to this Markdown file, for inspection",
    )
    parser.add_argument(
        "--unsafe-no-isolation", action="store_true",
        help="run without bubblewrap: the programs are changed references, but can still do anything",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
