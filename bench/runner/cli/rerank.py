"""python -m bench.rerank CANDIDATES: how well a reward model chooses among anybody's sampled solutions.

CANDIDATES is a file (.jsonl, .jsonl.gz, .json, .parquet) or OWNER/NAME on the hub. A row is {"id",
"question", "candidates": [...], "correct": [...]}; a candidate is a text or a list of steps. "scores", one
number or one list of step scores for each candidate, are used if they are there and --prm is not given.
Without scores, only random, vote and oracle are measured. Files of Large Language Monkeys, search-and-learn,
Qwen2.5-Math, RLHFlow, OpenR, crucible-ttc and PRM800K (scored samples) are read as they are.

random takes any candidate, vote the most frequent answer, best_of_n the candidate of the highest value,
weighted_vote the answer with the greatest sum of values, and oracle a correct one if there is any. Each
figure is the expectation over all subsets of N candidates, with ties shared equally. It is exact, but for
weighted votes of very many subsets, which are estimated from random ones; the standard error is then printed.
Intervals are 95 %, from a bootstrap over problems. Differences are tested by flipping their signs, problem by
problem; p (Holm) is adjusted for the number of tests.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal

from bench.report.candidates import (
    Candidates,
    answer_numbers,
    graders_disagree,
    read_candidates,
    solution_scores,
    with_enough,
)
from bench.report.reranking import Measure, Reranking, rerank
from bench.report.rescoring import score_candidates
from bench.report.subsets import DRAWS, MOST_CANDIDATES, Pool
from bench.runner.cli.tracked import tracked
from bench.tasks import TEXT_TASKS
from prm.data import STRICT_HELP
from prm.data.left_out import LeftOut
from search.command import exit_code
from search.errors import UsageError
from search.values import AGGREGATES, Aggregate

TEXT = "text"
"""In place of a task: a candidate's whole text is its answer."""


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """candidates: the source. task: how answers are read, a name of `TEXT_TASKS` or `TEXT`.

    prm, keep: the reward model, and the file of its scores; both or neither. aggregate: of step values.
    """

    candidates: str
    task: str
    prm: str | None
    keep: Path | None
    aggregate: Aggregate | None
    strict: bool
    engine: Literal["hf", "vllm"]
    dtype: str
    json: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: _run(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> RerankRequest:
    parser = argparse.ArgumentParser(
        prog="python -m bench.rerank", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    # fmt: off
    add = parser.add_argument
    add("candidates", metavar="CANDIDATES")
    add("--task", choices=(*TEXT_TASKS, TEXT), default="math",
        help="how answers are found and compared; text: as they are (default: %(default)s)")
    add("--prm", metavar="MODEL",
        help="score the candidates: a zoo model, NAME=PATH, specification, checkpoint, or builtin")
    add("--keep", metavar="FILE", type=Path,
        help="with --prm: where the scores are kept; an interrupted command continues from there")
    add("--aggregate", choices=tuple(AGGREGATES),
        help="how step values make a candidate's value (default: the reward model's own; product)")
    add("--strict", action="store_true", help=STRICT_HELP)
    add("--engine", choices=("hf", "vllm"), default="hf", help="what runs the model (default: %(default)s)")
    add("--dtype", default="auto", help="precision (default: as stored; float32 on a CPU without bfloat16)")
    add("--json", action="store_true", help="print one JSON object")
    # fmt: on
    return RerankRequest(**vars(parser.parse_args(arguments)))


def _run(request: RerankRequest) -> None:
    if (request.prm is None) != (request.keep is None):
        raise UsageError("--prm and --keep go together: the scores of --prm MODEL are kept in --keep FILE")
    left_out = None if request.strict else LeftOut()
    answers = None if request.task == TEXT else TEXT_TASKS[request.task]()
    read = read_candidates(request.candidates, answers=answers, left_out=left_out)
    rows = with_enough(read, request.candidates, left_out)
    values = _values(request, rows)
    numbers = [answer_numbers(row, answers) for row in tracked(rows, "comparing answers")]
    pools = [
        Pool(row.right, number, None if value is None else [-inf if v is None else v for v in value])
        for row, number, value in zip(rows, numbers, values, strict=True)
    ]
    disagreeing = sum(graders_disagree(n, row.right) for n, row in zip(numbers, rows, strict=True))
    result = rerank(pools, disagreeing=disagreeing, progress=lambda all: tracked(all, "selecting"))
    if unread := sum(row.unread > 0 for row in rows):
        result.notes.append(f"{unread:,} problems have more than {MOST_CANDIDATES:,} candidates: the first "
                            f"{MOST_CANDIDATES:,} of each are used")  # fmt: skip
    if request.json:
        counts = {} if left_out is None else left_out.report()
        print(json.dumps(result.as_json() | {"left_out": counts.get(request.candidates, {})}, indent=1))
    else:
        print("\n".join(_lines(result)))
    if left_out:
        print(left_out.describe(), file=sys.stderr)


def _values(request: RerankRequest, rows: Sequence[Candidates]) -> Sequence[Sequence[float | None] | None]:
    """The candidates' values by row; None for all rows if they have no scores. Raises UsageError."""
    if request.prm is not None and request.keep is not None:
        if unasked := next((row.id for row in rows if not row.question), None):
            raise UsageError(f"--prm: row {unasked} has no question, which a reward model reads")
        return score_candidates(
            rows,
            request.prm,
            request.keep,
            aggregate=request.aggregate,
            engine=request.engine,
            dtype=request.dtype,
        )
    without = [row.id for row in rows if row.scores is None]
    if without and len(without) < len(rows):
        raise UsageError(
            f"{len(without)} of {len(rows)} rows have no 'scores', as {without[0]}: give all rows scores, or "
            "score them by --prm MODEL --keep FILE"
        )
    return [None if row.scores is None else solution_scores(row, request.aggregate) for row in rows]


def _lines(result: Reranking) -> list[str]:
    names = list(result.accuracy)
    cells = [["N", *names]]
    for at, n in enumerate(result.sizes):
        cells.append([str(n), *(_percent(result.accuracy[name][at]) for name in names)])
    lines = [f"{result.problems:,} problems, {result.candidates:,} candidates; accuracy in per cent", ""]
    lines += [*_table(cells), ""]
    tests = [[f"at N = {result.sizes[-1]}", "points", "p", "p (Holm)"]]
    for one in result.differences:
        points, low, high = one.points
        ps = ("<0.001" if p < 0.001 else f"{p:.3f}" for p in (one.p, one.adjusted))
        difference = f"{points:+.1f} [{low:+.1f}, {high:+.1f}]"
        tests.append([f"{one.selector} - {one.baseline}", difference, *ps])
    lines += [*_table(tests), "", result.sentence]
    if result.mixed:
        lines += [
            f"AUC within problems {_auc(result.auc_within)}, over the {result.mixed:,} with right and wrong "
            f"candidates; across problems {_auc(result.auc_across)}"
        ]
    for name, errors in result.error.items():
        worst = 100 * max(errors)
        lines.append(f"{name}: where subsets are many, {DRAWS:,} random ones of each problem; standard error "
                     f"at most {worst:.2f} points")  # fmt: skip
    if result.unscored:
        lines.append(f"{result.unscored:,} candidates could not be scored: they rank last, with no weight")
    if result.disagreeing:
        lines.append(f"{result.disagreeing:,} problems have equal answers marked both correct and wrong: "
                     "such an answer counts by the share of its candidates")  # fmt: skip
    return lines + result.notes


def _table(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns of equal widths."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in cells]


def _percent(measure: Measure) -> str:
    value, low, high = (100 * x for x in measure)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _auc(measure: Measure) -> str:
    value, low, high = measure
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
