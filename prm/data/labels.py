"""Labelled solutions: the one format of all data for reward models."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from prm.data.rows import json_lines, parsed
from search.errors import UsageError


@dataclass(frozen=True, slots=True)
class LabelledSolution:
    """A solution, or a prefix of one, with a label for each step.

    labels: -1 wrong, 0 right but no progress, +1 right and useful, as in PRM800K (Lightman et al. 2023),
        [len(steps)]. If labelling stopped at the first error, the steps end there too.
    source: the data set, e.g. "prm800k/phase1". split: "train", "validation" or "test".
    produced_by: the origin of the labels, e.g. "human", "checker", "rollouts".
    values: soft labels in [0, 1], the share of rollouts after the step that reach the right answer
        (Math-Shepherd's soft estimation), [len(steps)] or empty.
    context: indices of steps whose labels do not count, either because they count in another record or
        because the step has none (a step written by a labeller; its label here is +1).
    rest: the unlabelled remaining steps.
    outcome: whether the final answer is right; None if unknown or if `steps` and `rest` are not a complete
        solution.

    Raises UsageError if the fields contradict each other.
    """

    question: str
    steps: tuple[str, ...]
    labels: tuple[int, ...]
    source: str
    split: str
    produced_by: str
    values: tuple[float, ...] = ()
    context: tuple[int, ...] = ()
    rest: tuple[str, ...] = ()
    outcome: bool | None = None

    def __post_init__(self) -> None:
        at = f"{self.question[:60]!r}"
        if len(self.steps) != len(self.labels):
            raise UsageError(f"{len(self.steps)} steps but {len(self.labels)} labels: {at}")
        if not self.steps:
            raise UsageError(f"a solution without steps: {at}")
        if not all(type(label) is int and -1 <= label <= 1 for label in self.labels):
            raise UsageError(f"labels must be -1, 0 or 1, not {self.labels}: {at}")
        if not all(isinstance(text, str) for text in (self.question, *self.steps, *self.rest)):
            raise UsageError(f"question and steps must be text: {at}")
        if self.values and len(self.values) != len(self.steps):
            raise UsageError(f"{len(self.steps)} steps but {len(self.values)} values: {at}")
        if not all(isinstance(value, int | float) and 0 <= value <= 1 for value in self.values):
            raise UsageError(f"values must lie between 0 and 1: {self.values}: {at}")
        if not set(self.context) <= set(range(len(self.steps))):
            raise UsageError(f"context has indices that are no steps: {self.context}: {at}")

    @property
    def counted(self) -> list[int]:
        """Indices of the steps whose labels count."""
        return [i for i in range(len(self.steps)) if i not in self.context]


_OPTIONAL = {field.name: field.default for field in fields(LabelledSolution) if field.default is not MISSING}


def until_first_error(steps: Sequence[str], labels: Sequence[int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Steps and labels up to and including the first -1, where PRM800K's labellers stopped."""
    end = labels.index(-1) + 1 if -1 in labels else len(labels)
    return tuple(steps[:end]), tuple(labels[:end])


def write_labels(path: Path, solutions: Iterable[LabelledSolution]) -> int:
    """Write one JSON object per line, without fields at their defaults. Returns their number.

    The file is replaced when everything is written: if `solutions` raises, nothing changes.
    """
    n = 0
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            for solution in solutions:
                file.write(json.dumps(to_fields(solution), ensure_ascii=False) + "\n")
                n += 1
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return n


def to_fields(solution: LabelledSolution) -> dict[str, Any]:
    """The JSON fields of a record, without those that have their default."""
    named = {field.name: getattr(solution, field.name) for field in fields(LabelledSolution)}
    return {name: v for name, v in named.items() if name not in _OPTIONAL or v != _OPTIONAL[name]}


def read_labels(path: Path) -> Iterator[LabelledSolution]:
    """Stream the records of a file, which may be empty. Raises UsageError, naming the file and the line."""
    return parsed(json_lines(path, allow_empty=True), lambda row: [without_returns(from_fields(row))])


def from_fields(row: dict[str, Any], split: str = "train") -> LabelledSolution:
    """The record with these JSON fields. Raises KeyError, TypeError or UsageError.

    Needed are "question" (or "problem"), "steps" and "labels". split: of a record that does not say.
    """
    lists = {name: row.get(name, []) for name in ("values", "context", "rest")}
    lists |= {name: row[name] for name in ("steps", "labels")}
    if not isinstance(row["steps"], list) or not isinstance(row["labels"], list):
        raise TypeError("'steps' and 'labels' must be lists")
    if bad := [name for name, value in lists.items() if not isinstance(value, list)]:
        raise TypeError(f"{bad[0]!r} must be a list")
    lists["labels"] = list(map(_label, row["labels"]))
    return LabelledSolution(
        row["question"] if "question" in row else row["problem"], source=row.get("source", "unknown"),
        split=row.get("split", split), produced_by=row.get("produced_by", "unknown"),
        outcome=row.get("outcome"), **{name: tuple(value) for name, value in lists.items()},
    )  # fmt: skip


def without_returns(solution: LabelledSolution) -> LabelledSolution:
    """The record with no carriage return at the end of a step, where files with CRLF leave one."""
    texts = (*solution.steps, *solution.rest)
    if not any(text.endswith(("\r", "\r\n")) for text in texts):
        return solution
    steps, rest = (tuple(text.rstrip("\r\n") for text in part) for part in (solution.steps, solution.rest))
    return replace(solution, steps=steps, rest=rest)


def _label(value: Any) -> Any:
    """A label as a whole number: some tools write 1.0, and true or false where there are two classes."""
    if isinstance(value, bool):
        return 1 if value else -1
    return int(value) if isinstance(value, float) and value.is_integer() else value
