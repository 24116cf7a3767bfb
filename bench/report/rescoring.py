"""Scores anybody's candidates with a reward model, kept in a file so that it can be interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bench.report.candidates import Candidates
from prm.data.labels import LabelledSolution
from prm.evaluation.scores import KeptScores, score_records, scored_with
from prm.reading.layout import Layout
from prm.reading.zoo import find
from prm.scoring.batch import split_solution
from prm.scoring.scorers import Engine, load_scorer
from search.errors import UsageError
from search.types import StepScore
from search.values import AGGREGATES, Aggregate


def score_candidates(
    rows: Sequence[Candidates],
    prm: str,
    keep: Path,
    *,
    aggregate: Aggregate | None = None,
    engine: Engine = "hf",
    dtype: str = "auto",
) -> list[list[float | None]]:
    """The value of each candidate of each row; None for one that could not be scored.

    keep: the file of the scores, continued if it exists. aggregate: None is the reward model's own.
    Raises UsageError, also if `keep` holds the scores of another reward model or of other candidates.
    """
    layout = find(prm).layout
    if aggregate is not None and layout.is_outcome:
        raise UsageError(f"--aggregate: {prm} scores whole solutions, there are no steps to aggregate")
    places, records = list[tuple[int, int]](), list[LabelledSolution]()
    for i, row in enumerate(rows):
        for j in range(len(row.texts)):
            if steps := _steps(layout, row, j):
                places.append((i, j))
                labels = (1,) * len(steps)  # not looked at
                records.append(LabelledSolution(row.question, steps, labels, "candidates", "test", "none"))
    with closing(KeptScores(keep, records, scored_with(prm, engine, dtype))) as kept:
        scores = asyncio.run(_scores(kept, prm, engine, dtype))
    how = AGGREGATES[aggregate or layout.solution_aggregate]
    values: list[list[float | None]] = [[None] * len(row.texts) for row in rows]
    for index, scored in scores.items():
        i, j = places[index]
        values[i][j] = how([score.value for score in scored])
    return values


def _steps(layout: Layout, row: Candidates, index: int) -> tuple[str, ...]:
    text = row.texts[index]
    steps = tuple(split_solution(layout, text)) if isinstance(text, str) else text
    return steps if any(step.strip() for step in steps) else ()


async def _scores(kept: KeptScores, prm: str, engine: Engine, dtype: str) -> dict[int, list[StepScore]]:
    if len(kept.rows) < len(kept.records):
        async with load_scorer(prm, engine, dtype=dtype) as scorer:
            return await score_records(scorer, kept)
    return {
        index: [StepScore(**fields) for fields in row["judgements"]]
        for index, row in enumerate(kept.rows)
        if row["error"] is None
    }
