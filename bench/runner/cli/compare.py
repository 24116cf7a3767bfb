"""python -m bench.compare A B: which of two runs is more accurate, by how much, and is it more than noise.

A and B are traces (runs/mine/hgs.jsonl), result files (search.run --json FILE) or folders of runs, paired by
problem. Where a file or folder holds several strategies, add the name: runs/mine:hgs, results.json:hgs.
Several seeds of a strategy are joined by commas: runs/s0:hgs,runs/s1:hgs,runs/s2:hgs. Problems are drawn
with all their seeds, because answers to one problem resemble each other.

Intervals are 95 %: of an accuracy Wilson's, of a difference (and with several seeds) a bootstrap over
problems. p is McNemar's exact test; with several seeds, its generalization, the exact sign-flip test.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from bench.report.comparison import Comparison, accuracy_of, compare
from bench.report.sides import read_side
from search.command import exit_code

LISTED = 20
"""Problem ids that are listed by each side; --json has all."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("a", metavar="A", help="a trace, a result file or a run's folder, with :STRATEGY")
    parser.add_argument("b", metavar="B", help="what it is compared with")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(arguments)
    comparison = compare(read_side(args.a), read_side(args.b))
    if args.json:
        print(json.dumps(comparison.as_json(), indent=1))
        return
    print("\n".join(_lines(comparison)))
    for note in comparison.notes:
        print(f"note: {note}", file=sys.stderr)


def _lines(comparison: Comparison) -> list[str]:
    names = [f"{label}: {side.name}" for label, side in (("A", comparison.a), ("B", comparison.b))]
    width = max(map(len, names))
    lines = []
    for name, side in zip(names, (comparison.a, comparison.b), strict=True):
        accuracy, (low, high) = accuracy_of(side, comparison.problems)
        cost = side.cost(comparison.problems)
        seeds = f" ({len(side.seeds)} seeds)" if len(side.seeds) > 1 else ""
        lines.append(
            f"{name:{width}}  {100 * accuracy:5.1f} % [{100 * low:.1f}, {100 * high:.1f}]  "
            f"a problem: {cost['policy_tokens']:,.0f} policy tokens, {cost['prm_tokens']:,.0f} PRM tokens, "
            f"{cost['samples']:,.1f} samples{seeds}"
        )
    low, high = comparison.interval
    lines += [
        f"A - B: {comparison.difference:+.1f} points [{low:+.1f}, {high:+.1f}], p = {comparison.p:.3g} "
        f"({comparison.test}, {len(comparison.problems):,} problems)",
        "",
        comparison.sentence,
        "",
    ]
    more = "more often by" if max(len(comparison.a.seeds), len(comparison.b.seeds)) > 1 else "by"
    for label, ids in (("A", comparison.only_a), ("B", comparison.only_b)):
        shown = ", ".join(ids[:LISTED]) + (f", and {len(ids) - LISTED:,} more" if len(ids) > LISTED else "")
        only = "" if more != "by" else " only"
        lines.append(f"solved {more} {label}{only} ({len(ids):,}): {shown or 'none'}")
    return lines
