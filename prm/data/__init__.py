"""Data sets by format and place: `prm800k:phase1_train.jsonl`, `math-shepherd:peiyi9979/Math-Shepherd`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.data import others, prm800k
from prm.data.labels import LabelledSolution, from_fields, without_returns
from prm.data.left_out import LeftOut
from prm.data.rows import parsed, read_rows
from search.errors import UsageError

Reader = Callable[[dict[str, Any], str], Iterable[LabelledSolution]]


@dataclass(frozen=True, slots=True)
class Format:
    """A format of data sets.

    read: makes the records of one row; its second argument is the split of the file. example: a row.
    """

    read: Reader
    example: str


FORMATS: Mapping[str, Format] = {
    "labels": Format(
        lambda row, split: [from_fields(row, split)],
        '{"question": "What is 2 + 2?", "steps": ["2 + 2 = 4.", "The answer is 5."], "labels": [1, -1]}',
    ),
    "prm800k": Format(
        prm800k.raw,
        '{"generation": null, "is_quality_control_question": false, "is_initial_screening_question": false, '
        '"question": {"problem": "What is 2 + 2?"}, "label": {"finish_reason": "solution", "steps": '
        '[{"completions": [{"text": "2 + 2 = 4.", "rating": 1, "flagged": false}], '
        '"human_completion": null, "chosen_completion": 0}]}}',
    ),
    "prm800k-regrouped": Format(
        prm800k.regrouped,
        '{"problem": "What is 2 + 2?", "split_of_problem": "train", "steps": [{"chosen": 0, "completions": '
        '[{"text": "2 + 2 = 4.", "rating": 1}, {"text": "2 + 2 = 5.", "rating": -1}]}]}',
    ),
    "prm800k-decoded": Format(
        prm800k.decoded,
        '{"problem": "What is 2 + 2?", "split_of_problem": "train", "steps": ["2 + 2 = 4.", "So 5."], '
        '"ratings": [1, -1]}',
    ),
    "math-shepherd": Format(
        others.math_shepherd,
        '{"input": "What is 2 + 2? Step 1: 2 + 2 = 4. ки\\nStep 2: The answer is: 5 ки", '
        '"label": "What is 2 + 2? Step 1: 2 + 2 = 4. +\\nStep 2: The answer is: 5 -", "task": "GSM8K"}',
    ),
    "trl": Format(
        others.trl,
        '{"prompt": "What is 2 + 2?", "completions": ["2 + 2 = 4.", "The answer is 5."], '
        '"labels": [true, false]}',
    ),
    "processbench": Format(
        others.processbench,
        '{"id": "gsm8k-0", "problem": "What is 2 + 2?", "steps": ["2 + 2 = 4.", "The answer is 5."], '
        '"final_answer_correct": false, "label": 1}',
    ),
    "prmbench": Format(
        others.prmbench,
        '{"modified_question": "What is 2 + 2?", "modified_process": ["2 + 2 = 4.", "The answer is 5."], '
        '"error_steps": [2], "classification": "confidence"}',
    ),
    "worked": Format(
        others.worked,
        '{"question": "What is 2 + 2?", "answer": "2 + 2 = <<2+2=4>>4.\\n#### 4"}',
    ),
}  # fmt: skip
"""By name."""

HELP = (
    "FORMAT:WHERE, or a file of labels in the project's own format. WHERE is a file (.jsonl, .jsonl.gz, "
    ".json or .parquet) or OWNER/NAME on the hub, followed by @SPLIT for a split other than train. "
    f"Formats: {', '.join(FORMATS)}."
)
STRICT_HELP = "refuse data with a row that cannot be read; otherwise such rows are left out and counted"
_TEST = re.compile(r"(?<![a-z])test(?:s|set)?(?![a-z])", re.IGNORECASE)
"""In the names of files of test splits; "latest" and "contest" do not have it."""


def load(spec: str, *, strict: bool = False, left_out: LeftOut | None = None) -> Iterator[LabelledSolution]:
    """Stream the records of FORMAT:WHERE[@SPLIT], or of a file of labels in the project's own format.

    The split of the records is "train", unless @SPLIT, the name of the file or its rows give another.

    left_out: where the rows that cannot be read are counted; without it, they are listed on stderr at the
        end. strict: refuse them.
    Raises UsageError at once if the format is unknown; while streaming, if the file is damaged or, with
    `strict`, for a row that cannot be read; at the end, if there were only such rows.
    """
    name, colon, where = spec.partition(":")
    if not colon:
        name, where = "labels", spec
    if name not in FORMATS:
        raise UsageError(f"{spec}: unknown format {name!r}; the formats are {', '.join(FORMATS)}")
    where, _, split = where.partition("@") if not Path(where).exists() else (where, "", "")
    path = Path(where).expanduser()
    part = split or ("test" if path.is_file() and _TEST.search(path.stem) else "train")
    return _records(name, where, part, strict, left_out)


def _records(
    name: str, where: str, part: str, strict: bool, left_out: LeftOut | None
) -> Iterator[LabelledSolution]:
    read, found = FORMATS[name].read, False
    out = LeftOut() if left_out is None else left_out
    counted = None if strict else out
    hint = f"; a row of format {name} looks like this: {FORMATS[name].example}"
    try:
        for record in parsed(
            read_rows(where, part, left_out=counted), lambda row: read(row, part), source=where,
            left_out=counted, hint=hint,
        ):  # fmt: skip
            found = True
            yield without_returns(record)
        if not found and (reason := out.first_of(where)):
            raise UsageError(f"{reason}{hint}")
    finally:
        if left_out is None and found and out:
            print(out.describe(), file=sys.stderr)


def load_all(
    specs: Iterable[str], *, strict: bool = False, left_out: LeftOut | None = None
) -> Iterator[LabelledSolution]:
    """Stream the records of several data sets, one after the other."""
    for spec in specs:
        yield from load(spec, strict=strict, left_out=left_out)
