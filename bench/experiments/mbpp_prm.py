"""A reward model for code, from MBPP and its mutants to the report: the work of `bench.mbpp_prm`."""

from __future__ import annotations

import ast
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from textwrap import dedent

from bench.experiments.recipe import Recipe, RecipeRequest
from mutation.building import BuildRequest, build
from mutation.label import LabelParams
from mutation.parsing import source_lines
from prm.data.labels import LabelledSolution, read_labels, write_labels
from search.segment import SEGMENTERS

KINDS = {"all": LabelParams(), "assertions": LabelParams(exceptions=0.0, time_outs=0.0)}
"""The failures that give labels."""
LONGEST = 40
"""Most lines of a function of the training text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MbppRequest(RecipeRequest):
    """See `RecipeRequest`. data: the folder of mbpp.jsonl."""

    work: Path = Path("runs/mbpp-prm")
    hidden: int = 128
    layers: int = 4
    epochs: float = 2.0
    label_epochs: float = 2.0
    label_lr: float = 4e-4


def run(request: MbppRequest) -> None:
    """Run the stages that are not done yet, and write the report. Raises UsageError before it trains."""
    request.validate()
    recipe, work = Recipe("bench.mbpp_prm", request), request.work
    recipe.claim()
    labels = {(split, kind): _labels(request, split, kind) for split in ("train", "test") for kind in KINDS}
    train = list(read_labels(labels["train", "all"]))
    if request.base is None:
        text = work / "text.jsonl"
        if not text.exists():
            right = (solution for solution in train if min(solution.labels) > 0)
            written = write_labels(text, [*islice(library_functions(), request.limit), *right])
            print(f"text: {written:,} programs")
        recipe.read(text, batch=16)
    models = [recipe.train_prm(f"prm-{kind}", [labels["train", kind]], batch=2, patience=4) for kind in KINDS]
    data = {f"MBPP test, {kind}": list(read_labels(labels["test", kind])) for kind in KINDS}
    recipe.report(models, data, train)


def _labels(request: MbppRequest, split: str, kind: str) -> Path:
    """Label a split. All builds write to the same file, so that no program is run twice."""
    path = request.work / f"{split}-{kind}.jsonl"
    if not path.exists():
        made = request.work / "mbpp.jsonl"
        build(BuildRequest(request.data, made, split, request.limit, KINDS[kind]))
        os.replace(f"{made}.summary.json", path.with_suffix(".summary.json"))
        os.replace(made, path)
    return path


def library_functions() -> Iterator[LabelledSolution]:
    """Documented functions of Python's standard library as solutions: purpose and statements."""
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if not {"test", "tests", "site-packages", "lib2to3"} & set(path.relative_to(library).parts):
            yield from functions_of(path.read_text(encoding="utf-8", errors="replace"))


def functions_of(source: str) -> Iterator[LabelledSolution]:
    """The documented functions of a source text, without their docstrings; none if it does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    lines = source_lines(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (purpose := ast.get_docstring(node)) and len(node.body) > 1:
            docstring = node.body[0]
            before, after = docstring.lineno - 1, docstring.end_lineno or 0
            code = lines[node.lineno - 1 : before] + lines[after : node.end_lineno]
            if len(code) <= LONGEST and docstring.lineno > node.lineno:
                steps = tuple(SEGMENTERS["python"].split(dedent("".join(code))))
                question, labels = purpose.partition("\n\n")[0], (1,) * len(steps)
                yield LabelledSolution(question, steps, labels, "stdlib", "train", "nobody", outcome=True)
