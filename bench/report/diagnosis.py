"""Why a strategy does not solve more problems: what its search trees held, and what became of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bench.report.losses import Cause, Loss, loss_of
from bench.report.recorded import RecordedRun, read_trace
from bench.report.reranking import Measure, discrimination
from bench.report.sides import Graders
from bench.report.sizes import Sizes, sizes_of
from bench.report.subsets import Pool
from bench.report.summary import Graded, Summary, natural
from bench.report.tree_facts import ScoredStep, TreeFacts, tree_facts
from bench.tasks.oracle import guided_name
from prm.evaluation.metrics import POSITIONS, auc
from search.limits import Cost, Events
from search.strategies import STRATEGIES
from search.tree import StepGuided

FEW = 5
"""With fewer wrong answers than this, no cause is named."""
MOST = 0.5
"""The share of the wrong answers from which on a cause is the cause."""

UNKNOWN: Measure = (nan, nan, nan)


class Recorded(Protocol):
    """A strategy's trace, and its graded results; `bench.report.grid.Cell` is one."""

    @property
    def trace(self) -> Path: ...

    @property
    def summary(self) -> Summary: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Problems that are alike in difficulty. n: answers, over all seeds. accuracy: in [0, 1]."""

    name: str
    n: int
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRanking:
    """How well the reward model tells right next steps from wrong ones, after a right prefix.

    first, last: the range of positions, from 1; last is None where it has no end. auc: nan without both.
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

    @property
    def causes(self) -> Mapping[Cause, int]:
        """How many wrong answers have which cause; only causes that occur, most frequent first."""
        return dict(Counter(loss.cause for loss in self.losses).most_common())

    @property
    def sentence(self) -> str:
        """Why problems are lost here, in plain words.

        A verdict is given if at least `FEW` answers are wrong, and at least the share `MOST` of them have its
        causes. That the PRM *cannot rank* is said only if the interval of its AUC within problems reaches
        down to 0.5, which is chance.
        """
        lost = len(self.losses)
        if not lost:
            return f"Nothing is lost: all {self.answers:,} answers are right."
        parts = "; ".join(f"{n:,} {_SHORT[cause]}" for cause, n in self.causes.items())
        if lost < FEW:
            verb = "is" if lost == 1 else "are"
            return f"Only {lost} of {self.answers:,} answers {verb} wrong, too few to name a cause: {parts}."
        counts = {
            verdict: sum(self.causes.get(cause, 0) for cause in causes)
            for verdict, causes in _VERDICTS.items()
        }
        verdict = max(counts, key=lambda name: counts[name])
        if counts[verdict] < MOST * lost:
            return f"No single cause. Of {lost:,} wrong answers: {parts}."
        return f"{self._verdict(verdict)} Of {lost:,} wrong answers: {parts}."

    def _verdict(self, verdict: str) -> str:
        oracle = f"{self.oracle:.1%} of problems have a right candidate, {self.accuracy:.1%} are solved"
        match verdict:
            case "choice" if not self.scored:
                return f"The vote picks the wrong answer: {oracle}."
            case "choice":
                within, low, high = self.auc_within
                if not isfinite(within):
                    return f"The PRM scores wrong steps as right: {oracle}."
                figure = f"its AUC within problems is {within:.2f} [{low:.2f}, {high:.2f}]"
                if low <= 0.5:
                    return f"The PRM cannot rank: {oracle}; {figure}, not above chance."
                return f"The PRM does not rank well enough: {oracle}; {figure}."
            case "budget":
                return (
                    f"The budget ended: {self.exhausted:,} of {self.answers:,} searches reached a limit. "
                    f"{self.duplicates / max(1, self.samples):.0%} of all samples are duplicates."
                )
            case "grader":
                return "The grader has nothing to read: solutions state no answer as the task expects it."
            case "error":
                return "Problems failed with errors."
        return (
            f"The pool holds no answer where it loses: {self.oracle:.1%} of problems have a right one among "
            f"their {self.candidates:.1f} candidates, so no selector gains more than {100 * self.gap:.1f} "
            "points."
        )

    def as_json(self) -> dict[str, Any]:
        """All of it. What is not known is None."""
        fields = asdict(self)
        for name in ("auc_within", "auc_across"):
            fields[name] = list(fields[name]) if isfinite(fields[name][0]) else None
        for row in fields["by_depth"]:
            row["auc"] = row["auc"] if isfinite(row["auc"]) else None
        causes = {cause.value: n for cause, n in self.causes.items()}
        return {"summary": self.sentence, "selection_gap": self.gap, "causes": causes, **fields}


