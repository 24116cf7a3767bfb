"""BIG-Bench Hard (Suzgun et al. 2022, arXiv:2210.09261): 27 tasks, each with three worked examples.

https://github.com/suzgunmirac/BIG-Bench-Hard: bbh/TASK.json holds {"canary": ..., "examples": [{"input": ...,
"target": ...}]}, and cot-prompts/TASK.txt a canary, a line of dashes, an instruction and the worked examples,
each "Q: ...", "A: Let's think step by step.", and reasoning that ends with "So the answer is ...". The same,
put together, is a line of Eurus's file: {"task_name": ..., "text": ..., "reference": ...}. The hub has no
worked examples.

An answer is what follows "the answer is", compared without regard to case, to marks around it ("**Yes.**")
and to a reason behind it ("No, because ..."). (Eurus's evaluation looks for the reference anywhere in the
text, where "no" is also found in "know".)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from bench.grading.extract import last_box
from bench.grading.grade import Grade
from bench.tasks.base import Example, TextTask
from bench.tasks.prompts import eurus
from bench.tasks.sources import rows_under
from prm.data.rows import json_lines
from search.errors import UsageError, reason
from search.prompts import Prompt
from search.types import Problem

STATED = re.compile(r"\bthe answer is:?", re.IGNORECASE)
END = re.compile(r"\.[*$\"'`]*(?:\s|$)|\n")
MARKS = "*$\"'` "
OPTION = re.compile(r"\(([a-z])\)", re.IGNORECASE)
CHOSEN = re.compile(r"\(([a-z])\)|([a-z])(?:\s*[).:]|\s*$)", re.IGNORECASE)
"""An option in brackets, or a bare letter with nothing behind it but a mark: "a red ball" is none."""
NAMED = re.compile(r"option:?\s+", re.IGNORECASE)
TRUTH = re.compile(r"(yes|no|true|false|valid|invalid)(?:[\s*]*[,;:(]|\s+(?:because|since)\b)", re.IGNORECASE)
"""A yes or no with a reason behind it."""
RULE = "-----"


class Bbh(TextTask):
    """`data`: a file with lines as Eurus's, or a clone of the authors' repository."""

    name = "bbh"
    test_only = True
    prompts: Mapping[str, Prompt] = MappingProxyType({
        "few-shot": Prompt("{question}", stop=("\nQ:",)),
        "eurus": eurus.BBH,
        "chat": Prompt("{question}", chat=True, stop=("\nQ:",)),
    })  # fmt: skip

    def examples(self, data: Path | None, limit: int | None) -> list[Example]:
        """The questions with their worked examples, grouped by task. Raises UsageError."""
        if data is None:
            raise UsageError(
                "the task bbh needs the worked examples, which the hub lacks: give a clone of "
                "github.com/suzgunmirac/BIG-Bench-Hard by --data PATH"
            )
        return list(islice(_of_folder(data) if data.is_dir() else _of_file(data), limit))

    def stated(self, text: str) -> str | None:
        """What follows the last "the answer is", or else the last box."""
        *before, after = STATED.split(text)
        if not before:
            return last_box(text)
        clause = END.split(after.strip(), maxsplit=1)[0]
        return _bare(last_box(clause) or clause) or None

    def equal(self, a: str, b: str) -> bool:
        """True if both are the same text, the same option or the same yes or no, without regard to case."""
        a, b = _bare(a).casefold(), _bare(b).casefold()
        if OPTION.match(a) or OPTION.match(b):
            return _option(a) == _option(b) is not None
        return _truth(a) == _truth(b)

    def compare(self, answer: str | None, reference: str) -> Grade:
        """As `equal`."""
        return Grade(answer is not None and self.equal(answer, reference), "exact")


def _bare(text: str) -> str:
    """An answer without marks around it and without the word "option"."""
    text = text.strip(MARKS)
    while text.endswith("."):
        text = text[:-1].rstrip(MARKS)
    return NAMED.sub("", text, count=1).lstrip(MARKS) if NAMED.match(text) else text


def _option(text: str) -> str | None:
    """The letter of an option; None if the text names none."""
    chosen = CHOSEN.match(text)
    return None if chosen is None else chosen[1] or chosen[2]


def _truth(text: str) -> str:
    """A yes or no without the reason behind it; other texts as they are."""
    found = TRUTH.match(text)
    return found[1] if found else text


def _of_file(path: Path) -> Iterator[Example]:
    for row in json_lines(path):
        text = row.text("text").strip()
        if eurus.LEAD not in text:
            raise UsageError(f"{row.where}: 'text' must have worked examples, with {eurus.LEAD!r}")
        problem = Problem(f"bbh/{row.number}", text)
        yield Example(problem, row.text("reference").strip(), row.text("task_name"))


def _of_folder(folder: Path) -> Iterator[Example]:
    files = sorted((folder / "bbh").glob("*.json"))
    if not files:
        raise UsageError(f"{folder}: there is no bbh/*.json: name a clone of BIG-Bench-Hard by --data")
    for path in files:
        shots = _shots(folder / "cot-prompts" / f"{path.stem}.txt")
        for row in rows_under(path, "examples"):
            text = f"{shots}\n\nQ: {row.text('input').strip()}\n{eurus.LEAD}"
            problem = Problem(f"bbh/{path.stem}/{row.number}", text)
            yield Example(problem, row.text("target").strip(), path.stem)


def _shots(path: Path) -> str:
    """The instruction and the worked examples."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the worked examples in {path}: {reason(error)}") from error
    _, rule, shots = text.partition(f"{RULE}\n")
    if not rule or eurus.LEAD not in shots:
        raise UsageError(f"{path}: must have a line {RULE!r}, then examples with {eurus.LEAD!r}")
    return shots.strip()
