"""ProcessBench (Zheng et al. 2024, arXiv:2412.06559): its threshold, the F1 of subsets, their mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from prm.data.labels import LabelledSolution
from prm.evaluation import metrics
from prm.evaluation.metrics import tabulate, with_intervals
from search.types import StepScore

PREFIX = "processbench/"
"""How the sources of its solutions begin; the rest is the subset."""
TUNED_ON = "gsm8k"
DEFAULT = 0.5

Scored = Mapping[str, tuple[Sequence[LabelledSolution], Mapping[int, Sequence[StepScore]]]]
"""By data set, its records and their scores, by index of the record."""


def threshold_for(scalar: bool, scored: Scored) -> float:
    """The least P(not wrong) of a step that counts as right.

    It is 0.5, and for scalar models the best threshold on ProcessBench's GSM8K part if that is among the
    data. The authors take the predicted class of other models.

    scalar: whether the model has one output for a step, rather than classes.
    """
    records, scores, subset = _solutions(scored)
    if not scalar or TUNED_ON not in subset:
        return DEFAULT
    of = [i for i, name in enumerate(subset) if name == TUNED_ON]
    _, solutions = tabulate([records[i] for i in of], [scores[i] for i in of], neutral=False)
    return metrics.best_threshold(solutions)


def is_tuned(scalar: bool, scored: Scored) -> bool:
    """Whether `threshold_for` chooses the threshold on ProcessBench."""
    return scalar and TUNED_ON in _solutions(scored)[2]


def subsets(neutral: bool, threshold: float, scored: Scored) -> dict[str, tuple[float, float, float]]:
    """The F1 in each subset, and their mean, each with its 95 % interval; empty without ProcessBench."""
    records, scores, subset = _solutions(scored)
    if not records:
        return {}
    _, solutions = tabulate(records, scores, neutral)
    hit, wrong = metrics.located(solutions, threshold), solutions.error >= 0
    names = np.array(subset)
    return with_intervals(
        lambda weight: metrics.subset_f1(names, hit, wrong, weight), solutions.problem, solutions.n_problems
    )


def _solutions(
    scored: Scored,
) -> tuple[list[LabelledSolution], list[Sequence[StepScore]], list[str]]:
    """ProcessBench's records among all data sets, their scores and their subsets."""
    rows = list(_rows(scored))
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _rows(scored: Scored) -> Iterator[tuple[LabelledSolution, Sequence[StepScore], str]]:
    for records, scores in scored.values():
        for index, of in scores.items():
            if records[index].source.startswith(PREFIX):
                yield records[index], of, records[index].source.removeprefix(PREFIX)
