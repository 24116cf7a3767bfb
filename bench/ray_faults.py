"""python -m bench.ray_faults: do runs on a Ray cluster survive kill -9 at random moments?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from bench.experiments.ray_faults import Fault, RayFaultsRequest, measure
from prm.command_line import defaults
from search.command import Exit, exit_code
from search.errors import UsageError

DESCRIPTION = """
Start two nodes of a Ray cluster on this machine, with one engine each and made-up models, and run HGS there
again and again. In each run kill an engine, a node or the driver (resumed by the same command) when a random
number of lines is recorded. Compare results and trace with those of one machine, uninterrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 1 if a run differed."""
    return exit_code(lambda: _run(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> RayFaultsRequest:
    parser = argparse.ArgumentParser(prog="python -m bench.ray_faults", description=DESCRIPTION)
    add = parser.add_argument
    add("--moments", metavar="N", type=int, help="runs with a kill (default: %(default)s)")
    add("--problems", metavar="N", type=int, help="problems of a run (default: %(default)s)")
    add("--pause", metavar="SECONDS", type=float, help="of each call of a model (default: %(default)s)")
    add("--seed", metavar="S", type=int, help="of the moments (default: %(default)s)")
    parser.set_defaults(**defaults(RayFaultsRequest))
    return RayFaultsRequest(**vars(parser.parse_args(arguments)))


def _run(request: RayFaultsRequest) -> int:
    if find_spec("ray") is None:
        raise UsageError("Ray is not installed here: install prm-search[ray]")
    output = sys.stdout  # Ray's messages go elsewhere meanwhile
    faults = measure(request, lambda fault: print(_line(fault), file=output, flush=True))
    equal = sum(fault.equal for fault in faults)
    print(f"{equal} of {len(faults)} runs end as the uninterrupted run")
    return Exit.DONE if equal == len(faults) else Exit.FAILED


def _line(fault: Fault) -> str:
    result = "equal" if fault.equal else "DIFFERENT"
    where = f"line {fault.line:,} of {fault.lines:,}"
    return f"{fault.victim:6} killed at {where}: {result} ({fault.seconds:.0f} s)"


if __name__ == "__main__":
    sys.exit(main())
