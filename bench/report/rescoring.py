"""Scores candidates with a reward model, kept in a file so that it can be interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bench.report.candidates import Candidates
from bench.report.recorded import RecordedRun
from bench.report.sides import Graders
from prm.data.labels import LabelledSolution
from prm.evaluation.scores import KeptScores, scored_with
from prm.reading.layout import Layout
from prm.reading.zoo import find
from prm.scoring.batch import score_all, split_solution
from prm.scoring.scorers import Engine, load_scorer
from search.errors import UsageError
from search.node import Node
from search.scoring import BLANK_SCORE
from search.types import StepScore, texts_read
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
    places, solutions = list[tuple[int, int]](), list[tuple[str, tuple[str, ...]]]()
    for i, row in enumerate(rows):
        for j in range(len(row.texts)):
            if steps := _steps(layout, row, j):
                places.append((i, j))
                solutions.append((row.question, steps))
    how = AGGREGATES[aggregate or layout.solution_aggregate]
    values: list[list[float | None]] = [[None] * len(row.texts) for row in rows]
    scored = score_solutions(solutions, prm, keep, engine=engine, dtype=dtype)
    for (i, j), scores in zip(places, scored, strict=True):
        values[i][j] = None if scores is None else how([score.value for score in scores])
    return values


def rescore(
    run: RecordedRun, graders: Graders, prm: str, keep: Path, *, engine: Engine = "hf", dtype: str = "auto"
) -> None:
    """Replace the scores in the trees of a run: finished solutions with an answer get those of `prm`.

    All other scores are removed. Of an outcome model, the end of a solution has a score. A solution that
    could not be scored has none. Raises UsageError, as `score_candidates` does.
    """
    is_outcome = find(prm).layout.is_outcome
    leaves: dict[tuple[str, tuple[str, ...]], list[Node]] = {}
    ended = {name: tree for name, tree in run.trees.items() if tree.chosen is not None}
    for problem, tree in ended.items():
        question = graders.examples[problem].problem.question
        for leaf in graders.solutions(tree).answered:
            texts = tuple(texts_read([step for step in leaf.steps if not step.is_blank]))
            leaves.setdefault((question, texts), []).append(leaf)
    scored = score_solutions(list(leaves), prm, keep, engine=engine, dtype=dtype)
    for tree in run.trees.values():
        for node in tree.nodes:
            node.score = None
    for equal, scores in zip(leaves.values(), scored, strict=True):
        for leaf in equal if scores is not None else []:
            _give(leaf, scores or [], at_the_end=is_outcome)


def _give(leaf: Node, scores: Sequence[StepScore], *, at_the_end: bool) -> None:
    """Give a solution's nodes their scores; a blank step takes that of the step before it."""
    rest, last = iter(scores), BLANK_SCORE
    for node in leaf.path:
        if node.step is not None and not node.step.is_blank:
            last = next(rest)
        if node is leaf or not at_the_end:
            node.score = last


def score_solutions(
    solutions: Sequence[tuple[str, tuple[str, ...]]],
    prm: str,
    keep: Path,
    *,
    engine: Engine = "hf",
    dtype: str = "auto",
) -> list[list[StepScore] | None]:
    """The step scores of each solution, a question and its steps; None for one that could not be scored.

    keep: as for `score_candidates`.
    """
    records = [
        LabelledSolution(question, steps, (1,) * len(steps), "candidates", "test", "none")  # no label is read
        for question, steps in solutions
    ]
    with closing(KeptScores(keep, records, scored_with(prm, engine, dtype))) as kept:
        asyncio.run(_score_rest(kept, prm, engine, dtype))
        return [
            [StepScore(**fields) for fields in row["judgements"]] if row["error"] is None else None
            for row in kept.rows
        ]


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
            done = len(kept.rows)
            task = progress.add_task("scoring", total=total, completed=done)
            solutions = ((record.question, record.steps) for record in kept.records[done:])
            async for scored in score_all(scorer, solutions, done, kept.work):
                kept.append(scored)
                progress.advance(task)
