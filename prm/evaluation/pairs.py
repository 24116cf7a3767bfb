"""Accuracy on pairs: how often a reward model puts the right solution above the wrong one.

RewardBench (Lambert et al. 2024, arXiv:2403.13787; hub: allenai/reward-bench) has a row for each pair:
{"prompt", "chosen", "rejected", "subset", "id"}. A section's accuracy is the mean over its subsets, weighted
by their sizes, but mathematics counts as much as all code; the score is the mean of the sections. This is
the benchmark without its prior sets, as Eurus reports it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from prm.command_line import command_line
from prm.data.labels import LabelledSolution
from prm.data.left_out import LeftOut
from prm.data.pairs import Pair, rewardbench, ultrainteract
from prm.evaluation.metrics import Floats, with_intervals
from prm.evaluation.scores import KeptScores, score_records
from prm.reading.layout import Layout
from prm.scoring.scorers import Engine
from prm.scoring.source import Source, source
from search.errors import ScorerError, UsageError
from search.types import StepScore

FORMATS = {"pairs": ultrainteract, "rewardbench": rewardbench}
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "Chat Hard": (
        "mt-bench-hard", "llmbar-natural", "llmbar-adver-neighbor", "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut", "llmbar-adver-manual",
    ),
    "Safety": (
        "refusals-dangerous", "refusals-offensive", "xstest-should-refuse", "xstest-should-respond",
        "donotanswer",
    ),
    "Reasoning": ("math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"),
}  # fmt: skip
"""RewardBench's sections and their subsets."""
MATH = "math-prm"
ALL, SCORE = "all", "score"
"""Rows of the result: all pairs alike, and RewardBench's mean of sections."""

Measures = dict[str, tuple[float, float, float]]
"""By name: an accuracy and the ends of its 95 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRequest:
    """Measure a reward model on pairs.

    prm: a name that `prm.reading.zoo.find` knows. data: pairs:WHERE (rows of UltraInteract, or {"prompt",
        "chosen", "rejected"}) or rewardbench:WHERE; WHERE is a file or a data set on the hub.
    out: the folder of the result and of the scores, which are reused if the request is made again.
    limit: the first pairs; None is all. dtype: as `search.precision.served` takes it.
    """

    prm: str
    data: str
    out: Path
    limit: int | None = None
    engine: Engine = "hf"
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class PairResult:
    """measures: by source, section, and all. counts: pairs of each. unscored: pairs that could not be scored.

    left_out: rows that could not be read.
    """

    measures: Measures
    counts: dict[str, int]
    unscored: int
    left_out: LeftOut

    def describe(self) -> str:
        """A table, for the terminal and the report."""
        rows = [
            f"| {name} | {self.counts[name]:,} | {100 * value:.1f} | {100 * low:.1f} to {100 * high:.1f} |"
            for name, (value, low, high) in self.measures.items()
        ]
        lines = ["| | pairs | accuracy, % | 95 % interval |", "|---|---|---|---|", *rows]
        if self.unscored:
            lines += ["", f"{self.unscored:,} pairs could not be scored and are left out."]
        if self.left_out:
            lines += ["", self.left_out.describe()]
        return "\n".join(lines)


def evaluate_pairs(request: PairRequest) -> PairResult:
    """Score, measure, and write report.md and report.json.

    Raises UsageError before a model is loaded, and ScorerError if no pair could be scored.
    """
    name, _, where = request.data.partition(":")
    if name not in FORMATS or not where:
        raise UsageError(f"--data {request.data}: must be FORMAT:WHERE; the formats are {', '.join(FORMATS)}")
    model, left_out = source(request.prm, request.engine, request.dtype), LeftOut()
    pairs = list(islice(FORMATS[name](where, left_out=left_out), request.limit))
    if not pairs:
        raise UsageError(f"--data {request.data}: there is no pair to score; {left_out.describe()}")
    request.out.mkdir(parents=True, exist_ok=True)
    records = [record for pair in pairs for record in _records(pair)]
    with closing(KeptScores(request.out / "scores.jsonl", records, model.identity)) as kept:
        scores = asyncio.run(_scores(model, kept))
    values = {at: value_of(model.layout, steps) for at, steps in scores.items()}
    scored = [at for at in range(len(pairs)) if {2 * at, 2 * at + 1} <= values.keys()]
    if not scored:
        raise ScorerError(f"{request.prm}: none of the {len(pairs)} pairs could be scored")
    preferred = np.array([_preferred(values[2 * at], values[2 * at + 1]) for at in scored])
    measures, counts = measure([pairs[at] for at in scored], preferred)
    result = PairResult(measures, counts, len(pairs) - len(scored), left_out)
    _write(request, result)
    return result


def value_of(layout: Layout, scores: Sequence[StepScore]) -> float:
    """What solutions are compared by: an outcome model's logit, or the value that a search would give."""
    if layout.head.kind == "outcome":
        return scores[-1].logit
    return layout.solution_value([score.value for score in scores])


