"""Pairs of a better and a worse solution, for pairwise outcome models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import lcm
from typing import Any

from prm.data.labels import LabelledSolution
from prm.data.left_out import LeftOut
from prm.data.rows import parsed, read_rows
from search.segment import SEGMENTERS

PER_QUESTION = 9
"""Most pairs per question, as in Eurus (Yuan et al. 2024, appendix B)."""
EXAMPLE = '{"prompt": "What is 2 + 2?", "chosen": "2 + 2 = 4.", "rejected": "2 + 2 = 5."}'


@dataclass(frozen=True, slots=True)
class Pair:
    """chosen, rejected: the steps of two solutions of one question. source: the data set.

    instruction: what a question of several turns begins with; "" for others.
    """

    question: str
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    source: str
    instruction: str = ""

    @property
    def problem(self) -> str:
        """What the turns of a tree share."""
        return self.instruction or self.question


def ultrainteract(path: str, *, left_out: LeftOut | None = None) -> Iterator[Pair]:
    """{"trajectory": [{"from", "value"}], "chosen", "rejected", "dataset"}: one pair per row.

    Yuan et al. 2024, arXiv:2404.02078 (hub: openbmb/UltraInteract_pair). The question is the concatenation
    of the turns so far. Rows {"prompt", "chosen", "rejected"}, in TRL's format, are read too.
    left_out: as `prm.data.rows.parsed` takes it.
    """
    rows = read_rows(path, left_out=left_out)
    hint = f"; a pair looks like this: {EXAMPLE}"
    return parsed(rows, lambda row: [_pair(row)], source=path, left_out=left_out, hint=hint)


def _pair(row: Mapping[str, Any]) -> Pair:
    if "trajectory" in row:
        turns = [turn["value"] for turn in row["trajectory"]]
        question, instruction = "\n".join(turns), turns[0]
        source = f"ultrainteract/{row['dataset']}"
    else:
        question, source, instruction = row["prompt"], row.get("source", "pairs"), ""
    if not isinstance(question, str) or not question.strip():
        raise TypeError("the question must be text")
    return Pair(question, *_sides(row), source, instruction)


def rewardbench(path: str, *, left_out: LeftOut | None = None) -> Iterator[Pair]:
    """{"prompt", "chosen", "rejected", "subset"}: one pair per row, with the subset as its source.

    Lambert et al. 2024, arXiv:2403.13787 (hub: allenai/reward-bench, of which this reads the split
    "filtered"). left_out: as `prm.data.rows.parsed` takes it.
    """

    def pair(row: Mapping[str, Any]) -> Iterator[Pair]:
        if not all(isinstance(row[name], str) and row[name].strip() for name in ("prompt", "subset")):
            raise TypeError("'prompt' and 'subset' must be text")
        yield Pair(row["prompt"], *_sides(row), row["subset"])

    return parsed(read_rows(path, "filtered", left_out=left_out), pair, source=path, left_out=left_out)


def _sides(row: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not all(isinstance(row[name], str) and row[name].strip() for name in ("chosen", "rejected")):
        raise TypeError("'chosen' and 'rejected' must be text")
    return _steps(row["chosen"]), _steps(row["rejected"])


def _steps(text: str) -> tuple[str, ...]:
    return tuple(SEGMENTERS["newline"].texts(text))


def pairs_of(solutions: Iterable[LabelledSolution]) -> Iterator[Pair]:
    """Distinct pairs of a right and a wrong complete solution of one question, at most PER_QUESTION of each.

    Solutions with the same text count once. Each is used once before any of its kind is used twice.
    """
    complete: dict[str, dict[bool, dict[tuple[str, ...], str]]] = defaultdict(lambda: {True: {}, False: {}})
    for solution in solutions:
        if solution.outcome is not None:
            same = complete[solution.question][solution.outcome]
            same.setdefault(solution.steps + solution.rest, solution.source)
    for question, by_outcome in complete.items():
        right, wrong = list(by_outcome[True]), list(by_outcome[False])
        for n in range(min(PER_QUESTION, len(right) * len(wrong))):
            shift = n // lcm(len(right), len(wrong))  # from there, n alone would make the same pairs again
            better, worse = right[(n + shift) % len(right)], wrong[n % len(wrong)]
            yield Pair(question, better, worse, by_outcome[False][worse])
