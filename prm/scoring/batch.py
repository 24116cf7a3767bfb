"""Scoring many solutions: concurrently, in windows, resumable from a file of results."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from prm.reading.layout import Layout
from search.errors import SearchError, UnavailableError, UsageError
from search.jsonl import JsonLinesFile
from search.segment import SEGMENTERS
from search.types import Problem, Step, StepScore, StepScorer, Stop

WINDOW = 512
"""Solutions scored concurrently; sorted by length within a window, returned in their own order."""

BLANK_LINE = re.compile(r"\n[ \t\r]*\n")


@dataclass(frozen=True, slots=True)
class ScoredSolution:
    """scores: one per step; empty if the solution could not be scored. error: why not, else None."""

    scores: tuple[StepScore, ...]
    error: str | None


async def score_all(
    scorer: StepScorer, solutions: Iterable[tuple[str, Sequence[str]]], first: int = 0
) -> AsyncIterator[ScoredSolution]:
    """Score each (question, steps), in order. A solution that cannot be scored has an error.

    Raises UnavailableError if the reward model is lost.

    first: index of the first solution, for error messages.
    """

    async def score(index: int, question: str, texts: Sequence[str]) -> ScoredSolution:
        try:
            steps = [Step(text, (), 0.0, Stop.STEP, 0) for text in texts]
            problem = Problem(f"solution {index + 1}", question)
            return ScoredSolution(tuple(await scorer.score(problem, steps)), None)
        except UnavailableError:
            raise
        except SearchError as error:
            return ScoredSolution((), f"{type(error).__name__}: {error}")

    rest, start = iter(solutions), first
    while window := list(islice(rest, WINDOW)):
        # A scorer batches what is queued in order, so solutions of similar length share a forward pass.
        order = sorted(range(len(window)), key=lambda i: sum(map(len, window[i][1])))
        scored = await asyncio.gather(*(score(start + i, *window[i]) for i in order))
        by_index = dict(zip(order, scored, strict=True))
        for i in range(len(window)):
            yield by_index[i]
        start += len(window)


def split_solution(layout: Layout, text: str) -> list[str]:
    """Split the text of a solution into steps.

    Steps are paragraphs if the text has any and a step of this layout may hold several lines, else lines;
    but a formula, a table or a listing is never cut.
    """
    by_paragraph = layout.template.separator != "\n" and BLANK_LINE.search(text.strip())
    return SEGMENTERS["blank_line" if by_paragraph else "newline"].texts(text)


def open_results(path: Path, *, resume: bool) -> JsonLinesFile:
    """The file of results at `path`; with `resume`, with the rows that it already holds.

    Raises UsageError if it exists and `resume` is False, or if another process is writing to it.
    """
    if path.exists() and not resume:
        raise UsageError(f"{path} already exists: continue it with --resume, or name another file")
    return JsonLinesFile(path, kind="file of scores")
