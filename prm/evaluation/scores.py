"""Scores of labelled solutions, kept in a file so that an interrupted evaluation can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from prm.data.labels import LabelledSolution
from prm.scoring.batch import score_all
from search.jsonl import JsonLinesFile
from search.types import StepScore, StepScorer


async def score_records(
    scorer: StepScorer, records: Sequence[LabelledSolution], results: JsonLinesFile
) -> dict[int, list[StepScore]]:
    """Step scores by index of the record; records that could not be scored are left out.

    results: the scores of the first records, from an earlier run; the others are added.
    """
    from rich.progress import Progress

    rows = list(results.rows)
    rest = ((record.question, record.steps) for record in records[len(rows) :])
    with Progress(transient=True) as progress:
        task = progress.add_task("scoring", total=len(records), completed=len(rows))
        async for scored in score_all(scorer, rest, len(rows)):
            row = {"judgements": [asdict(score) for score in scored.scores], "error": scored.error}
            results.append([row])
            rows.append(row)
            progress.advance(task)
    return {
        index: [StepScore(**fields) for fields in row["judgements"]]
        for index, row in enumerate(rows)
        if row["error"] is None
    }
