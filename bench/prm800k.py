"""python -m bench.prm800k: a reward model on PRM800K, from the raw files to the report.

Stages, each kept in --work and gone on with where it was interrupted: `text` gathers the training
text (GSM8K's training solutions, MATH's outside MATH-500, PRM800K's right paths), `base` makes a
tokenizer and a small Llama with random weights from it, `sft` trains that on the text, `prm` trains a
3-class head and all below it on 10, 30 and 100 % of the labels and calibrates each on validation problems,
and `report` measures them on phase 1's test part and on ProcessBench beside the baselines. Nothing is
trained on a problem of an evaluation set.

--data DIR is searched for phase1_train.jsonl, phase1_test.jsonl, phase2_train.jsonl (as OpenAI ships
them, or regrouped), phase2_train_*_decoded.jsonl, gsm8k/train.jsonl, math/test.jsonl, processbench/*.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from bench.from_scratch import Recipe, options
from prm import command
from prm.data import load
from prm.data.guard import Guard
from prm.labels import LabelledSolution, write_labels
from prm.rows import json_lines
from prm.train import is_for_validation
from prm.train_options import VALIDATION_SHARE
from search.errors import UsageError

SHARES = (0.1, 0.3, 1.0)
READING = ("--batch", 8, "--optimizer", "muon", "--beta2", 0.95, "--weight-decay", 0.1, "--every", 500)
JUDGING = ("--batch", 4, "--optimizer", "muon", "--beta2", 0.95, "--weight-decay", 0.05, "--dropout", 0.2,
           "--language", 0.3, "--every-token", 0.5)  # fmt: skip
"""How the text and the labels are learnt; chosen on training problems that were held out."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Data sets by what they are for, as specifications (`prm.data.load`). text: worked solutions."""

    labels: tuple[str, ...]
    tests: tuple[str, ...]
    gsm8k: Path | None
    math: Path | None


def find_sources(folder: Path) -> Sources:
    """What the folder holds. Raises UsageError if the labels or the test part are not there."""

    def first(pattern: str) -> Path | None:
        return next(iter(sorted(folder.rglob(pattern))), None)

    labels = [
        f"{_shape(path)}:{path}"
        for name in ("phase1_train.jsonl", "phase2_train.jsonl", "phase2_train_*_decoded.jsonl")
        if (path := first(name)) is not None
    ]
    test = first("phase1_test.jsonl")
    if not labels or test is None:
        raise UsageError(f"--data {folder}: holds no phase1_train.jsonl and phase1_test.jsonl of PRM800K")
    bench = [f"processbench:{path}" for path in sorted(folder.rglob("processbench/*.json"))]
    tests = (f"{_shape(test)}:{test}", *bench)
    return Sources(tuple(labels), tests, first("gsm8k/train.jsonl"), first("math/test.jsonl"))


def _shape(path: Path) -> str:
    """In which of the three shapes a file of PRM800K is."""
    row = next(json_lines(path)).fields
    return "prm800k" if "labeler" in row else "prm800k-decoded" if "ratings" in row else "prm800k-regrouped"


def gather_text(sources: Sources, limit: int | None) -> Iterator[LabelledSolution]:
    """Worked solutions of training problems, and the paths of PRM800K that hold no error."""
    if sources.gsm8k is not None:
        yield from islice(load(f"worked:{sources.gsm8k}"), limit)
    if sources.math is not None:
        outside = {row.fields["problem"] for row in json_lines(sources.math) if not row.fields["in_math500"]}
        solutions = (s for s in load(f"worked:{sources.math}") if s.question in outside)
        yield from (replace(s, split="train") for s in islice(solutions, limit))
    for spec in sources.labels:
        paths = (s for s in load(spec) if not s.context and -1 not in s.labels and s.split != "test")
        yield from islice(paths, limit)


def learning_curve(found: Sequence[dict[str, object]], models: dict[str, float], path: Path) -> None:
    """Balanced accuracy by share of the labels, with intervals, on each data set."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.4), constrained_layout=True)
    for data in dict.fromkeys(str(row["data"]) for row in found):
        points = []
        for row in found:
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


def main() -> None:
    prog = "python -m bench.prm800k"
    asked = options(
        prog, __doc__, work="runs/prm800k", hidden=192, layers=4, epochs=3.0, lr=4e-3, label_epochs=2.0,
        label_lr=7e-4,
    ).parse_args()
    recipe = Recipe(asked)
    sources = find_sources(asked.data)
    work: Path = asked.work
    work.mkdir(parents=True, exist_ok=True)
    text, labels, validation = (work / f"{name}.jsonl" for name in ("text", "labels", "validation"))
    guard = Guard.known()
    if not text.exists():
        written = write_labels(text, guard.filter(gather_text(sources, asked.limit)))
        print(f"text: {written:,} solutions; {guard.describe()}")
    if not labels.exists():
        records = (s for spec in sources.labels for s in islice(load(spec), asked.limit))
        write_labels(labels, Guard.known().filter(records))
    tested = next(load(sources.tests[0])).source
    write_labels(validation, (
        s for s in load(str(labels)) if s.source == tested and is_for_validation(s.question, VALIDATION_SHARE)
    ))  # fmt: skip
    recipe.read(text, *READING)
    models = {
        recipe.judge(f"prm-{round(100 * share)}", labels, *JUDGING, "--share", share): share
        for share in SHARES
    }
    for model in models:
        recipe.calibrate(model, validation)
    data = {spec: list(islice(load(spec), asked.limit)) for spec in sources.tests}
    found = recipe.report(prog, list(models), data, list(load(str(labels))))
    learning_curve(found, models, work / "report" / "learning-curve.png")


if __name__ == "__main__":
    command.run(main)
