"""python -m prm.zoo: list the reward models known by name: those of the zoo, and the bundled ones."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from prm.reading.bundled import ADAPTER_PRMS, PRMS, TASKS
from prm.reading.zoo import zoo
from search.command import exit_code


def _print_zoo() -> None:
    for name, entry in zoo().items():
        layout = entry.layout
        kind = f"{layout.head.kind}, {layout.head.type} head, {layout.solution_aggregate}"
        print(f"{name:<17} {entry.model:<54} {kind}")
    for name, folder in PRMS.items():
        print(f"{name:<17} bundled, for the task {TASKS[folder]}")
    for name in ADAPTER_PRMS:
        print(f"{name:<17} bundled, an adapter on SmolLM2")


def main(arguments: Sequence[str] | None = None) -> int:
    argparse.ArgumentParser(
        prog="python -m prm.zoo", description="List the reward models known by name."
    ).parse_args(arguments)
    return exit_code(_print_zoo)


if __name__ == "__main__":
    sys.exit(main())
