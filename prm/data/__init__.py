"""Data sets by name and place: `prm800k:phase1_train.jsonl`, `math-shepherd:peiyi9979/Math-Shepherd`."""

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
"""From one row of a data set to its records; the second argument is the split of the file."""

HELP = (
    "FORMAT:WHERE, or a file of the project's own labels. WHERE is a file (.jsonl, .jsonl.gz, .json, "
    f".parquet) or OWNER/NAME on the hub, with @SPLIT behind it if not train. Formats: {', '.join(FORMATS)}."
)


def load(spec: str) -> Iterator[LabelledSolution]:
    """Stream the records of FORMAT:WHERE[@SPLIT]; without FORMAT:, a file of the project's own.

    The records' split is "train" unless @SPLIT, the file's name or its rows say otherwise.
    Raises UsageError: an unknown format at once, a bad row with its file and line when it comes.
    """
    name, colon, where = spec.partition(":")
    if not colon:
        name, where = "labels", spec
    if name not in FORMATS:
        raise UsageError(f"{spec}: unknown format {name!r}; there is {', '.join(FORMATS)}")
    where, _, split = where.partition("@") if not Path(where).exists() else (where, "", "")
    said = split or ("test" if "test" in Path(where).stem else "train")
    reader = FORMATS[name]
    return parsed(read_rows(where, said), lambda row: iter(reader(row, said)))


def load_all(specs: Iterable[str]) -> Iterator[LabelledSolution]:
    """The records of several data sets, one after the other."""
    for spec in specs:
        yield from load(spec)
