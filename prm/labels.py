"""Labelled solutions: the one record that all reward-model data is read from and written to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from search.errors import UsageError


@dataclass(frozen=True, slots=True)
class LabelledSolution:
    """A solution, or the beginning of one, with a label on each step.

    labels: [len(steps)], -1 wrong, 0 correct but no progress, +1 correct and useful, as PRM800K
        means them (Lightman et al. 2023). Steps after the first -1 are left out.
    source: the data set, e.g. "prm800k/phase1". split: "train", "validation" or "test".
    produced_by: what labelled it, e.g. "human", "checker", "rollouts".
    """

    question: str
    steps: tuple[str, ...]
    labels: tuple[int, ...]
    source: str
    split: str
    produced_by: str

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.labels):
            raise UsageError(f"{len(self.steps)} steps but {len(self.labels)} labels: {self.question[:60]!r}")
        if not self.steps:
            raise UsageError(f"a solution without steps: {self.question[:60]!r}")
        if not set(self.labels) <= {-1, 0, 1}:
            raise UsageError(f"labels must be -1, 0 or 1, not {self.labels}: {self.question[:60]!r}")


def until_first_error(steps: Sequence[str], labels: Sequence[int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Steps and labels up to the first -1 and no further, where PRM800K's labellers stopped."""
    end = labels.index(-1) + 1 if -1 in labels else len(labels)
    return tuple(steps[:end]), tuple(labels[:end])


def write_labels(path: Path, solutions: Iterable[LabelledSolution]) -> int:
    """Write one JSON object a line. Returns how many."""
    n = 0
    with path.open("w", encoding="utf-8") as file:
        for solution in solutions:
            file.write(json.dumps(asdict(solution), ensure_ascii=False) + "\n")
            n += 1
    return n


def read_labels(path: Path) -> Iterator[LabelledSolution]:
    """Stream the records of a file. Raises UsageError naming the file and the line that is not one."""
    try:
        file = path.open(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    with file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                if not all(isinstance(row[name], list) for name in ("steps", "labels")):
                    raise TypeError("'steps' and 'labels' must be lists")
                yield LabelledSolution(
                    row["question"], tuple(row["steps"]), tuple(row["labels"]),
                    row["source"], row["split"], row["produced_by"],
                )
            except UsageError as error:
                raise UsageError(f"{path}, line {number}: {error}") from error
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{path}, line {number}: {type(error).__name__}: {error}") from error
