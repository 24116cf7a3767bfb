"""Measure reward models on labelled data, beside baselines: the work of `prm.evaluate`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from prm.command_line import command_line
from prm.data import load, load_all
from prm.data.labels import LabelledSolution
from prm.data.left_out import LeftOut
from prm.evaluation import metrics, report
from prm.evaluation.baselines import baselines
from prm.evaluation.metrics import Solutions, Steps, tabulate, with_intervals
from prm.evaluation.processbench import PREFIX, Scored, is_tuned, subsets, threshold_for
from prm.evaluation.request import EvaluateRequest
from prm.evaluation.scores import KeptScores, score_records
from prm.scoring.batch import open_results
from prm.scoring.scorers import Engine
from prm.scoring.source import Source, source
from search.errors import ScorerError, UsageError
from search.types import StepScore

Measures = dict[str, tuple[float, float, float]]
"""By name: a value and the ends of its 95 % interval."""
Scores = Mapping[int, Sequence[StepScore]]
"""The step scores of solutions, by the index of the solution in its data set."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """results: the rows of the report. report: its path. left_out: rows of data that could not be read."""

    results: list[dict[str, Any]]
    report: Path
    left_out: LeftOut


def evaluate(request: EvaluateRequest) -> Evaluation:
    """Score, measure and report.

    Raises UsageError before a model is loaded; also if `request.out` holds another evaluation.
    """
    request.validate()
    left_out = LeftOut()
    data = {
        spec: list(islice(load(spec, strict=request.strict, left_out=left_out), request.limit))
        for spec in request.data
    }
    train = list(load_all(request.baselines, strict=request.strict, left_out=left_out))
    if any(solution.split == "test" for solution in train):
        raise UsageError("--baselines: must not contain a test split; name training data")
    request.out.mkdir(parents=True, exist_ok=True)
    _check_same(request)
    results = evaluate_prms(
        request.prms or ("",), data, train, request.out, engine=request.engine, dtype=request.dtype,
        servers=request.servers,
    )  # fmt: skip
    shown = replace(request, servers=(",".join(request.servers),)) if request.servers else request
    command = command_line("prm.evaluate", shown, options={"prms": "--prm", "servers": "--prm-server"})
    notes = left_out.describe() if left_out else ""
    return Evaluation(results, report.write(request.out, results, command, notes), left_out)


def _check_same(request: EvaluateRequest) -> None:
    """Check that the scores kept in `request.out` are of the same models and data."""
    identity = {"prm": list(request.prms), "data": list(request.data), "limit": request.limit}
    if request.servers:
        identity["servers"] = list(request.servers)
    with closing(open_results(request.out / "asked.jsonl", resume=True)) as file:
        if not file.rows:
            file.append([identity])
        elif file.rows[0] != identity:
            raise UsageError(f"{request.out} holds another evaluation, {file.rows[0]}: give another --out")


def evaluate_prms(
    prms: Sequence[str], data: Mapping[str, Sequence[LabelledSolution]], train: Sequence[LabelledSolution],
    out: Path, *, engine: Engine, dtype: str, servers: Sequence[str] = (),
) -> list[dict[str, Any]]:  # fmt: skip
    """Measure every reward model on every data set, and the baselines too if there are training data.

    All are measured on the same solutions: those that every reward model could score.
    out: the folder of the scores. servers: that have the one model of `prms`, which may then be "".
    Returns one row of the report per model and data set.
    """
    results = []
    models = {model.name: model for prm in prms for model in [source(prm, engine, dtype, servers)]}
    layouts = {prm: model.layout for prm, model in models.items()}
    with ExitStack() as stack:
        files = {
            prm: {
                name: stack.enter_context(closing(
                    KeptScores(out / f"judgements-{number}-{at}.jsonl", records, identity)
                ))
                for at, (name, records) in enumerate(data.items())
            }
            for number, (prm, model) in enumerate(models.items())
            for identity in [model.identity]
        }  # fmt: skip
        by_prm = {prm: asyncio.run(_scores(models[prm], kept)) for prm, kept in files.items()}
    base_neutral = any("neutral" in layout.head.labels for layout in layouts.values())
    base = {
        name: baselines(train, records, neutral=base_neutral) if train else {}
        for name, records in data.items()
    }
    common = {
        name: scored_by_all(name, {prm: scores[name] for prm, scores in by_prm.items()}) for name in data
    }
    for prm, scores in by_prm.items():
        neutral = "neutral" in layouts[prm].head.labels
        shared = {name: {i: scores[name][i] for i in sorted(common[name])} for name in data}
        scored = {name: (data[name], shared[name]) for name in data}
        rows = _rows_of(prm, neutral, scored, scalar=len(layouts[prm].head.labels) == 1)
        for name, records in data.items():
            beside = base[name] if neutral == base_neutral else {}
            row = {**rows[name], "gains": gains(records, shared[name], beside, neutral)}
            results.append({"data": name, **row, "not_judged": len(records) - len(scores[name])})
    of_baselines = {
        baseline: _rows_of(baseline, base_neutral, {
            name: (records, {i: base[name][baseline][i] for i in sorted(common[name])})
            for name, records in data.items()
        })
        for baseline in next(iter(base.values()))
    }  # fmt: skip
    for name in data:
        results += [{"data": name, **rows[name], "not_judged": 0} for rows in of_baselines.values()]
    return results


def scored_by_all(data: str, by_prm: Mapping[str, Scores]) -> set[int]:
    """The solutions of a data set that all reward models could score, by index.

    Raises ScorerError if there are none.
    """
    for prm, scores in by_prm.items():
        if not scores:
            raise ScorerError(f"{prm} could score none of the solutions of {data}")
    common = set.intersection(*map(set, by_prm.values()))
    if not common:
        raise ScorerError(f"no solution of {data} was scored by each of {', '.join(by_prm)}")
    return common


def _rows_of(
    model: str, neutral: bool, scored: Scored, *, scalar: bool = False
) -> dict[str, dict[str, Any]]:
    """By data set, the row of a reward model or baseline.

    neutral: whether it has a neutral class. scalar: whether it has one output rather than classes.
    """
    threshold = threshold_for(scalar, scored)
    f1 = subsets(neutral, threshold, scored)
    rows = {}
    for name, (records, scores) in scored.items():
        row = evaluate_one(model, records, scores, neutral, threshold)
        row["threshold_from"] = "ProcessBench GSM8K" if is_tuned(scalar, scored) else "default"
        if any(records[i].source.startswith(PREFIX) for i in scores):
            row["processbench"] = f1
        rows[name] = row
    return rows


async def _scores(
    model: Source, kept: Mapping[str, KeptScores]
) -> dict[str, dict[int, list[StepScore]]]:
    """By data set, the scores of one reward model. kept: by data set, the file of its scores."""
    async with model.load() as scorer:
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

    def of_steps(weight: metrics.Floats) -> Mapping[str, metrics.Floats]:
        return {
            **metrics.classification(steps, weight), **metrics.discrimination(steps, weight),
            **metrics.calibration(steps, weight), **metrics.length_bias(steps, weight),
            **metrics.prm_score(steps, weight),
        }  # fmt: skip

    measures = {"steps": with_intervals(of_steps, steps.problem, steps.n_problems)}
    if len(solutions.error):
        hit, wrong = metrics.located(solutions, threshold), solutions.error >= 0
        measures["first_error"] = with_intervals(
            lambda weight: metrics.error_measures(hit, wrong, weight), solutions.problem, solutions.n_problems
        )
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

    def differences(weight: metrics.Floats) -> Mapping[str, metrics.Floats]:
        accuracy = metrics.classification(own, weight)["balanced_accuracy"]
        return {
            name: accuracy - metrics.classification(other, weight)["balanced_accuracy"]
            for name, other in others.items()
        }

    return with_intervals(differences, own.problem, own.n_problems)
