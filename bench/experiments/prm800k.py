"""python -m bench.prm800k: a reward model on PRM800K, from the raw files to the report.

Stages, each kept in --work and gone on with where it was interrupted: `text` gathers the training
text (GSM8K's training solutions, MATH's outside MATH-500, PRM800K's right paths), `base` makes a
tokenizer from it and --members small Llamas with random weights, `sft` trains them on the text, `corrupted`
trains 3-class heads and all below them to tell the text's steps from steps made wrong by rule, `phase2`
goes on with the labels of phase 2, `prm` with 10, 30 and 100 % of those of phase 1, what the members say
averaged and calibrated on validation problems, and `report` measures that on phase 1's test part and on
ProcessBench beside the baselines. Nothing is trained on a problem of an evaluation set.

--data DIR is searched for phase1_train.jsonl, phase1_test.jsonl, phase2_train.jsonl (as OpenAI ships
them, or regrouped), phase2_train_*_decoded.jsonl, gsm8k/train.jsonl, math/test.jsonl, processbench/*.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from bench.experiments.corrupt import corrupted
from bench.experiments.from_scratch import Recipe, options
from prm.data import load
from prm.data.guard import Guard
from prm.data.labels import LabelledSolution, write_labels
from prm.data.rows import json_lines
from prm.training.options import VALIDATION_SHARE
from prm.training.train import is_for_validation
from search import command
from search.errors import UsageError

SHARES = (0.1, 0.3, 1.0)
READING = ("--batch", 8, "--optimizer", "muon", "--beta2", 0.95, "--weight-decay", 0.1, "--every", 500)
JUDGING = ("--batch", 4, "--optimizer", "muon", "--beta2", 0.95, "--weight-decay", 0.05, "--dropout", 0.2,
           "--language", 0.3, "--every-token", 0.5)  # fmt: skip
CORRUPTED = ("--epochs", 1, "--batch", 16, "--lr", 1e-3, "--dropout", 0.1)
"""How the text, the labels and, otherwise than those, steps made wrong by rule are learnt; chosen on
training problems that were held out."""
CORRUPTED_SHARE = 0.6
"""Of a solution's steps."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Data sets by what they are for, as specifications (`prm.data.load`). text: worked solutions.

    phase1: labels of what the tests are like. phase2: of long solutions, most of whose steps are right.
    """

    phase1: tuple[str, ...]
    phase2: tuple[str, ...]
    tests: tuple[str, ...]
    gsm8k: Path | None
    math: Path | None


def find_sources(folder: Path) -> Sources:
    """What the folder holds. Raises UsageError if the labels or the test part are not there."""

    def first(pattern: str) -> Path | None:
        return next(iter(sorted(folder.rglob(pattern))), None)

    def labels(*names: str) -> tuple[str, ...]:
        return tuple(f"{_shape(path)}:{path}" for name in names if (path := first(name)) is not None)

    phase1 = labels("phase1_train.jsonl")
    phase2 = labels("phase2_train.jsonl", "phase2_train_*_decoded.jsonl")
    test = first("phase1_test.jsonl")
    if not phase1 or test is None:
        raise UsageError(f"--data {folder}: holds no phase1_train.jsonl and phase1_test.jsonl of PRM800K")
    bench = [f"processbench:{path}" for path in sorted(folder.rglob("processbench/*.json"))]
    tests = (f"{_shape(test)}:{test}", *bench)
    return Sources(phase1, phase2, tests, first("gsm8k/train.jsonl"), first("math/test.jsonl"))


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
    for spec in (*sources.phase1, *sources.phase2):
        paths = (s for s in load(spec) if not s.context and -1 not in s.labels and s.split != "test")
        yield from islice(paths, limit)


def held_out(labels: Iterable[LabelledSolution]) -> Iterator[LabelledSolution]:
    """Those of problems that `prm.train` keeps to validate with."""
    return (s for s in labels if is_for_validation(s.question, VALIDATION_SHARE))


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
        prog, __doc__, work="runs/prm800k", hidden=192, layers=4, members=2, epochs=1.0, lr=3e-3,
        label_epochs=2.0, label_lr=7e-4,
    ).parse_args()
    recipe = Recipe(asked)
    sources = find_sources(asked.data)

    def labels(specs: Sequence[str]) -> Iterator[LabelledSolution]:
        for spec in specs:
            yield from islice(load(spec), asked.limit)

    if next(held_out(Guard.known().filter(labels(sources.phase1))), None) is None:
        few = "" if asked.limit is None else f"; --limit {asked.limit} is too low"
        raise UsageError(f"none of phase 1's labels is of a problem to validate with{few}")
    work: Path = asked.work
    work.mkdir(parents=True, exist_ok=True)

    def gathered(name: str, records: Iterable[LabelledSolution]) -> Path:
        if not (path := work / f"{name}.jsonl").exists():
            guard = Guard.known()
            written = write_labels(path, guard.filter(records))
            print(f"{name}: {written:,} solutions; {guard.describe().splitlines()[0]}")
        return path

    text = gathered("text", gather_text(sources, asked.limit))
    recipe.read(text, *READING)
    base, learnt = "corrupted", list[LabelledSolution]()
    made = gathered(base, (c for s in load(str(text)) for c in corrupted(s, CORRUPTED_SHARE)))
    recipe.train_prm(base, made, *JUDGING, *CORRUPTED)
    if sources.phase2:
        phase2 = gathered("phase2", labels(sources.phase2))
        recipe.train_prm("phase2", phase2, *JUDGING, "--epochs", 1, base=base)
        base = "phase2"
        learnt += load(str(phase2))
    phase1 = gathered("phase1", labels(sources.phase1))
    validation = gathered("validation", held_out(load(str(phase1))))
    models = {
        recipe.train_prm(f"prm-{round(100 * share)}", phase1, *JUDGING, "--share", share, base=base): share
        for share in SHARES
    }
    for model in models:
        recipe.calibrate(model, validation)
    data = {spec: list(islice(load(spec), asked.limit)) for spec in sources.tests}
    found = recipe.report(prog, list(models), data, [*learnt, *load(str(phase1))])
    learning_curve(found, models, work / "report" / "learning-curve.png")


if __name__ == "__main__":
    command.run(main)
