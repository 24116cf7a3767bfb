"""python -m bench.reselect TRACE: other ways to choose among the solutions that a run sampled.

Reads the finished solutions and their scores from a trace (runs/NAME/best_of_n.jsonl) and chooses anew,
without a model: the best value, the most frequent answer, or the answer with the greatest sum of values,
where a solution's value is the last, the least, the product or the mean of its step values. Each selector is
compared with what the run chose on the same problems: the difference in points with its 95 % interval, and
p of McNemar's exact test after Holm's correction for the number of selectors.

With --prm, the solutions are scored by another reward model first; nothing is sampled. --neutral runs the
search of an HGS trace again with another neutral policy. A problem whose search then asks for a sample that
is not recorded is left out, so the result is that of the problems on which the two differ little.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from bench.report.recorded import RecordedRun, read_trace
from bench.report.rescoring import rescore
from bench.report.reselection import Reselected, Reselection, Selector, compared, reselect
from bench.report.sides import Graders
from bench.report.stats import wilson
from bench.runner.checkpoints import quiet_transformers
from bench.runner.replaying import Neutral, with_neutral
from search.command import exit_code
from search.errors import UsageError
from search.values import AGGREGATES, Aggregate, Choice


@dataclass(frozen=True, slots=True)
class ReselectRequest:
    """trace: of a run. choose, aggregate: all combinations are evaluated; a vote uses no aggregate.

    prm, keep: another reward model, and the file of its scores; both or neither. neutral: neutral policies
    to search an HGS trace again with.
    """

    trace: Path
    choose: tuple[Choice, ...]
    aggregate: tuple[Aggregate, ...]
    prm: str | None
    keep: Path | None
    engine: Literal["hf", "vllm"]
    dtype: str
    neutral: tuple[Neutral, ...]
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
    # fmt: off
    add("--prm", metavar="MODEL",
        help="score the solutions anew: a zoo model, NAME=PATH, specification, checkpoint, or builtin")
    add("--keep", metavar="FILE", type=Path,
        help="with --prm: where the scores are kept; an interrupted command continues from there")
    add("--engine", choices=("hf", "vllm"), default="hf", help="what runs the model (default: %(default)s)")
    add("--dtype", default="auto", help="precision (default: as stored; float32 on a CPU without bfloat16)")
    add("--neutral", nargs="+", choices=get_args(Neutral), default=(),
        help="of a trace of hgs: also search again with these neutral policies")
    # fmt: on
    add("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(arguments)
    many = {name: tuple(getattr(args, name)) for name in ("choose", "aggregate", "neutral")}
    return ReselectRequest(**{**vars(args), **many})


@dataclass(frozen=True, slots=True)
class _Searched:
    """The search with another neutral policy, on the problems for which all it asks for is recorded.

    recorded: whether what the run chose is correct, on these problems.
    """

    result: Reselected
    recorded: Sequence[bool]

    def as_json(self) -> dict[str, Any]:
        n = len(self.recorded)
        return {**self.result.as_json(), "problems": n, "recorded_accuracy": sum(self.recorded) / n}


def _run(request: ReselectRequest) -> None:
    if (request.prm is None) != (request.keep is None):
        raise UsageError("--prm and --keep go together: the scores of --prm MODEL are kept in --keep FILE")
    quiet_transformers()
    run = read_trace(request.trace)
    graders = Graders(run)
    searched = [_searched(run, graders, neutral) for neutral in request.neutral]  # by the recorded scores
    if request.prm is not None and request.keep is not None:
        rescore(run, graders, request.prm, request.keep, engine=request.engine, dtype=request.dtype)
    result = reselect(run, request.selectors, graders)
    if request.json:
        parts: dict[str, Any] = {"run": _described(run), "prm": request.prm or run.config.get("prm")}
        again = {"neutral": [s.as_json() for s in searched]} if searched else {}
        print(json.dumps(parts | result.as_json() | again, indent=1))
    else:
        print("\n".join(_lines(run, result, request.prm)))
        for one in searched:
            print("\n" + _neutral_line(one, len(result.problems)))


def _searched(run: RecordedRun, graders: Graders, neutral: Neutral) -> _Searched:
    answers = with_neutral(run, graders, neutral)
    if not answers:
        raise UsageError(f"--neutral {neutral}: every problem would need samples that {run.path} lacks")
    recorded = [graders.grade(name, run.trees[name].answer) for name in answers]
    results = [graders.grade(name, answer) for name, answer in answers.items()]
    [result] = compared({f"neutral={neutral}": results}, recorded)
    return _Searched(result, recorded)


def _neutral_line(searched: _Searched, problems: int) -> str:
    """In words, with what is left out."""
    result, n = searched.result, len(searched.recorded)
    low, high = result.interval
    rest = f" The other {problems - n:,} problems would need new samples." if n < problems else ""
    return (
        f"{result.name}: {_accuracy(result.correct)}, as recorded {_accuracy(searched.recorded)}: "
        f"{result.versus.points:+.1f} points [{low:+.1f}, {high:+.1f}], p = {result.versus.p:.3f}, on "
        f"{n:,} of {problems:,} problems.{rest}"
    )


def _described(run: RecordedRun) -> str:
    """The strategy with the parameters that decide its choice."""
    params = run.config.get("params", {})
    named = [f"{name}={params[name]}" for name in ("choose", "aggregate") if name in params]
    return " ".join([run.strategy, *named])


def _lines(run: RecordedRun, result: Reselection, prm: str | None) -> list[str]:
    n = len(result.problems)
    rows = [("selector", "accuracy", "points", "p (Holm)")]
    rows.append((f"as recorded: {_described(run)}", _accuracy(result.recorded), "", ""))
    for selected in result.selected:
        low, high = selected.interval
        points = f"{selected.versus.points:+.1f} [{low:+.1f}, {high:+.1f}]"
        rows.append((selected.name, _accuracy(selected.correct), points, f"{selected.adjusted:.3f}"))
    rows.append(("oracle: any solution is correct", _accuracy(result.oracle), "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    scores = "" if prm is None else f", scored by {prm}"
    lines = [f"{n:,} problems, {result.solutions:.1f} finished solutions of each{scores}", ""]
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
