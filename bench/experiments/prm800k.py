"""A reward model on PRM800K, from the raw files to the report: the work of `bench.prm800k`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from bench.experiments.adapters import check_replaceable, ship
from bench.experiments.corrupt import corrupted
from bench.experiments.recipe import Recipe, RecipeRequest
from prm.data import load
from prm.data.guard import Guard
from prm.data.labels import LabelledSolution, write_labels
from prm.data.rows import Row, json_lines
from prm.training.data import is_for_validation
from prm.training.request import VALIDATION_SHARE
from search.errors import UsageError

SHARES = (0.1, 0.3, 1.0)
"""Of the training problems of phase 1, for the learning curve."""

# Fields of `TrainRequest`, chosen on held-out training problems.
TEXT: dict[str, Any] = {"batch": 8, "optimizer": "muon", "beta2": 0.95, "weight_decay": 0.1, "every": 500}
LABELS: dict[str, Any] = {
    "batch": 4, "optimizer": "muon", "beta2": 0.95, "weight_decay": 0.05, "dropout": 0.2, "language": 0.3,
    "every_token": 0.5,
}  # fmt: skip
CORRUPTED: dict[str, Any] = {"epochs": 1.0, "batch": 16, "lr": 1e-3, "dropout": 0.1}
"""What differs from LABELS for corrupted steps."""
PRETRAINED: dict[str, Any] = {"batch": 1, "accumulate": 4, "every_token": 0.5, "patience": 10}
"""Instead of LABELS, on a pretrained model, which learns the labels of both phases at once."""
CORRUPTED_SHARE = 0.6
"""Of a solution's steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prm800kRequest(RecipeRequest):
    """See `RecipeRequest`. data: a folder that is searched for the files of PRM800K and other data sets.

    adapter: where the adapter of the reward model on all labels is written in the end, to be bundled; it
    needs a base.
    """

    work: Path = Path("runs/prm800k")
    hidden: int = 192
    layers: int = 4
    epochs: float = 1.0
    label_epochs: float = 2.0
    lr: float = 3e-3
    label_lr: float = 7e-4
    adapter: Path | None = None

    usual_members: ClassVar[int] = 2

    def _faults(self) -> Iterator[str]:
        yield from RecipeRequest._faults(self)  # `slots` makes another class, which super() does not find
        if self.adapter is not None:
            if self.base is None or self.number > 1:
                yield "--adapter is for one reward model on a pretrained model: name that with --base"
            try:
                check_replaceable(self.adapter)
            except UsageError as error:
                yield f"--adapter: {error}"


@dataclass(frozen=True, slots=True)
class Sources:
    """Data sets by purpose. phase1, phase2, tests: specifications for `prm.data.load`.

    phase1: labels of the same kind as the tests. phase2: labels of long, mostly right solutions.
    gsm8k, math: files of worked solutions, None if absent.
    """

    phase1: tuple[str, ...]
    phase2: tuple[str, ...]
    tests: tuple[str, ...]
    gsm8k: Path | None
    math: Path | None


def find_sources(folder: Path) -> Sources:
    """Search the folder. Raises UsageError if the labels or the test part of phase 1 are missing."""

    def first(pattern: str) -> Path | None:
        return next(iter(sorted(folder.rglob(pattern))), None)

    def labels(*names: str) -> tuple[str, ...]:
        return tuple(f"{_format(path)}:{path}" for name in names if (path := first(name)) is not None)

    phase1 = labels("phase1_train.jsonl")
    phase2 = labels("phase2_train.jsonl", "phase2_train_*_decoded.jsonl")
    test = first("phase1_test.jsonl")
    if not phase1 or test is None:
        raise UsageError(f"--data {folder}: must contain PRM800K's phase1_train.jsonl and phase1_test.jsonl")
    bench = [f"processbench:{path}" for path in sorted(folder.rglob("processbench/*.json"))]
    tests = (f"{_format(test)}:{test}", *bench)
    return Sources(phase1, phase2, tests, first("gsm8k/train.jsonl"), first("math/test.jsonl"))


def _format(path: Path) -> str:
    """The format of a file of PRM800K, a name in `prm.data.FORMATS`."""
    row = next(json_lines(path)).fields
    return "prm800k" if "labeler" in row else "prm800k-decoded" if "ratings" in row else "prm800k-regrouped"


