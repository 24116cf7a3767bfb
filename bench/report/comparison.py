"""Two methods on the same problems: how they differ, whether it is more than noise, and at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

from bench.report.resampling import bootstrap, sign_flip
from bench.report.sides import Side
from bench.report.stats import problems_needed, wilson
from search.errors import UsageError

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two methods, paired by problem.

    problems: those that both have. only_a, only_b: those that one solves and the other does not; with
        several seeds, those that one solves with a larger share of its seeds.
    difference: of the accuracies, A's less B's, in points; interval: its 95 % interval.
    p: of the exact two-sided test: McNemar's, or with several seeds the sign-flip test over problems.
    needed: the problems that this difference would need for 80 % power; None if there is no difference.
    """

    a: Side
    b: Side
    problems: Sequence[str]
    only_a: Sequence[str]
    only_b: Sequence[str]
    difference: float
    interval: tuple[float, float]
    p: float
    needed: int | None

    @property
    def is_noise(self) -> bool:
        return self.p >= ALPHA

    @property
    def test(self) -> str:
        seeds = max(len(self.a.seeds), len(self.b.seeds))
        return "McNemar's exact test" if seeds == 1 else "exact sign-flip test over problems"

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called; told apart if they are runs of one strategy."""
        return (self.a.name, self.b.name) if self.a.name != self.b.name else ("A", "B")

    def as_json(self) -> dict[str, Any]:
        """All of it. Accuracies and intervals are shares, the difference is in percentage points."""
        return {
            "a": self._side(self.a), "b": self._side(self.b), "problems": len(self.problems),
            "difference_points": self.difference, "difference_ci95": list(self.interval),
            "p": self.p, "test": self.test, "within_noise": self.is_noise,
            "problems_needed_for_80_percent_power": self.needed,
            "only_a": list(self.only_a), "only_b": list(self.only_b),
            "summary": self.sentence, "notes": self.notes,
        }  # fmt: skip

    def _side(self, side: Side) -> dict[str, Any]:
        accuracy, ci95 = accuracy_of(side, self.problems)
        return {
            "strategy": side.name, "seeds": len(side.seeds), "accuracy": accuracy, "ci95": list(ci95),
            "per_problem": side.cost(self.problems),
        }  # fmt: skip

    @property
    def notes(self) -> list[str]:
        """What the figures leave out."""
        lines = []
        for name, side in zip(("A", "B"), (self.a, self.b), strict=True):
            if unfinished := sum(seed.unfinished for seed in side.seeds):
                lines.append(
                    f"{name}: {unfinished} begun problems have no answer in the trace: they failed, or the "
                    "run is not at its end (continue it with --resume). They are left out"
                )
            known = {problem for seed in side.seeds for problem in seed.correct}
            if extra := len(known) - len(self.problems):
                lines.append(f"{name}: {extra} problems are left out: not all runs have a result of them")
        return lines

    @property
    def sentence(self) -> str:
        """The result in plain words."""
        first, second = self.names
        n, p = len(self.problems), "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        cost = self._cost_sentence()
        if self.difference == 0:
            return f"{first} and {second} solve equally many of the {n:,} problems ({p}). {cost}"
        better, worse = (first, second) if self.difference > 0 else (second, first)
        seen = f"{better} is {abs(self.difference):.1f} points more accurate than {worse} on {n:,} problems"
        if not self.is_noise:
            return f"{seen}, which is more than noise ({p}). {cost}"
        needed = "" if self.needed is None or self.needed <= n else (
            f" If this difference is real, it takes about {self.needed:,} problems to show it "
            "(80 % power at the 5 % level)."
        )  # fmt: skip
        return f"{seen}, which is within the noise ({p}).{needed} {cost}"

    def _cost_sentence(self) -> str:
        first, second = self.names
        mine, theirs = (side.cost(self.problems)["policy_tokens"] for side in (self.a, self.b))
        if not mine or not theirs or round(mine / theirs, 2) == 1:
            return "Both take the same number of policy tokens."
        if mine < theirs:
            first, second, mine, theirs = second, first, theirs, mine
        return f"{first} takes {mine / theirs:.2f} times the policy tokens of {second}."


def accuracy_of(side: Side, problems: Sequence[str]) -> tuple[float, tuple[float, float]]:
    """Accuracy and its 95 % interval: Wilson's, or with several seeds a bootstrap over problems.

    Where all problems or none are solved, a bootstrap has no width; then it is Wilson's over problems, too.
    """
    n, seeds = len(problems), len(side.seeds)
    solved = sum(side.solved(name) for name in problems)
    if seeds == 1 or solved in (0, n * seeds):
        return solved / max(1, n * seeds), wilson(solved // seeds, n)
    return solved / (n * seeds), bootstrap([side.share(name) for name in problems])


def compare(a: Side, b: Side) -> Comparison:
    """Pair two methods by problem. Raises UsageError if they have none in common, or if questions differ."""
    theirs = set(b.problems)
    problems = [name for name in a.problems if name in theirs]
    if not problems:
        raise UsageError(
            f"A and B have no problem in common: A has {', '.join(a.problems[:2]) or 'none'}, "
            f"B has {', '.join(b.problems[:2]) or 'none'}"
        )
    for name in problems:
        digests = {seed.digests[name] for side in (a, b) for seed in side.seeds if name in seed.digests}
        if len(digests) > 1:
            raise UsageError(f"problem {name} is not the same question in both: they are of different data")
    # In units in which both are whole numbers, so that the test is exact.
    unit = lcm(len(a.seeds), len(b.seeds))
    whole = [
        a.solved(name) * (unit // len(a.seeds)) - b.solved(name) * (unit // len(b.seeds)) for name in problems
    ]
    shares = [d / unit for d in whole]
    low, high = bootstrap(shares)
    return Comparison(
        a, b, problems,
        only_a=[name for name, d in zip(problems, whole, strict=True) if d > 0],
        only_b=[name for name, d in zip(problems, whole, strict=True) if d < 0],
        difference=100 * sum(whole) / unit / len(problems),
        interval=(100 * low, 100 * high), p=sign_flip(whole), needed=problems_needed(shares),
    )  # fmt: skip
