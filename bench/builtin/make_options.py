"""The options that `bench.builtin.make` and `bench.builtin.make_code` have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.builtin.stages import HERE, MakeRequest


def make_request(
    module: str, about: str | None, stages: Iterable[str], work: Path, arguments: Sequence[str] | None
) -> MakeRequest:
    """Parse a command line. work: the default of --work."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", metavar="DIR", type=Path, default=work,
        help="folder for checkpoints, labels and logs (default: %(default)s)",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=HERE,
        help="folder for the finished models (default: this package)",
    )
    parser.add_argument(
        "--stage", choices=list(stages),
        help="run this stage alone, even if it was run before (default: all that have not been run)",
    )
    args = parser.parse_args(arguments)
    return MakeRequest(work=args.work, out=args.out, stage=args.stage)
