"""python -m bench.mbpp_prm: a reward model for code, from MBPP and its mutants to the report.

Stages, each kept in --work and gone on with where it was interrupted: `labels` changes the reference
solutions of MBPP's training and test split and labels their steps by the tests (`mutation.build`), once with
every kind of failure and once with failed assertions alone; `text` gathers programs to read, functions of
Python's standard library and the right solutions among the labels; `base` makes a tokenizer and a small
Llama with random weights; `sft` trains it on the text; `prm` trains a 3-class head and all below it on
either set of labels; `report` measures both on the test split, beside the baselines.
"""

from __future__ import annotations

import ast
import os
import sysconfig
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from textwrap import dedent

from bench.experiments.from_scratch import Recipe, options
from mutation import build
from prm.data.labels import LabelledSolution, read_labels, write_labels
from search import command
from search.segment import SEGMENTERS

KINDS = {"all": (), "assertions": ("--exceptions", "0", "--time-outs", "0")}
"""Which failures give labels, as options of `mutation.build`."""
LONGEST = 40
"""Lines of a function that is read."""


def main() -> None:
    prog = "python -m bench.mbpp_prm"
    asked = options(
        prog, __doc__, work="runs/mbpp-prm", hidden=128, layers=4, epochs=2.0, label_epochs=2.0,
        label_lr=4e-4,
    ).parse_args()
    recipe = Recipe(asked)
    work: Path = asked.work
    work.mkdir(parents=True, exist_ok=True)
    labels = {
        (split, kind): _labels(work, asked.data, split, kind, asked.limit)
        for split in ("train", "test") for kind in KINDS
    }  # fmt: skip
    learnt = list(read_labels(labels["train", "all"]))
    text = work / "text.jsonl"
    if not text.exists():
        right = (solution for solution in learnt if min(solution.labels) > 0)
        written = write_labels(text, [*islice(library_functions(), asked.limit), *right])
        print(f"text: {written:,} programs")
    recipe.read(text, "--batch", 16)
    how = ("--batch", 2, "--patience", 4)
    models = [recipe.train_prm(f"prm-{kind}", labels["train", kind], *how) for kind in KINDS]
    data = {f"MBPP test, {kind}": list(read_labels(labels["test", kind])) for kind in KINDS}
    recipe.report(prog, models, data, learnt)


def _labels(work: Path, data: Path, split: str, kind: str, limit: int | None) -> Path:
    """The labels of a split. All are made in one place, so that no program is run twice."""
    path = work / f"{split}-{kind}.jsonl"
    if not path.exists():
        made = work / "mbpp.jsonl"
        some: Sequence[str] = () if limit is None else ("--limit", str(limit))
        if code := build.main(
            ["--data", str(data), "--out", str(made), "--split", split, *KINDS[kind], *some]
        ):
            raise SystemExit(code)
        os.replace(f"{made}.summary.json", path.with_suffix(".summary.json"))
        os.replace(made, path)
    return path


def library_functions() -> Iterator[LabelledSolution]:
    """Documented functions of Python's standard library: what they are for, and their statements."""
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if not {"test", "tests", "site-packages", "lib2to3"} & set(path.relative_to(library).parts):
            yield from functions_of(path.read_text(encoding="utf-8", errors="replace"))


def functions_of(source: str) -> Iterator[LabelledSolution]:
    """The documented functions in a file's text, the documentation taken out; none if it does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    lines = source.splitlines(keepends=True)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (said := ast.get_docstring(node)) and len(node.body) > 1:
            note = node.body[0]
            code = lines[node.lineno - 1 : note.lineno - 1] + lines[note.end_lineno or 0 : node.end_lineno]
            if len(code) <= LONGEST and note.lineno > node.lineno:
                steps = tuple(SEGMENTERS["python"].split(dedent("".join(code))))
                question, labels = said.partition("\n\n")[0], (1,) * len(steps)
                yield LabelledSolution(question, steps, labels, "stdlib", "train", "nobody", outcome=True)


if __name__ == "__main__":
    command.run(main)
