"""Data sets by format and place: `prm800k:phase1_train.jsonl`, `math-shepherd:peiyi9979/Math-Shepherd`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prm.data import others, prm800k
from prm.data.labels import LabelledSolution, from_fields
from prm.data.rows import parsed, read_rows
from search.errors import UsageError

Reader = Callable[[Mapping[str, Any], str], Iterable[LabelledSolution]]

FORMATS: Mapping[str, Reader] = {
    "labels": lambda row, split: [from_fields(dict(row))],
    "prm800k": prm800k.raw,
    "prm800k-regrouped": prm800k.regrouped,
    "prm800k-decoded": prm800k.decoded,
    "math-shepherd": others.math_shepherd,
    "trl": others.trl,
    "processbench": others.processbench,
    "prmbench": others.prmbench,
    "worked": others.worked,
}
"""By name: makes the records of one row of a data set. Its second argument is the split of the file."""

HELP = (
    "FORMAT:WHERE, or a file of labels in the project's own format. WHERE is a file (.jsonl, .jsonl.gz, "
    ".json or .parquet) or OWNER/NAME on the hub, followed by @SPLIT for a split other than train. "
    f"Formats: {', '.join(FORMATS)}."
)


def load(spec: str) -> Iterator[LabelledSolution]:
    """Stream the records of FORMAT:WHERE[@SPLIT], or of a file of labels in the project's own format.

    The split of the records is "train", unless @SPLIT, the name of the file or its rows give another.
    Raises UsageError at once if the format is unknown, and while streaming for a bad row.
    """
    name, colon, where = spec.partition(":")
    if not colon:
        name, where = "labels", spec
    if name not in FORMATS:
        raise UsageError(f"{spec}: unknown format {name!r}; the formats are {', '.join(FORMATS)}")
    where, _, split = where.partition("@") if not Path(where).exists() else (where, "", "")
    part = split or ("test" if "test" in Path(where).stem else "train")
    reader = FORMATS[name]
    return parsed(read_rows(where, part), lambda row: iter(reader(row, part)))


def load_all(specs: Iterable[str]) -> Iterator[LabelledSolution]:
    """Stream the records of several data sets, one after the other."""
    for spec in specs:
        yield from load(spec)