def gather_text(sources: Sources, limit: int | None) -> Iterator[LabelledSolution]:
    """Worked solutions of training problems, and the paths of PRM800K without an error."""
    if sources.gsm8k is not None:
        yield from islice(load(f"worked:{sources.gsm8k}"), limit)
    if sources.math is not None:
        outside = {row.text("problem") for row in json_lines(sources.math) if not _is_in_math500(row)}
        solutions = (s for s in load(f"worked:{sources.math}") if s.question in outside)
        yield from (replace(s, split="train") for s in islice(solutions, limit))
    for spec in (*sources.phase1, *sources.phase2):
        paths = (s for s in load(spec) if not s.context and -1 not in s.labels and s.split != "test")
        yield from islice(paths, limit)


def _is_in_math500(row: Row) -> bool:
    """Raises UsageError if the row does not say: MATH-500 is the test part of PRM800K."""
    if not isinstance(kept := row.fields.get("in_math500"), bool):
        raise UsageError(
            f"{row.where}: in_math500 must be true or false: mark the problems of MATH-500, or leave MATH's "
            "test.jsonl out"
        )
    return kept


def held_out(labels: Iterable[LabelledSolution]) -> Iterator[LabelledSolution]:
    """The labels of problems that `prm.train` holds out for validation."""
    return (s for s in labels if is_for_validation(s.question, VALIDATION_SHARE))


def learning_curve(results: Sequence[dict[str, object]], models: dict[str, float], path: Path) -> None:
    """Plot balanced accuracy by share of the training problems, with intervals, for each data set.

    results: rows of the report. models: the share that each was trained on.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.4), constrained_layout=True)
    for data in dict.fromkeys(str(row["data"]) for row in results):
        points = []
        for row in results:
            if row["data"] == data and row["judge"] in models:
                measures: dict[str, dict[str, list[float]]] = row["measures"]  # type: ignore[assignment]
                points.append((models[str(row["judge"])], *measures["steps"]["balanced_accuracy"]))
        share, value, low, high = (list(column) for column in zip(*sorted(points), strict=True))
        around = [[abs(v - b) for v, b in zip(value, bound, strict=True)] for bound in (low, high)]
        axes.errorbar(share, value, yerr=around, marker=".", capsize=2, label=Path(data).name)
    axes.set(xscale="log", xlabel="share of the training problems", ylabel="balanced accuracy")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(request: Prm800kRequest) -> None:
    """Run the stages that are not done yet, and write the report. Raises UsageError before it trains."""
    request.validate()
    recipe, work = Recipe("bench.prm800k", request), request.work
    sources = find_sources(request.data)

    def labels(specs: Sequence[str]) -> Iterator[LabelledSolution]:
        for spec in specs:
            yield from islice(load(spec), request.limit)

    if next(held_out(Guard.known().filter(labels(sources.phase1))), None) is None:
        why = "" if request.limit is None else f"; --limit {request.limit} is too low"
        raise UsageError(f"phase 1 has no labels of a problem to validate with{why}")
    recipe.claim()

    def gathered(name: str, records: Iterable[LabelledSolution]) -> Path:
        if not (path := work / f"{name}.jsonl").exists():
            guard = Guard.known()
            written = write_labels(path, guard.filter(records))
            print(f"{name}: {written:,} solutions; {guard.describe().splitlines()[0]}")
        return path

    phase1 = gathered("phase1", labels(sources.phase1))
    phase2 = gathered("phase2", labels(sources.phase2)) if sources.phase2 else None
    both = [phase1] if phase2 is None else [phase1, phase2]
    trained, base, settings = both, "", PRETRAINED
    if request.base is None:
        trained, base, settings = [phase1], "corrupted", LABELS
        text = gathered("text", gather_text(sources, request.limit))
        recipe.read(text, **TEXT)
        made = gathered(base, (c for s in load(str(text)) for c in corrupted(s, CORRUPTED_SHARE)))
        recipe.train_prm(base, [made], **{**LABELS, **CORRUPTED})
        if phase2 is not None:
            recipe.train_prm("phase2", [phase2], base=base, **{**LABELS, "epochs": 1.0})
            base = "phase2"
    validation = gathered("validation", held_out(load(str(phase1))))
    models = {
        recipe.train_prm(f"prm-{round(100 * share)}", trained, base=base, **settings, share=share): share
        for share in SHARES
    }
    for model in models:
        recipe.calibrate(model, validation)
    data = {spec: list(islice(load(spec), request.limit)) for spec in sources.tests}
    results = recipe.report(list(models), data, [s for path in reversed(both) for s in load(str(path))])
    learning_curve(results, models, work / "report" / "learning-curve.png")
    if request.adapter is not None and request.base is not None:
        best = max(models, key=models.__getitem__)
        ship(Path(best) / "adapter", request.adapter, request.base)
