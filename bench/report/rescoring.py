"""Scores anybody's candidates with a reward model, kept in a file so that it can be interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bench.report.candidates import Candidates
from prm.data.labels import LabelledSolution
from prm.evaluation.scores import KeptScores, scored_with
from prm.reading.layout import Layout
from prm.reading.zoo import find
from prm.scoring.batch import score_all, split_solution
from prm.scoring.scorers import Engine, load_scorer
from search.errors import UsageError
from search.types import StepScore
from search.values import AGGREGATES, Aggregate

PART = 64
"""Solutions scored together, and so the most whose scores an interruption loses."""


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
        asyncio.run(_score_rest(kept, prm, engine, dtype))
        scored = list(kept.rows)
    how = AGGREGATES[aggregate or layout.solution_aggregate]
    values: list[list[float | None]] = [[None] * len(row.texts) for row in rows]
    for (i, j), result in zip(places, scored, strict=True):
        if result["error"] is None:
            values[i][j] = how([StepScore(**fields).value for fields in result["judgements"]])
    return values


def _steps(layout: Layout, row: Candidates, index: int) -> tuple[str, ...]:
    text = row.texts[index]
    steps = tuple(split_solution(layout, text)) if isinstance(text, str) else text
    return steps if any(step.strip() for step in steps) else ()


async def _score_rest(kept: KeptScores, prm: str, engine: Engine, dtype: str) -> None:
    """Score the records that `kept` lacks; no model is loaded if it has them all."""
    from rich.console import Console
    from rich.progress import Progress

    total = len(kept.records)
    if len(kept.rows) == total:
        return
    async with load_scorer(prm, engine, dtype=dtype) as scorer:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("scoring", total=total, completed=len(kept.rows))
            while (done := len(kept.rows)) < total:
                part = kept.records[done : done + PART]
                solutions = ((record.question, record.steps) for record in part)
                async for scored in score_all(scorer, solutions, done):
                    kept.append(scored)
                    progress.advance(task)