def _preferred(chosen: float, rejected: float) -> float:
    """1 if the chosen solution has the higher value, one half for a tie."""
    return (chosen > rejected) + 0.5 * (chosen == rejected)


def _records(pair: Pair) -> Iterator[LabelledSolution]:
    for steps in (pair.chosen, pair.rejected):
        yield LabelledSolution(pair.question, steps, (0,) * len(steps), pair.source, "test", "pairs")


async def _scores(model: Source, kept: KeptScores) -> dict[int, list[StepScore]]:
    async with model.load() as scorer:
        return await score_records(scorer, kept)


def measure(pairs: Sequence[Pair], preferred: Floats) -> tuple[Measures, dict[str, int]]:
    """Accuracies with intervals from a bootstrap over problems, and the number of pairs of each.

    preferred: 1 where the chosen solution has the higher value, [pairs].
    """
    numbers = {problem: n for n, problem in enumerate(dict.fromkeys(pair.problem for pair in pairs))}
    sources = np.array([pair.source for pair in pairs])
    names = [*dict.fromkeys(sources.tolist())]
    of = {name: np.flatnonzero(sources == name) for name in names}
    sections = {
        section: present for section, subsets in SECTIONS.items()
        if (present := [name for name in subsets if name in of])
    }  # fmt: skip

    def accuracies(weight: Floats) -> Mapping[str, Floats]:
        def accuracy(subsets: Sequence[str]) -> Floats:
            at = np.concatenate([of[name] for name in subsets])
            with np.errstate(invalid="ignore"):
                return np.asarray((weight[..., at] * preferred[at]).sum(-1) / weight[..., at].sum(-1))

        found = {name: accuracy([name]) for name in names}
        for section, present in sections.items():
            code = [name for name in present if name != MATH]
            if MATH in present and code:
                found[section] = (found[MATH] + accuracy(code)) / 2
            else:
                found[section] = accuracy(present)
        if len(sections) == len(SECTIONS):
            found[SCORE] = np.mean([found[section] for section in sections], axis=0)
        return {**found, ALL: accuracy(names)}

    measures = with_intervals(accuracies, np.array([numbers[p.problem] for p in pairs]), len(numbers))
    counts = {name: len(of[name]) for name in names}
    counts |= {section: sum(counts[name] for name in present) for section, present in sections.items()}
    return measures, {**counts, SCORE: len(pairs), ALL: len(pairs)}


def _write(request: PairRequest, result: PairResult) -> None:
    command = command_line("prm.evaluate_pairs", request)
    written: dict[str, Any] = {
        "command": command, "measures": result.measures, "pairs": result.counts, "unscored": result.unscored
    }  # fmt: skip
    (request.out / "report.json").write_text(json.dumps(written, indent=2) + "\n")
    text = f"# Accuracy on pairs\n\n```\n{command}\n```\n\n{result.describe()}\n"
    (request.out / "report.md").write_text(text, encoding="utf-8")
