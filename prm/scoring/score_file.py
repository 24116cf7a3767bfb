"""Scoring the solutions of a file: the request and the work of `prm.score`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice, tee
from pathlib import Path
from typing import Any

from prm.data.rows import parsed, read_rows
from prm.reading.layout import Layout
from prm.scoring.batch import ScoredSolution, WorkFile, open_results, score_all, split_solution
from prm.scoring.scorers import Engine
from prm.scoring.source import Source, source
from search.errors import UsageError
from search.jsonl import JsonLinesFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """Score every step of every solution in a file.

    solutions: a file or data set on the hub, as `prm.data.rows.read_rows` takes it; its rows have
        "question" (or "problem") and either "steps" or "solution".
    prm: a name that `prm.reading.zoo.find` knows. out: where the scored lines go.
    resume: continue `out`. dtype: as `search.precision.served` takes it.
    servers: base URLs of servers that have the model; `prm` may then be "", as for `prm.scoring.source`.
    """

    solutions: str
    prm: str = ""
    out: Path
    resume: bool = False
    engine: Engine = "hf"
    dtype: str = "auto"
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """total: solutions in the file. failed: those that could not be scored."""

    total: int
    failed: int


def score_file(request: ScoreRequest) -> ScoreSummary:
    """Write each solution with its scores to `request.out`; skip those that are there already.

    Raises UsageError before a model is loaded if a solution is malformed, or if `out` exists and is not to
    be resumed, or if it holds other solutions, or scores of another reward model. Raises UnavailableError if
    the servers are lost; what was scored by then stays.
    """
    if not request.prm and not request.servers:
        raise UsageError("name the reward model by --prm, or its server by --prm-server")
    model = source(request.prm, request.engine, request.dtype, request.servers)
    results = open_results(request.out, resume=request.resume)
    try:
        total = 0
        for total, row in enumerate(read_solutions(request.solutions, model.layout), start=1):
            done = results.rows[total - 1] if total <= len(results.rows) else row
            if (_question(done), done["steps"]) != (_question(row), row["steps"]):
                raise UsageError(
                    f"{request.out}, line {total}: is of another solution than {request.solutions}"
                )
            if done is not row and done.get("prm_weights", model.weights) != model.weights:
                raise UsageError(
                    f"{request.out}, line {total}: was scored by another model, or {model.name} has changed "
                    "since: name another file"
                )
        return ScoreSummary(total, asyncio.run(_score_rest(request, model, results, total)))
    finally:
        results.close()


async def _score_rest(request: ScoreRequest, model: Source, results: JsonLinesFile, total: int) -> int:
    """Score the solutions that `results` does not hold yet. Returns how many failed, old ones included."""
    from rich.progress import Progress

    done = len(results.rows)
    rows, solutions = tee(islice(read_solutions(request.solutions, model.layout), done, None))
    failed = sum("error" in row for row in results.rows)
    texts = ((_question(row), row["steps"]) for row in solutions)
    async with model.load() as scorer:
        with closing(WorkFile(request.out, model.identity)) as work, Progress(transient=True) as progress:
            task = progress.add_task("scoring", total=total, completed=done)
            async for scored in score_all(scorer, texts, done, work):
                fields = result_fields(model.layout, scored)
                results.append([{**next(rows), **fields, "prm_weights": model.weights}])
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
