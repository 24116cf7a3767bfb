"""Build labelled solutions: run the mutants of references, label the steps, write labels and a summary."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from mutation.label import LabelParams, ProblemResult, balanced, contradictions, label
from mutation.mbpp import MBPP, SPLITS, CodeProblem, load_mbpp
from mutation.near import Near, Text, human_eval, near_duplicates
from mutation.own import load_own
from mutation.report import Summary, draw, print_summary, write_sample
from mutation.sandbox.isolation import cores
from mutation.sandbox.sandbox import Sandbox
from mutation.work import LIMITS, run_problems
from prm.data.labels import write_labels
from search.errors import UsageError
from search.terminal import widened


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """source: "mbpp", or a name for functions of one's own (see `mutation.own`). out: the file of labels.

    data: the folder with MBPP; the file or folder with one's own functions. split: which of their splits.
    limit: the first problems only. workers: processes. isolated: see `Sandbox`.
    sample: a Markdown file for 50 labelled programs, None for none.
    """

    data: Path
    out: Path
    split: str = "train"
    limit: int | None = None
    params: LabelParams = field(default_factory=LabelParams)
    workers: int = field(default_factory=cores)
    isolated: bool = True
    sample: Path | None = None
    source: str = MBPP


def build(request: BuildRequest) -> None:
    """Write OUT, OUT.summary.json and OUT.png, and print the summary. An interrupted call can be repeated.

    Raises UsageError before any program is run if the request is wrong or the sandbox cannot run.
    """
    notes = Console(stderr=True)
    _check_out(request.out)
    problems = _problems(request, notes)
    near = near_duplicates([_text(p) for p in problems], human_eval())
    excluded = {n.id for n in near}
    kept = [p for p in problems if p.id not in excluded]
    if not request.isolated:
        notes.print("not isolated: programs can do anything that you can do", style="yellow")
    Sandbox(LIMITS, workers=1, isolated=request.isolated).close()  # fails now rather than in a worker
    try:
        results = run_problems(
            kept, request.params, request.out, workers=request.workers, isolated=request.isolated
        )
    except KeyboardInterrupt:
        notes.print("\ninterrupted; the same command resumes the build")
        raise
    _write(request, results, near)


def _problems(request: BuildRequest, notes: Console) -> list[CodeProblem]:
    if request.source == MBPP:
        if request.split not in SPLITS or request.split == "prompt":
            raise UsageError(f"--split: {request.split} is no split of MBPP; use train, validation or test")
        loaded = load_mbpp(request.data)
    else:
        loaded, untested = load_own(request.data, request.source)
        if untested:
            notes.print(f"left out, as they have no test_name.py: {', '.join(untested)}", style="yellow")
    problems = [p for p in loaded if p.split == request.split][: request.limit]
    if not problems:
        splits = ", ".join(dict.fromkeys(p.split for p in loaded))
        raise UsageError(f"{request.data} has no problem of the split {request.split}, only of {splits}")
    return problems


def _check_out(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: cannot write {out}: {error.strerror}") from error
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out: cannot write {out}")


def _text(problem: CodeProblem) -> Text:
    return Text(problem.id, problem.question.partition(" Your code should pass")[0], problem.reference)


def _write(request: BuildRequest, results: Sequence[ProblemResult], near: Sequence[Near]) -> None:
    params, out = request.params, request.out
    kept = balanced([record for result in results for record in label(result, params)], params)
    solutions = [record.solution for record in kept]
    if conflicts := contradictions(solutions):
        question = conflicts[0][0]
        raise AssertionError(f"{len(conflicts)} prefixes have two labels; the first is of {question[:80]!r}")
    write_labels(out, solutions)
    summary = Summary.of(results, kept, near, params, request.split, request.isolated, request.source)
    path = out.with_name(out.name + ".summary.json")
    path.write_text(json.dumps(summary.as_json(), indent=1) + "\n", encoding="utf-8")
    draw(summary, out.with_name(out.name + ".png"))
    if request.sample is not None:
        write_sample(request.sample, kept, params.seed)
    print_summary(summary, widened(Console()))
