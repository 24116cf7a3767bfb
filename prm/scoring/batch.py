"""Scoring many solutions: concurrently, in windows, resumable from a file of results."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
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


def digest(question: str, steps: Sequence[str]) -> str:
    """What identifies a solution."""
    return blake2b(json.dumps([question, steps]).encode(), digest_size=8).hexdigest()


class WorkFile:
    """`RESULTS.work`: scores whose turn in the file of results has not come. Close it.

    A kill or a lost server so costs no more than the calls in flight. Errors are not kept.

    results: the file of results. scored_with: what scores depend on beside the solutions; those of anything
        else are ignored.
    Raises UsageError if another process is writing to it.
    """

    def __init__(self, results: Path, scored_with: Mapping[str, str]):
        self._path, self._scored_with = results.with_name(f"{results.name}.work"), dict(scored_with)
        self._file = self._opened()
        self._scores = {
            row["of"]: tuple(StepScore(**fields) for fields in row["judgements"])
            for row in self._file.rows
            if self._scored_with.items() <= row.items()
        }

    def scores(self, question: str, steps: Sequence[str]) -> tuple[StepScore, ...] | None:
        """The scores of a solution, None if they are not here."""
        return self._scores.get(digest(question, steps))

    def add(self, question: str, steps: Sequence[str], scores: Sequence[StepScore]) -> None:
        judgements = [asdict(score) for score in scores]
        self._file.append([{**self._scored_with, "of": digest(question, steps), "judgements": judgements}])

    def clear(self) -> None:
        """Delete it: the file of results has all of it."""
        self.close()
        self._path.unlink(missing_ok=True)
        self._file, self._scores = self._opened(), {}

    def close(self) -> None:
        self._file.close()

    def _opened(self) -> JsonLinesFile:
        return JsonLinesFile(self._path, kind="file of scores")


async def score_all(
    scorer: StepScorer, solutions: Iterable[tuple[str, Sequence[str]]], first: int, work: WorkFile
) -> AsyncIterator[ScoredSolution]:
    """Score each (question, steps), in order. A solution that cannot be scored has an error.

    Raises UnavailableError if the reward model is lost.

    first: index of the first solution, for error messages. work: of the file that the caller writes each
        result to before it asks for the next.
    """

    async def score(index: int, question: str, texts: Sequence[str]) -> ScoredSolution:
        if (known := work.scores(question, texts)) is not None:
            return ScoredSolution(known, None)
        try:
            steps = [Step(text, (), 0.0, Stop.STEP, 0) for text in texts]
            scores = await scorer.score(Problem(f"solution {index + 1}", question), steps)
        except UnavailableError:
            raise
        except SearchError as error:
            return ScoredSolution((), f"{type(error).__name__}: {error}")
        work.add(question, texts, scores)
        return ScoredSolution(tuple(scores), None)

    rest, start = iter(solutions), first
    while window := list(islice(rest, WINDOW)):
        # A scorer batches what is queued in order, so solutions of similar length share a forward pass.
        order = sorted(range(len(window)), key=lambda i: sum(map(len, window[i][1])))
        tasks = {i: asyncio.create_task(score(start + i, *window[i])) for i in order}
        try:
            for i in range(len(window)):
                yield await tasks[i]
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        work.clear()
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
