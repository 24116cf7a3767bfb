"""Measure reward models on labelled data, beside baselines: the work of `prm.evaluate`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from prm.command_line import command_line
from prm.data import load, load_all
from prm.data.labels import LabelledSolution
from prm.evaluation import metrics, report
from prm.evaluation.baselines import baselines
from prm.evaluation.metrics import Solutions, Steps, tabulate, with_intervals
from prm.evaluation.request import EvaluateRequest
from prm.evaluation.scores import KeptScores, score_records, scored_with
from prm.reading.zoo import find
from prm.scoring.batch import open_results
from prm.scoring.scorers import Engine, load_scorer
from search.errors import ScorerError, UsageError
from search.types import StepScore

Measures = dict[str, tuple[float, float, float]]
"""By name: a value and the ends of its 95 % interval."""
Scores = Mapping[int, Sequence[StepScore]]
"""The step scores of solutions, by the index of the solution in its data set."""


def evaluate(request: EvaluateRequest) -> Path:
    """Score, measure and report. Returns the path of the report.

    Raises UsageError before a model is loaded; also if `request.out` holds another evaluation.
    """
    request.validate()
    data = {spec: list(islice(load(spec), request.limit)) for spec in request.data}
    train = list(load_all(request.baselines))
    if any(solution.split == "test" for solution in train):
        raise UsageError("--baselines: must not contain a test split; name training data")
    request.out.mkdir(parents=True, exist_ok=True)
    _check_same(request)
    results = evaluate_prms(
        request.prms, data, train, request.out, engine=request.engine, dtype=request.dtype
    )
    command = command_line("prm.evaluate", request, options={"prms": "--prm"})
    return report.write(request.out, results, command)


def _check_same(request: EvaluateRequest) -> None:
    """Check that the scores kept in `request.out` are of the same models and data."""
    identity = {"prm": list(request.prms), "data": list(request.data), "limit": request.limit}
    with closing(open_results(request.out / "asked.jsonl", resume=True)) as file:
        if not file.rows:
            file.append([identity])
        elif file.rows[0] != identity:
            raise UsageError(f"{request.out} holds another evaluation, {file.rows[0]}: give another --out")


def evaluate_prms(
    prms: Sequence[str], data: Mapping[str, Sequence[LabelledSolution]], train: Sequence[LabelledSolution],
    out: Path, *, engine: Engine, dtype: str,
) -> list[dict[str, Any]]:  # fmt: skip
    """Measure every reward model on every data set, and the baselines too if there are training data.

    All are measured on the same solutions: those that every reward model could score.
    out: the folder of the scores. Returns one row of the report per model and data set.
    """
    results = []
    layouts = {prm: find(prm).layout for prm in prms}
    with ExitStack() as stack:
        files = {
            prm: {
                name: stack.enter_context(closing(
                    KeptScores(out / f"judgements-{number}-{at}.jsonl", records, identity)
                ))
                for at, (name, records) in enumerate(data.items())
            }
            for number, prm in enumerate(prms)
            for identity in [scored_with(prm, engine, dtype)]
        }  # fmt: skip
        by_prm = {
            prm: asyncio.run(_scores(prm, kept, engine=engine, dtype=dtype)) for prm, kept in files.items()
        }
    base_neutral = any("neutral" in layout.head.labels for layout in layouts.values())
    base = {
        name: baselines(train, records, neutral=base_neutral) if train else {}
        for name, records in data.items()
    }
    common = {name: set.intersection(*(set(scores[name]) for scores in by_prm.values())) for name in data}
    for prm, scores in by_prm.items():
        neutral = "neutral" in layouts[prm].head.labels
        shared = {name: {i: scores[name][i] for i in sorted(common[name])} for name in data}
        threshold = threshold_for(neutral, {name: (data[name], shared[name]) for name in data})
        for name, records in data.items():
            row = evaluate_one(prm, records, shared[name], neutral, threshold)
            beside = base[name] if neutral == base_neutral else {}
            row["gains"] = gains(records, shared[name], beside, neutral)
            results.append({"data": name, **row, "not_judged": len(records) - len(scores[name])})
    for name, records in data.items():
        for baseline, all_scores in base[name].items():
            of = {i: all_scores[i] for i in sorted(common[name])}
            row = evaluate_one(baseline, records, of, base_neutral, 0.5)
            results.append({"data": name, **row, "not_judged": 0})
    return results


async def _scores(
    prm: str, kept: Mapping[str, KeptScores], *, engine: Engine, dtype: str
) -> dict[str, dict[int, list[StepScore]]]:
    """By data set, the scores of one reward model. kept: by data set, the file of its scores."""
    async with load_scorer(prm, engine, dtype=dtype) as scorer:
        return {name: await score_records(scorer, scores) for name, scores in kept.items()}


def evaluate_one(
    name: str, records: Sequence[LabelledSolution], scores: Scores, neutral: bool, threshold: float
) -> dict[str, Any]:
    """A row of the report: counts, measures, confusion and reliability of one model on one data set.

    name: of a reward model or a baseline. neutral: whether it has a neutral class.
    Raises ScorerError if there are no scores.
    """
    if not scores:
        raise ScorerError(f"{name}: none of the {len(records)} solutions could be scored")
    steps, solutions = tabulate([records[i] for i in scores], list(scores.values()), neutral)
    ones = np.ones(len(steps.truth))
    predicted, true, mass = metrics.reliability(steps, ones)
    return {
        "judge": name, "solutions": len(scores), "steps": len(steps.truth),
        "problems": steps.n_problems, "threshold": threshold,
        "classes": [metrics.NAMES[c] for c in steps.classes],
        "confusion": metrics.confusion(steps, ones).astype(int).tolist(),
        "reliability": {
            "said": predicted.tolist(), "true": true.tolist(), "steps": mass.astype(int).tolist(),
        },
        "measures": measure(steps, solutions, threshold),
    }  # fmt: skip


def measure(steps: Steps, solutions: Solutions, threshold: float) -> dict[str, Measures]:
    """All measures, by group: "steps", and "first_error" if there are whole solutions."""

    def of_steps(weight: metrics.Floats) -> Mapping[str, float]:
        return {
            **metrics.classification(steps, weight), **metrics.discrimination(steps, weight),
            **metrics.calibration(steps, weight), **metrics.length_bias(steps, weight),
            **metrics.prm_score(steps, weight),
        }  # fmt: skip

    measures = {"steps": with_intervals(of_steps, steps.problem, steps.n_problems)}
    if len(solutions.error):
        measures["first_error"] = with_intervals(
            lambda weight: metrics.found_errors(solutions, weight, threshold), solutions.problem,
            solutions.n_problems,
        )  # fmt: skip
    return measures


def gains(
    records: Sequence[LabelledSolution], scores: Scores,
    base: Mapping[str, Sequence[Sequence[StepScore]]], neutral: bool,
) -> Measures:  # fmt: skip
    """By baseline: by how much the balanced accuracy exceeds the baseline's.

    Both are measured on the same bootstrap samples, so that differences between problems do not widen
    the interval. base: scores of all records, by baseline.
    """
    kept = [records[i] for i in scores]
    own, _ = tabulate(kept, list(scores.values()), neutral)
    others = {name: tabulate(kept, [of[i] for i in scores], neutral)[0] for name, of in base.items()}

    def differences(weight: metrics.Floats) -> Mapping[str, float]:
        accuracy = metrics.classification(own, weight)["balanced_accuracy"]
        return {
            name: accuracy - metrics.classification(other, weight)["balanced_accuracy"]
            for name, other in others.items()
        }

    return with_intervals(differences, own.problem, own.n_problems)


def threshold_for(
    neutral: bool, scored: Mapping[str, tuple[Sequence[LabelledSolution], Mapping[int, Sequence[StepScore]]]]
) -> float:
    """The least P(not wrong) of a step that counts as right.

    It is 0.5, or for models without a neutral class the best threshold on ProcessBench's GSM8K part if that
    is among the data. scored: by data set, its records and their scores.
    """
    if neutral:
        return 0.5
    for records, scores in scored.values():
        of = {i: scores[i] for i in scores if records[i].source == "processbench/gsm8k"}
        if of:
            _, solutions = tabulate([records[i] for i in of], list(of.values()), neutral)
            return metrics.best_threshold(solutions)
    return 0.5
