"""python -m bench.scale: what a run costs besides its models, by workers and by problems."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.experiments.scale import ScaleRequest, measure_workers, simulate
from prm.command_line import defaults
from search.command import exit_code

DESCRIPTION = """
Greedy decoding with a policy that answers at once: by one and by two workers (--shard), with the merge of
their traces. Then the driver of a run on a Ray cluster with simulated engines, after a hundredth of the
problems and at the end.
"""
WORKERS = (1, 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: _print(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> ScaleRequest:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=DESCRIPTION)
    add = parser.add_argument
    add("--problems", metavar="N", type=int, help="of the workers (default: %(default)s; 0: none)")
    add("--simulated", metavar="N", type=int, help="of the simulation (default: %(default)s; 0: none)")
    add("--engines", metavar="N", type=int, help="that are simulated (default: %(default)s)")
    parser.set_defaults(**defaults(ScaleRequest))
    return ScaleRequest(**vars(parser.parse_args(arguments)))


def _print(request: ScaleRequest) -> None:
    for workers in WORKERS if request.problems else ():
        done, merged = measure_workers(request.problems, workers)
        each = ", ".join(f"{w.problems:,} problems in {w.cpu:.1f} s, {w.mib:.0f} MiB" for w in done)
        cpu = sum(worker.cpu for worker in done) / request.problems
        start = max(worker.start for worker in done)
        print(
            f"{workers} worker{'' if workers == 1 else 's'}: {each}; {1e6 * cpu:,.0f} us a problem, start "
            f"{start:.1f} s; merge {merged.cpu:.1f} s, {1e6 * merged.cpu / request.problems:,.0f} us a "
            f"problem, {merged.size / 1e6:,.1f} MB",
            flush=True,
        )
    if not request.simulated:
        return
    before, (first, last) = simulate(request)
    print(f"simulated, {request.engines} engines: {before:,.0f} MiB with {request.simulated:,} problems read")
    for at in (first, last):
        time = 1e6 * at.cpu / at.problems
        print(f"  after {at.problems:,}: {time:,.0f} us a problem, {at.mib - before:+,.1f} MiB")
    ratio = (last.cpu / last.problems) / (first.cpu / first.problems)
    print(f"  time per problem: {ratio:.2f} of that of the first {first.problems:,}")


if __name__ == "__main__":
    sys.exit(main())
