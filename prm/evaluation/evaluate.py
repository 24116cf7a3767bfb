"""python -m prm.evaluate: how good reward models are, in the terms of the field, beside baselines.

Writes report.md, report.json and pictures to --out, and the judgements it made, so that it goes on
where it was interrupted. Intervals are 95 %, of a bootstrap over problems. The baselines (majority,
position, n-grams) learn from --baselines, which should be what the models were trained on.

On ProcessBench, a scalar or two-class model's threshold is the best one on the GSM8K part, as its
authors do it; a three-class model says "wrong" where that is its most probable label.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from prm.data import HELP, load
from prm.data.labels import LabelledSolution
from prm.evaluation import metrics, report
from prm.evaluation.baselines import baselines
from prm.evaluation.metrics import Solutions, Steps, tabulate, with_intervals
from prm.reading.zoo import find
from prm.scoring.batch import Kept, score_all
from prm.scoring.scorers import load_scorer
from search import command
from search.errors import ScorerError, UsageError
from search.types import StepScore, StepScorer

Numbers = dict[str, tuple[float, float, float]]
"""By name: a value and its interval."""


def score(
    scorer: StepScorer, records: Sequence[LabelledSolution], kept: Kept
) -> dict[int, list[StepScore]]:
    """Judgements by index of the record; what could not be judged is left out.

    kept: holds those made before, and gets the new ones.
    """
    from rich.progress import Progress

    async def go_on(progress: Progress) -> None:
        rest = records[len(kept.rows) :]
        task = progress.add_task("judging", total=len(records), completed=len(kept.rows))
        async for verdict in score_all(scorer, ((r.question, r.steps) for r in rest), len(kept.rows)):
            row = {"judgements": [asdict(j) for j in verdict.scores], "error": verdict.error}
            kept.append([row])
            kept.rows.append(row)
            progress.advance(task)

    with Progress(transient=True) as progress:
        asyncio.run(go_on(progress))
    return {
        index: [StepScore(**score) for score in row["judgements"]]
        for index, row in enumerate(kept.rows)
        if row["error"] is None
    }


def measure(steps: Steps, solutions: Solutions, threshold: float) -> dict[str, Numbers]:
    """All measures of one judge on one data set, by group."""

    def of_steps(weight: metrics.Floats) -> Mapping[str, float]:
        return {
            **metrics.classification(steps, weight), **metrics.discrimination(steps, weight),
            **metrics.calibration(steps, weight), **metrics.length_bias(steps, weight),
            **metrics.prm_score(steps, weight),
        }  # fmt: skip

    found = {"steps": with_intervals(of_steps, steps.problem, steps.n_problems)}
    if len(solutions.error):
        found["first_error"] = with_intervals(
            lambda weight: metrics.found_errors(solutions, weight, threshold), solutions.problem,
            solutions.n_problems,
        )
    return found


def evaluate_one(
    name: str, records: Sequence[LabelledSolution], scored: Mapping[int, Sequence[StepScore]], neutral: bool,
    threshold: float,
) -> dict[str, Any]:
    """One judge on one data set: counts, measures, confusion and reliability, for the report."""
    if not scored:
        raise ScorerError(f"{name}: none of the {len(records)} solutions could be judged")
    steps, solutions = tabulate([records[i] for i in scored], list(scored.values()), neutral)
    ones = np.ones(len(steps.truth))
    said, true, mass = metrics.reliability(steps, ones)
    return {
        "judge": name, "solutions": len(scored), "steps": len(steps.truth),
        "problems": steps.n_problems, "threshold": threshold,
        "classes": [metrics.NAMES[c] for c in steps.classes],
        "confusion": metrics.confusion(steps, ones).astype(int).tolist(),
        "reliability": {"said": said.tolist(), "true": true.tolist(), "steps": mass.astype(int).tolist()},
        "measures": measure(steps, solutions, threshold),
    }  # fmt: skip


def gains(
    records: Sequence[LabelledSolution], scored: Mapping[int, Sequence[StepScore]],
    base: Mapping[str, Sequence[Sequence[StepScore]]], neutral: bool,
) -> Numbers:  # fmt: skip
    """By baseline: how far balanced accuracy is above its, with the interval of the difference.

    Both are measured on the same drawn problems, so what problems they are does not widen it.
    base: judgements of all records, by baseline.
    """
    kept = [records[i] for i in scored]
    own, _ = tabulate(kept, list(scored.values()), neutral)
    others = {name: tabulate(kept, [of[i] for i in scored], neutral)[0] for name, of in base.items()}

    def differences(weight: metrics.Floats) -> Mapping[str, float]:
        accuracy = metrics.classification(own, weight)["balanced_accuracy"]
        return {
            name: accuracy - metrics.classification(other, weight)["balanced_accuracy"]
            for name, other in others.items()
        }

    return with_intervals(differences, own.problem, own.n_problems)


def threshold_for(neutral: bool, scored: Mapping[str, tuple[Sequence[LabelledSolution], Any]]) -> float:
    """0.5; for scalar and two-class models, the best on ProcessBench's GSM8K part where it is there.

    judged: by data set, its records and their judgements by index.
    """
    if neutral:
        return 0.5
    for records, scores in scored.values():
        of = {i: scores[i] for i in scores if records[i].source == "processbench/gsm8k"}
        if of:
            _, solutions = tabulate([records[i] for i in of], list(of.values()), neutral)
            return metrics.best_threshold(solutions)
    return 0.5


def evaluate(
    prms: Sequence[str], data: Mapping[str, Sequence[LabelledSolution]],
    train: Sequence[LabelledSolution], out: Path, *, engine: Any, dtype: str,
) -> list[dict[str, Any]]:
    """Every reward model, and the baselines if there is something to learn from, on every data set.

    All are measured on the same solutions: those that every one of the models could judge.
    """
    found = []
    layouts = {prm: find(prm).layout for prm in prms}
    by_prm: dict[str, dict[str, dict[int, list[StepScore]]]] = {}
    for number, prm in enumerate(prms):
        files = {
            name: Kept(out / f"judgements-{number}-{at}.jsonl", resume=True) for at, name in enumerate(data)
        }
        scorer = load_scorer(prm, engine, dtype=dtype)
        try:
            by_prm[prm] = {name: score(scorer, records, files[name]) for name, records in data.items()}
        finally:
            if (shutdown := getattr(scorer, "shutdown", None)) is not None:
                shutdown()
    base_neutral = any("neutral" in layout.labels for layout in layouts.values())
    base = {
        name: baselines(train, records, neutral=base_neutral) if train else {}
        for name, records in data.items()
    }
    common = {name: set.intersection(*(set(scored[name]) for scored in by_prm.values())) for name in data}
    for prm, scored in by_prm.items():
        neutral = "neutral" in layouts[prm].labels
        shared = {name: {i: scored[name][i] for i in sorted(common[name])} for name in data}
        threshold = threshold_for(neutral, {name: (data[name], shared[name]) for name in data})
        for name, records in data.items():
            row = evaluate_one(prm, records, shared[name], neutral, threshold)
            beside = base[name] if neutral == base_neutral else {}
            row["gains"] = gains(records, shared[name], beside, neutral)
            found.append({"data": name, **row, "not_judged": len(records) - len(scored[name])})
    for name, records in data.items():
        for judge_name, of_records in base[name].items():
            of = {i: of_records[i] for i in sorted(common[name])}
            row = evaluate_one(judge_name, records, of, base_neutral, 0.5)
            found.append({"data": name, **row, "not_judged": 0})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prm.evaluate", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--prm", nargs="+", required=True, metavar="MODEL",
        help="zoo models, NAME=PATH, specifications, checkpoints or ensembles")  # fmt: skip
    add("--data", nargs="+", required=True, metavar="SPEC", help=HELP)
    add("--out", type=Path, required=True, metavar="DIR", help="where the report goes")
    add("--baselines", nargs="+", default=[], metavar="SPEC", help="what the baselines learn from (none)")
    add("--limit", type=int, metavar="N", help="the first N records of each data set (all)")
    add("--engine", choices=("hf", "vllm"), default="hf", help="what computes (%(default)s)")
    add("--dtype", default="auto", help="precision (as stored; float32 on a CPU without bfloat16)")
    asked = parser.parse_args()
    for prm in asked.prm:
        find(prm)
    data = {spec: list(load(spec))[: asked.limit] for spec in asked.data}
    train = [solution for spec in asked.baselines for solution in load(spec)]
    if any(solution.split == "test" for solution in train):
        raise UsageError("--baselines: nothing is learnt from a test split")
    asked.out.mkdir(parents=True, exist_ok=True)
    _check_same(asked.out, {"prm": asked.prm, "data": asked.data, "limit": asked.limit})
    found = evaluate(asked.prm, data, train, asked.out, engine=asked.engine, dtype=asked.dtype)
    report.write(asked.out, found, "python -m prm.evaluate " + shlex.join(sys.argv[1:]))
    print(f"written: {asked.out / 'report.md'}")


def _check_same(out: Path, asked: Mapping[str, Any]) -> None:
    """Judgements that are kept in `out` must be of the same models and data."""
    kept = Kept(out / "asked.jsonl", resume=True)
    if not kept.rows:
        kept.append([dict(asked)])
    elif kept.rows[0] != dict(asked):
        raise UsageError(f"{out} holds an evaluation of {kept.rows[0]}: name another --out")


if __name__ == "__main__":
    command.run(main)
