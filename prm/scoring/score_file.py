"""Scoring the solutions of a file: the request and the work of `prm.score`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice, tee
from pathlib import Path
from typing import Any

from prm.data.rows import parsed, read_rows
from prm.reading.fingerprint import prm_fingerprint
from prm.reading.layout import Layout
from prm.reading.zoo import find
from prm.scoring.batch import ScoredSolution, open_results, score_all, split_solution
from prm.scoring.scorers import Engine, load_scorer
from search.errors import UsageError
from search.jsonl import JsonLinesFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """Score every step of every solution in a file.

    solutions: a file or data set on the hub, as `prm.data.rows.read_rows` takes it; its rows have
        "question" (or "problem") and either "steps" or "solution".
    prm: a name that `prm.reading.zoo.find` knows. out: where the scored lines go.
    resume: continue `out`. dtype: as `search.precision.served` takes it.
    """

    solutions: str
    prm: str
    out: Path
    resume: bool = False
    engine: Engine = "hf"
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """total: solutions in the file. failed: those that could not be scored."""

    total: int
    failed: int


def score_file(request: ScoreRequest) -> ScoreSummary:
    """Write each solution with its scores to `request.out`; skip those that are there already.

    Raises UsageError before a model is loaded if a solution is malformed, or if `out` exists and is not to
    be resumed, or if it holds other solutions, or scores of another reward model.
    """
    layout, weights = find(request.prm).layout, prm_fingerprint(request.prm)
    results = open_results(request.out, resume=request.resume)
    try:
        total = 0
        for total, row in enumerate(read_solutions(request.solutions, layout), start=1):
            done = results.rows[total - 1] if total <= len(results.rows) else row
            if (_question(done), done["steps"]) != (_question(row), row["steps"]):
                raise UsageError(
                    f"{request.out}, line {total}: is of another solution than {request.solutions}"
                )
            if done is not row and done.get("prm_weights", weights) != weights:
                raise UsageError(
                    f"{request.out}, line {total}: was scored by another model, or {request.prm} has changed "
                    "since: name another file"
                )
        return ScoreSummary(total, asyncio.run(_score_rest(request, layout, results, total, weights)))
    finally:
        results.close()


async def _score_rest(
    request: ScoreRequest, layout: Layout, results: JsonLinesFile, total: int, weights: str
) -> int:
    """Score the solutions that `results` does not hold yet. Returns how many failed, old ones included.

    weights: the reward model's fingerprint, written to every row.
    """
    from rich.progress import Progress

    done = len(results.rows)
    rows, solutions = tee(islice(read_solutions(request.solutions, layout), done, None))
    failed = sum("error" in row for row in results.rows)
    async with load_scorer(request.prm, request.engine, dtype=request.dtype) as scorer:
        with Progress(transient=True) as progress:
            task = progress.add_task("scoring", total=total, completed=done)
            async for scored in score_all(scorer, ((_question(r), r["steps"]) for r in solutions), done):
                fields = result_fields(layout, scored)
                results.append([{**next(rows), **fields, "prm_weights": weights}])
                failed += scored.error is not None
                progress.advance(task)
    return failed


def read_solutions(source: str, layout: Layout) -> Iterator[dict[str, Any]]:
    """The rows of a file, each with its "steps". Raises UsageError that names the line."""

    def parse(row: dict[str, Any]) -> list[dict[str, Any]]:
        if not isinstance(_question(row), str):
            raise TypeError("'question' must be text")
        steps = row["steps"] if "steps" in row else split_solution(layout, row["solution"])
        if not isinstance(steps, list) or not steps or not all(isinstance(step, str) for step in steps):
            raise TypeError("'steps' must be a non-empty list of texts")
        return [{**row, "steps": steps}]

    return parsed(read_rows(source), parse)


def _question(row: Mapping[str, Any]) -> Any:
    return row["question"] if "question" in row else row["problem"]


def result_fields(layout: Layout, scored: ScoredSolution) -> dict[str, Any]:
    """The fields that a scored solution adds to its row."""
    if scored.error is not None:
        return {"error": scored.error}
    value = layout.solution_value([score.value for score in scored.scores])
    return {"judgements": [asdict(score) for score in scored.scores], "score": value}
