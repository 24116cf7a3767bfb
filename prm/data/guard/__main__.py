"""python -m prm.data.guard: rebuild the hashes of the bundled evaluation sets from their files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from prm.data.guard import EvaluationFile, rebuild
from search.command import exit_code
from search.errors import UsageError


def _files(arguments: Sequence[str] | None) -> list[EvaluationFile]:
    parser = argparse.ArgumentParser(prog="python -m prm.data.guard", description=__doc__)
    parser.add_argument(
        "sets", nargs="+", metavar="NAME=FILE",
        help="an evaluation set: rows with 'problem', 'question' or 'input'",
    )  # fmt: skip
    sets: list[str] = parser.parse_args(arguments).sets
    if bad := [item for item in sets if not all(item.partition("="))]:
        raise UsageError(*(f"{item}: must be NAME=FILE" for item in bad))
    return [EvaluationFile(*item.split("=", 1)) for item in sets]


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code(lambda: rebuild(_files(arguments)))


if __name__ == "__main__":
    sys.exit(main())
