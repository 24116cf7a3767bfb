"""Scores of labelled solutions, kept in a file so that an interrupted evaluation can be resumed.

The first line holds what the scores depend on beside the solutions: the reward model's fingerprint and how it
was run. Each other line holds the scores of one solution, and a digest of its question and steps. Scores of
another model, or of other solutions, are never reused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prm.data.labels import LabelledSolution
from prm.reading.fingerprint import prm_fingerprint
from prm.scoring.batch import ScoredSolution, WorkFile, digest, open_results, score_all
from prm.scoring.scorers import Engine
from search.errors import UsageError
from search.types import StepScore, StepScorer


def scored_with(prm: str, engine: Engine, dtype: str, *, calibrated: bool = True) -> dict[str, str]:
    """What identifies the scores of a reward model. Raises UsageError."""
    weights = prm_fingerprint(prm, calibrated=calibrated)
    return {"prm_weights": weights, "engine": engine, "dtype": dtype}


class KeptScores:
    """The file of scores at `path`, which may not exist yet. Close it.

    records: whose scores it holds; it may hold those of the first records only.
    scored_with: what the scores depend on beside the records.
    Raises UsageError if it holds other scores, or if another process is writing to it.
    """

    def __init__(self, path: Path, records: Sequence[LabelledSolution], scored_with: Mapping[str, str]):
        self.records = records
        self._header = dict(scored_with)
        self._file = open_results(path, resume=True)
        try:
            self.rows = self._checked(self._file.rows)
            self.work = WorkFile(path, scored_with)
        except BaseException:
            self._file.close()
            raise

    def append(self, scored: ScoredSolution) -> None:
        """Write the scores of the next record."""
        if not self._file.rows:
            self._file.append([self._header])
            self._file.rows.append(self._header)
        record = self.records[len(self.rows)]
        row = {
            "of": digest(record.question, record.steps),
            "judgements": [asdict(score) for score in scored.scores],
            "error": scored.error,
        }
        self._file.append([row])
        self.rows.append(row)

    def close(self) -> None:
        self._file.close()
        self.work.close()

    def _checked(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows of `records`, without the header. Raises UsageError if they are not of these records."""
        header, *scored = rows or [self._header]
        path = self._file.path
        if "judgements" in header:
            raise UsageError(
                f"{path} does not say which model its scores are of (version 0.1.0 wrote it): "
                "delete it to score again, or write to another place"
            )
        if differing := [name for name, value in self._header.items() if header.get(name) != value]:
            parts = [f"{name} was {header.get(name)}, is {self._header[name]}" for name in differing]
            raise UsageError(
                f"{path} holds the scores of another reward model or configuration ({'; '.join(parts)}): "
                "delete it to score again, or write to another place"
            )
        for number, (row, record) in enumerate(zip(scored, self.records, strict=False), start=2):
            if row.get("of") != digest(record.question, record.steps):
                raise UsageError(
                    f"{path}, line {number}: is of another solution than the data hold there: "
                    "delete it to score again, or write to another place"
                )
        return list(scored[: len(self.records)])


async def score_records(scorer: StepScorer, kept: KeptScores) -> dict[int, list[StepScore]]:
    """Step scores by index of the record; records that could not be scored are left out.

    kept: those that it lacks are scored and added.
    """
    from rich.progress import Progress

    done = len(kept.rows)
    rest = ((record.question, record.steps) for record in kept.records[done:])
    with Progress(transient=True) as progress:
        task = progress.add_task("scoring", total=len(kept.records), completed=done)
        async for scored in score_all(scorer, rest, done, kept.work):
            kept.append(scored)
            progress.advance(task)
    return {
        index: [StepScore(**fields) for fields in row["judgements"]]
        for index, row in enumerate(kept.rows)
        if row["error"] is None
    }
