"""Why a strategy does not solve more problems: what its search trees held, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.report.losses import Loss
from bench.report.reranking import Measure
from bench.report.summary import Summary


class Recorded(Protocol):
    """A strategy's trace, and its graded results; `bench.report.grid.Cell` is one."""

    @property
    def trace(self) -> Path: ...

    @property
    def summary(self) -> Summary: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Parameters of the models; None where it is not known, or where there is no model."""

    policy: int | None = None
    prm: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Problems that are alike in difficulty. n: answers, over all seeds. accuracy: in [0, 1]."""

    name: str
    n: int
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRanking:
    """How well the reward model tells right next steps from wrong ones, after a right prefix.

    first, last: the range of positions, from 1; last is None where it has no end. auc: nan without both kinds.
    """

    first: int
    last: int | None
    steps: int
    wrong: int
    auc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtracks:
    """What was left when the search went back from a step.

    helped: a prefix that was wrong. hurt: one that was right. unknown: nothing tells which. restarts: times
    that the whole tree was rejected; there is nothing above it to go back to.
    recovered: problems solved after a wrong prefix was left; far: those of them in which the search went back
    over at least two wrong steps.
    """

    helped: int
    hurt: int
    unknown: int
    restarts: int
    recovered: int
    far: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One strategy at one budget, over all seeds.

    An answer is one problem with one seed. accuracy, oracle: shares of answers; oracle is pass@N: any
    finished solution in the tree is right. candidates: finished solutions of an answer, on average.
    scored: whether the candidates have scores.
    auc_within, auc_across: P(a right candidate has a higher value than a wrong one), of the same problem and
        of all; nan without scores, or without both kinds. mixed: answers with both kinds.
    by_depth: of steps, where the task can label them; else empty.
    exhausted: answers whose search reached a limit. late: by the deadline. failed_candidates, duplicates,
        repetitions, samples: totals.
    rejected, rejected_right: steps that the strategy did not continue from, and those of them that were
        right; None if nothing tells.
    groups: accuracy by difficulty. grouped_by: what that is.
    policy_tokens, discarded, prompt_tokens, prm_tokens: totals. flops_policy, flops_prm: floating-point
        operations of an answer, on average; None if the model's size is not known.
    seconds: the median and the 95th percentile of an answer; None if all of it is replayed.
    losses: the answers that are wrong, and why.
    """

    strategy: str
    seeds: int
    problems: int
    answers: int
    accuracy: float
    oracle: float
    candidates: float
    scored: bool
    auc_within: Measure
    auc_across: Measure
    mixed: int
    by_depth: Sequence[StepRanking]
    exhausted: int
    late: int
    failed_candidates: int
    duplicates: int
    repetitions: int
    samples: int
    backtracks: Backtracks
    rejected: int
    rejected_right: int | None
    groups: Sequence[Group]
    grouped_by: str
    policy_tokens: int
    discarded: int
    prompt_tokens: int
    prm_tokens: int
    flops_policy: float | None
    flops_prm: float | None
    seconds: tuple[float, float] | None
    losses: Sequence[Loss]

    @property
    def gap(self) -> float:
        """The selection gap: what a perfect choice among the candidates would add, in [0, 1]."""
        return self.oracle - self.accuracy
