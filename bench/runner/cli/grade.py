"""python -m bench.grade: grade a file of answers."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from bench.grading.equality import How
from bench.grading.grade import Grade
from bench.grading.numeric import MAX_CHARS
from bench.report.stats import wilson
from bench.tasks import TEXT_TASKS
from bench.tasks.base import TextTask
from prm.data.rows import Row, json_lines
from search.command import exit_code
from search.errors import UsageError, reason

DESCRIPTION = f"""
Grade the answers of FILE, a JSONL with one {{"prediction": ..., "reference": ...}} per line. Writes each
line with "extracted" (the final answer found in the prediction), "correct", and "how" it was decided.

Prediction and reference may each be a whole solution or a bare answer. If the text states a final answer
(a box, "The answer is ...", "#### ..."), that counts. Otherwise a line of at most {MAX_CHARS} characters is
itself the answer, and of any other text the last mathematics of its last sentence counts (of GSM8K's, the
last number): "how" is then "fallback". With --strict such a text has no answer.
"""


@dataclass(frozen=True, slots=True)
class GradeRequest:
    """file: what to grade. task: a name of `TEXT_TASKS`. out: None is standard output.

    gold: `file` is the task's own data; its worked solutions are graded against its own answers.
    strict: a text that states no answer has none.
    """

    file: Path
    task: str
    out: Path | None
    gold: bool
    strict: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 2 if the request is wrong, before anything is written."""
    return exit_code(lambda: grade_file(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> GradeRequest:
    parser = argparse.ArgumentParser(prog="python -m bench.grade", description=DESCRIPTION)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument(
        "--task", required=True, choices=TEXT_TASKS, help="how answers are extracted and compared"
    )
    parser.add_argument("--out", metavar="PATH", type=Path, help="write here instead of to standard output")
    parser.add_argument(
        "--gold", action="store_true",
        help="FILE is a task's own data: grade its worked solutions against its own answers",
    )  # fmt: skip
    parser.add_argument(
        "--strict", action="store_true",
        help="count only answers that the text states, not the last mathematics of its last sentence",
    )  # fmt: skip
    args = parser.parse_args(arguments)
    return GradeRequest(args.file, args.task, args.out, args.gold, args.strict)


def grade_file(request: GradeRequest) -> None:
    """Grade every line; a summary goes to standard error. Raises UsageError before anything is written."""
    task = TEXT_TASKS[request.task]()
    task.strict = request.strict
    rows = list(json_lines(request.file))
    pairs = _gold_pairs(task, request.file, rows) if request.gold else [_pair(row) for row in rows]
    with ExitStack() as stack:
        out = stack.enter_context(_create(request.out, request.file)) if request.out else sys.stdout
        grades = _write(out, zip(rows, _progress(pairs), strict=True), task)
    print(summary(grades), file=sys.stderr)


def bare_answer(task: TextTask, text: str) -> str | None:
    """The text itself if it is one short line that is an answer."""
    line = text.strip()
    is_short = line and "\n" not in line and len(line) <= MAX_CHARS
    return line if is_short and (task.is_bare(line) or not task.fallback(line)) else None


def summary(grades: Sequence[Grade]) -> str:
    """One line: how many are correct, with the Wilson 95% interval, and what decided."""
    n, correct = len(grades), sum(grade.correct for grade in grades)
    low, high = wilson(correct, n)
    by_how = Counter((grade.how, "correct" if grade.correct else "wrong") for grade in grades)
    decided = ", ".join(f"{count} {verdict} ({how})" for (how, verdict), count in by_how.most_common())
    return f"{correct} of {n} correct, {correct / n:.2%} (95% interval {low:.2%} to {high:.2%}): {decided}"


def _write(out: TextIO, pairs: Iterable[tuple[Row, tuple[str, str]]], task: TextTask) -> list[Grade]:
    grades = []
    for row, (prediction, reference) in pairs:
        stated = task.stated(prediction) or bare_answer(task, prediction)
        extracted = stated or (None if task.strict else task.fallback(prediction))
        grade = task.compare(extracted, _reference(task, reference))
        if extracted and not stated:
            grade = replace(grade, how=How.FALLBACK)
        grades.append(grade)
        line = row.fields | {"extracted": extracted, "correct": grade.correct, "how": grade.how}
        out.write(json.dumps(line) + "\n")
    out.flush()
    return grades


def _reference(task: TextTask, text: str) -> str:
    """The final answer of a reference, which may be a solution or a bare answer, also of several lines."""
    if answer := task.stated(text) or bare_answer(task, text):
        return answer
    return text if task.is_bare(text) else task.fallback(text) or text


def _pair(row: Row) -> tuple[str, str]:
    prediction = row.fields.get("prediction")
    if not isinstance(prediction, str):  # empty is an answer too: a wrong one
        raise UsageError(f"{row.where}: 'prediction' must be a string")
    return prediction, row.text("reference")


def _gold_pairs(task: TextTask, file: Path, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Each worked solution and the reference that the task takes for it."""
    references = [example.reference for example in task.examples(file, None)]
    return [
        (row.text("solution", "answer"), reference) for row, reference in zip(rows, references, strict=True)
    ]


def _create(path: Path, source: Path) -> TextIO:
    if path.resolve() == source.resolve():
        raise UsageError(f"--out {path} is the file to grade; give another")
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {reason(error)}") from error


def _progress(pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    if not sys.stderr.isatty():
        yield from pairs
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(pairs, "grading", console=Console(stderr=True), transient=True)
