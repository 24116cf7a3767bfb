"""python -m bench.reselect TRACE: other ways to choose among the solutions that a run sampled.

Reads the finished solutions and their scores from a trace (runs/NAME/best_of_n.jsonl) and chooses anew,
without a model: the best value, the most frequent answer, or the answer with the greatest sum of values,
where a solution's value is the last, the least, the product or the mean of its step values. Each selector is
compared with what the run chose on the same problems: the difference in points with its 95 % interval, and
p of McNemar's exact test after Holm's correction for the number of selectors.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from bench.report.recorded import RecordedRun, read_trace
from bench.report.reselection import Reselection, Selector, reselect
from bench.report.stats import wilson
from search.command import exit_code
from search.values import AGGREGATES, Aggregate, Choice


@dataclass(frozen=True, slots=True)
class ReselectRequest:
    """trace: of a run. choose, aggregate: all combinations are evaluated; a vote uses no aggregate."""

    trace: Path
    choose: tuple[Choice, ...]
    aggregate: tuple[Aggregate, ...]
    json: bool

    @property
    def selectors(self) -> list[Selector]:
        return [
            Selector(choose, aggregate)
            for choose in self.choose
            for aggregate in ([None] if choose == "vote" else self.aggregate)
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: _run(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> ReselectRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.reselect", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    choices = get_args(Choice)
    add("trace", metavar="TRACE", type=Path)
    add("--choose", nargs="+", choices=choices, default=choices, help="how to choose (default: all)")
    add("--aggregate", nargs="+", choices=tuple(AGGREGATES), default=tuple(AGGREGATES),
        help="how step values make a solution's value (default: all)")  # fmt: skip
    add("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(arguments)
    return ReselectRequest(args.trace, tuple(args.choose), tuple(args.aggregate), args.json)


def _run(request: ReselectRequest) -> None:
    run = read_trace(request.trace)
    result = reselect(run, request.selectors)
    if request.json:
        print(json.dumps({"run": _described(run)} | result.as_json(), indent=1))
    else:
        print("\n".join(_lines(run, result)))


def _described(run: RecordedRun) -> str:
    """The strategy with the parameters that decide its choice."""
    params = run.config.get("params", {})
    named = [f"{name}={params[name]}" for name in ("choose", "aggregate") if name in params]
    return " ".join([run.strategy, *named])


def _lines(run: RecordedRun, result: Reselection) -> list[str]:
    n = len(result.problems)
    rows = [("selector", "accuracy", "points", "p (Holm)")]
    rows.append((f"as recorded: {_described(run)}", _accuracy(result.recorded), "", ""))
    for selected in result.selected:
        low, high = selected.interval
        points = f"{selected.versus.points:+.1f} [{low:+.1f}, {high:+.1f}]"
        rows.append((selected.name, _accuracy(selected.correct), points, f"{selected.adjusted:.3f}"))
    rows.append(("oracle: any solution is correct", _accuracy(result.oracle), "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [f"{n:,} problems, {result.solutions:.1f} finished solutions of each", ""]
    lines += [
        "  ".join(
            [name.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))]
        ).rstrip()
        for name, *cells in rows
    ]
    better = [s for s in result.selected if s.adjusted < 0.05]
    found = ", ".join(f"{s.name} ({s.versus.points:+.1f})" for s in better)
    lines += ["", f"More than noise: {found}." if better else
              "No selector differs from what the run chose by more than the noise."]  # fmt: skip
    if result.unscored:
        lines.append(f"{result.unscored:,} solutions have an answer and no score: only a vote counts them")
    return lines


def _accuracy(correct: Sequence[bool]) -> str:
    low, high = wilson(sum(correct), len(correct))
    return f"{100 * sum(correct) / len(correct):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
