"""Judging many solutions: in windows of like length, kept in a file line by line, resumable."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from prm.reading.layout import Layout
from search.errors import SearchError, UsageError
from search.lock import only_writer
from search.types import Problem, Step, StepScore, StepScorer, Stop

WINDOW = 512
"""Solutions judged together; they are sorted by length within, and written in their own order."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """judgements: [steps], empty if there is an error. error: why there are none."""

    scores: tuple[StepScore, ...]
    error: str | None


async def score_all(
    scorer: StepScorer, solutions: Iterable[tuple[str, Sequence[str]]], first: int = 0
) -> AsyncIterator[Verdict]:
    """A verdict for each (question, steps), in their order. A solution that fails has its error.

    first: the number of the first one, for error messages.
    """

    async def score(index: int, question: str, steps: Sequence[str]) -> Verdict:
        try:
            made = [Step(text, (), 0.0, Stop.STEP, 0) for text in steps]
            problem = Problem(f"solution {index + 1}", question)
            return Verdict(tuple(await scorer.score(problem, made)), None)
        except SearchError as error:
            return Verdict((), f"{type(error).__name__}: {error}")

    rest, at = iter(solutions), first
    while window := list(islice(rest, WINDOW)):
        # A scorer takes what is queued in its order: like lengths then share a forward pass.
        order = sorted(range(len(window)), key=lambda i: sum(map(len, window[i][1])))
        verdicts = await asyncio.gather(*(score(at + i, *window[i]) for i in order))
        by_place = dict(zip(order, verdicts, strict=True))
        for i in range(len(window)):
            yield by_place[i]
        at += len(window)


def split_solution(layout: Layout, text: str) -> list[str]:
    """The steps of a solution's text: lines, or paragraphs for a layout whose steps may hold lines."""
    by_paragraph = layout.separator != "\n" and "\n\n" in text.strip()
    parts = text.split("\n\n" if by_paragraph else "\n")
    return [part for part in parts if part.strip()] or [text]


class Kept:
    """A file of JSON lines that grows while work is done, and says what is done already.

    Raises UsageError if it exists and is not to be resumed, or if another process is writing to it.
    """

    def __init__(self, path: Path, *, resume: bool):
        if path.exists() and not resume:
            raise UsageError(f"{path} is there already: --resume goes on with it; or name another file")
        self.path = path
        self._file: BinaryIO | None = None  # made with the first line: what is refused before leaves none
        self.rows = list(self._whole_lines(self._opened())) if path.exists() else []

    def _opened(self) -> BinaryIO:
        if self._file is None:
            file = self.path.open("a+b")
            only_writer(file, self.path)
            self._file = file
        return self._file

    def _whole_lines(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        """The lines that are whole; a last one that was cut off, by a kill, is removed."""
        size = 0
        file.seek(0)
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line.decode("utf-8"))
            except ValueError as error:
                if line.endswith(b"\n"):
                    raise UsageError(f"{self.path}, line {number}: {error}") from error
                break
            if not line.endswith(b"\n"):
                break
            size += len(line)
            yield row
        file.truncate(size)

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        file = self._opened()
        file.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
        file.flush()