_SHORT = {
    Cause.ERROR: "failed with an error", Cause.GUESS: "without a stated answer (a guess was graded)",
    Cause.CHOICE: "with a right candidate that was not chosen",
    Cause.STEP: "with a wrong step that the PRM scored as right",
    Cause.BUDGET: "ended by a limit with one candidate at most",
    Cause.UNREAD: "without a readable answer", Cause.POOL: "without a right candidate",
}  # fmt: skip

_VERDICTS: Mapping[str, tuple[Cause, ...]] = {
    "choice": (Cause.CHOICE, Cause.STEP), "pool": (Cause.POOL,), "budget": (Cause.BUDGET,),
    "grader": (Cause.GUESS, Cause.UNREAD), "error": (Cause.ERROR,),
}  # fmt: skip


def diagnose(
    cells: Sequence[Recorded],
    *,
    baseline: Sequence[Recorded] = (),
    sizes: Sizes | None = None,
    graders: Graders | None = None,
) -> Diagnosis:
    """Diagnose one strategy at one budget.

    cells: one for each seed. baseline: of the strategy by which problems are easy or hard, where the task
        does not say. sizes: of the models; None reads them by the models' names.
    graders: shared where several strategies are diagnosed; None makes one.
    Raises UsageError if a trace cannot be read, or if its task cannot be loaded.
    """
    attempts = list[_Attempt]()
    for cell in cells:
        run = read_trace(cell.trace)
        graders = graders or Graders(run)
        attempts += _attempts(cell.summary, run, graders)
        sizes = sizes or sizes_of(run.config.get("policy"), run.config.get("prm"))
    assert graders is not None and sizes is not None, "one cell at least"
    first = cells[0].summary
    graded, facts = [a.graded for a in attempts], [a.facts for a in attempts if a.facts is not None]
    cost = sum((cell.summary.cost for cell in cells), Cost())
    events = sum((cell.summary.events for cell in cells), Events())
    guided = issubclass(STRATEGIES.get(guided_name(first.strategy), object), StepGuided)
    n = max(1, len(attempts))
    groups, grouped_by = _groups(graded, baseline)
    within, across, mixed = _ranking(attempts)
    wrong = [a for a in attempts if not a.graded.correct]
    seconds = [g.outcome.seconds for g in graded if not g.outcome.events.replayed]
    labelled = any(f.labelled for f in facts)
    rejected = [(f, node) for f in facts for node in f.tree.rejected]
    return Diagnosis(
        strategy=first.strategy, seeds=len(cells),
        problems=len({g.outcome.problem.id for g in graded}), answers=len(attempts),
        accuracy=sum(g.correct for g in graded) / n,
        oracle=sum(a.facts is not None and a.facts.is_solvable for a in attempts) / n,
        candidates=sum(len(f.candidates) for f in facts) / n,
        scored=any(c.value is not None for f in facts for c in f.candidates),
        auc_within=within, auc_across=across, mixed=mixed,
        by_depth=_by_depth([step for f in facts for step in f.steps]),
        exhausted=sum(g.outcome.events.exhausted > 0 or g.outcome.events.late > 0 for g in graded),
        late=events.late, failed_candidates=events.failed, duplicates=events.duplicates,
        repetitions=events.repetitions, samples=cost.samples,
        backtracks=_backtracks(attempts),
        rejected=len(rejected),
        rejected_right=sum(f.right.get(node, False) for f, node in rejected) if labelled else None,
        groups=groups, grouped_by=grouped_by,
        policy_tokens=cost.policy_tokens, discarded=cost.policy_tokens_discarded,
        prompt_tokens=cost.prompt_tokens, prm_tokens=cost.prm_tokens,
        flops_policy=_flops(sizes.policy, cost.policy_tokens + cost.prompt_tokens, n),
        flops_prm=_flops(sizes.prm, cost.prm_tokens, n),
        seconds=(float(np.median(seconds)), float(np.percentile(seconds, 95))) if seconds else None,
        losses=sorted(
            (loss_of(a.graded, a.facts, seed=a.seed, guided=guided) for a in wrong),
            key=lambda loss: (natural(loss.problem), loss.seed),
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One problem with one seed. facts: None if the trace has no tree of it."""

    seed: int
    graded: Graded
    facts: TreeFacts | None


def _attempts(summary: Summary, run: RecordedRun, graders: Graders) -> list[_Attempt]:
    aggregate = run.config.get("params", {}).get("aggregate")
    found = []
    for graded in summary.graded:
        tree = run.trees.get(graded.outcome.problem.id)
        facts = None if tree is None else tree_facts(tree, graders, aggregate)
        found.append(_Attempt(summary.seed, graded, facts))
    return found


def _ranking(attempts: Sequence[_Attempt]) -> tuple[Measure, Measure, int]:
    """AUC of the values of answered candidates within problems, and across them; how many have both kinds."""
    pools, of = list[Pool](), list[str]()
    for attempt in attempts:
        found = [] if attempt.facts is None else attempt.facts.candidates
        if scored := [(c.right, c.value) for c in found if c.value is not None]:
            right, values = zip(*scored, strict=True)
            pools.append(Pool(right, [0] * len(right), values))  # answers are not compared here
            of.append(attempt.graded.outcome.problem.id)
    return discrimination(pools, of=of) if pools else (UNKNOWN, UNKNOWN, 0)


def _by_depth(steps: Sequence[ScoredStep]) -> list[StepRanking]:
    rows = []
    for low, high in POSITIONS:
        here = [step for step in steps if low <= step.position <= high]
        if here:
            values, right = np.array([s.value for s in here]), np.array([s.right for s in here])
            rows.append(
                StepRanking(
                    first=low, last=None if (low, high) == POSITIONS[-1] else high, steps=len(here),
                    wrong=int((~right).sum()), auc=auc(values, right, np.ones(len(here))),
                )
            )  # fmt: skip
    return rows


def _backtracks(attempts: Sequence[_Attempt]) -> Backtracks:
    counts, restarts, recovered, far = Counter[bool | None](), 0, 0, 0
    for attempt in attempts:
        if attempt.facts is None:
            continue
        left = attempt.facts.left
        restarts += attempt.facts.restarts
        for times, right in left.values():
            counts[right] += times
        wrong = {node for node, (_, right) in left.items() if right is False}
        if attempt.graded.correct and wrong:
            recovered += 1
            far += any(node.parent in wrong for node in wrong)
    return Backtracks(
        helped=counts[False], hurt=counts[True], unknown=counts[None], restarts=restarts,
        recovered=recovered, far=far,
    )  # fmt: skip


def _groups(graded: Sequence[Graded], baseline: Sequence[Recorded]) -> tuple[list[Group], str]:
    """Accuracy by the task's own groups; else by whether the baseline solves the problem."""
    names = {g.outcome.problem.id: g.group for g in graded}
    grouped_by = "the task's own difficulty"
    if not any(names.values()):
        if not baseline:
            return [], ""
        names, grouped_by = _by_baseline(baseline), f"what {baseline[0].summary.strategy} solves"
    rights: dict[str, list[bool]] = defaultdict(list)
    for g in graded:
        if name := names.get(g.outcome.problem.id):
            rights[name].append(g.correct)
    groups = [
        Group(name=name, n=len(right), accuracy=sum(right) / len(right))
        for name, right in sorted(rights.items(), key=lambda item: natural(item[0]))
    ]
    return groups, grouped_by


def _by_baseline(baseline: Sequence[Recorded]) -> dict[str, str]:
    """Each problem's group: whether the baseline solves it with all, some or no seeds."""
    rights: dict[str, list[bool]] = defaultdict(list)
    for cell in baseline:
        for g in cell.summary.graded:
            rights[g.outcome.problem.id].append(g.correct)
    name = baseline[0].summary.strategy
    return {
        problem: f"solved by {name}" if all(right) else
        f"solved by some seeds of {name}" if any(right) else f"not solved by {name}"
        for problem, right in rights.items()
    }  # fmt: skip


def _flops(parameters: int | None, tokens: int, answers: int) -> float | None:
    """Of the forward passes of an answer: 2 for each parameter and token (Kaplan et al. 2020)."""
    if tokens == 0:
        return 0.0
    return None if parameters is None else 2.0 * parameters * tokens / answers
