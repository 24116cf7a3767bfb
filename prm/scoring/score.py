"""python -m prm.score FILE --prm MODEL --out FILE: judge every step of every line.

A line is {"question", "steps": [...]} or {"question", "solution"}, whose lines, or paragraphs where
the model's steps may hold lines, become steps; other fields are kept. Added are "judgements", one
{"negative", "neutral", "positive"} a step, and "score", the solution's: the step values (P(not wrong))
aggregated as the model's layout says, or an outcome model's one value. What cannot be judged gets an
"error" and no score; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice, tee
from math import prod
from pathlib import Path
from statistics import fmean
from typing import Any

from prm.data.rows import parsed, read_rows
from prm.reading.layout import Layout
from prm.reading.zoo import find
from prm.scoring.batch import Kept, Verdict, score_all, split_solution
from prm.scoring.scorers import load_scorer
from search import command
from search.errors import UsageError
from search.types import StepScorer


def aggregate(layout: Layout, values: Sequence[float]) -> float:
    """The value of a solution, from those of its steps, in [0, 1]."""
    if layout.kind == "outcome" or layout.aggregate == "last":
        return values[-1]
    if layout.aggregate == "min":
        return min(values)
    return prod(values) if layout.aggregate == "product" else fmean(values)


def read_solutions(path: str, layout: Layout) -> Iterator[dict[str, Any]]:
    """The lines of the file, each with its steps. Raises UsageError, naming the line."""

    def check(row: dict[str, Any]) -> list[dict[str, Any]]:
        if not isinstance(row["question"], str):
            raise TypeError("'question' must be text")
        steps = row["steps"] if "steps" in row else split_solution(layout, row["solution"])
        if not isinstance(steps, list) or not steps or not all(isinstance(step, str) for step in steps):
            raise TypeError("'steps' must be a list of texts, of one at least")
        return [{**row, "steps": steps}]

    return parsed(read_rows(path), check)


def verdict_fields(layout: Layout, verdict: Verdict) -> dict[str, Any]:
    if verdict.error is not None:
        return {"error": verdict.error}
    score = aggregate(layout, [score.value for score in verdict.scores])
    return {"judgements": [asdict(score) for score in verdict.scores], "score": score}


async def score(path: str, layout: Layout, scorer: StepScorer, kept: Kept, total: int) -> int:
    """Judge what `kept` does not hold yet. Returns how many lines could not be judged, in all."""
    from rich.progress import Progress

    done = len(kept.rows)
    rows, asked = tee(islice(read_solutions(path, layout), done, None))
    failed = sum("error" in row for row in kept.rows)
    with Progress(transient=True) as progress:
        task = progress.add_task("judging", total=total, completed=done)
        async for verdict in score_all(scorer, ((r["question"], r["steps"]) for r in asked), done):
            kept.append([{**next(rows), **verdict_fields(layout, verdict)}])
            failed += verdict.error is not None
            progress.advance(task)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prm.score", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="the solutions, as JSON lines")
    add("--prm", required=True, metavar="MODEL",
        help="of the zoo, NAME=PATH, specification, checkpoint, ensemble")  # fmt: skip
    add("--out", type=Path, required=True, metavar="FILE", help="where the judged lines go, as they are made")
    add("--resume", action="store_true", help="go on with --out after it was interrupted")
    add("--engine", choices=("hf", "vllm"), default="hf", help="what computes (%(default)s)")
    add("--dtype", default="auto", help="precision (as stored; float32 on a CPU without bfloat16)")
    asked = parser.parse_args()
    layout = find(asked.prm).layout
    kept = Kept(asked.out, resume=asked.resume)
    total = 0  # all of the file is read before anything is loaded
    for total, row in enumerate(read_solutions(asked.file, layout), start=1):
        old = kept.rows[total - 1] if total <= len(kept.rows) else row
        if (old["question"], old["steps"]) != (row["question"], row["steps"]):
            raise UsageError(f"{asked.out}, line {total}: is of another solution than {asked.file}")
    scorer = load_scorer(asked.prm, asked.engine, dtype=asked.dtype)
    try:
        failed = asyncio.run(score(asked.file, layout, scorer, kept, total))
    finally:
        if (shutdown := getattr(scorer, "shutdown", None)) is not None:
            shutdown()
    print(f"{total} solutions, {failed} of them could not be judged: {asked.out}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    command.run(main)
