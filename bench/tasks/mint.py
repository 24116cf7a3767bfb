"""MINT (Wang et al. 2024, arXiv:2309.10691): problems of other benchmarks, to be solved in several turns.

https://github.com/xingyaoww/mint-bench: data/processed/SOURCE/test_prompts.json holds JSON lines with "id",
"prompt" and "reference"; `bench.tasks.mint_math` and `bench.tasks.mint_code` say what they are by source.

A final answer stands between <solution> and </solution>, code to run between <execute> and </execute>.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.tasks.sources import file_in
from prm.data.rows import Row, json_lines
from search.errors import UsageError

FILE = "test_prompts.json"
PROCESSED = Path("data", "processed")
"""Where a clone of the authors' repository has the sources."""
SOLUTION = re.compile(r"<solution>((?:(?!<solution>).)*?)(?:</solution>|\Z)", re.DOTALL | re.IGNORECASE)


def mint_rows(
    task: str, data: Path | None, sources: Sequence[str], alone: Sequence[str] = ()
) -> Iterator[tuple[str, Row]]:
    """The rows of a task's problems, each with the name of its source.

    data: a clone of the authors' repository or its data/processed, with all of `sources`; or the file of one
        source, or the folder that holds it, which is named for the source. alone: sources that are read in
        the latter way only.
    Raises UsageError.
    """
    if data is None:
        raise UsageError(
            f"the task {task} needs the authors' problems: give a clone of github.com/xingyaoww/mint-bench "
            "by --data PATH"
        )
    if data.is_dir() and not (data / FILE).exists():
        folder = data / PROCESSED if (data / PROCESSED).is_dir() else data
        files = [folder / source / FILE for source in sources]
    else:
        files = [file_in(data, FILE)]
    for file in files:
        source = file.absolute().parent.name
        if source not in (*sources, *alone):
            known = ", ".join((*sources, *alone))
            raise UsageError(f"{file}: must be in a folder that is named for its source, one of {known}")
        for row in json_lines(file_in(file, FILE)):
            yield source, row


def name_of(source: str, row: Row) -> str:
    """The id of a row's problem, such as mint/math/12."""
    return f"mint/{source}/{row.fields.get('id', row.number)}"


def solution_in(text: str) -> str | None:
    """What the last pair of solution tags encloses; None if there is none with more than white space in it.

    A pair that is not closed goes on to the end.
    """
    found = [match[1] for match in SOLUTION.finditer(text) if match[1].strip()]
    return found[-1] if found else None
