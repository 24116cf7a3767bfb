"""What is compared: a strategy at one budget, with all its seeds; and whether it beats the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report.comparison import ALPHA, Comparison, accuracy_of, compare
from bench.report.grid import DEFAULT, Cell, Grid
from bench.report.sides import Seed, Side
from bench.report.stats import holm
from bench.report.summary import right_by_turn
from bench.tasks.oracle import is_oracle
from search.limits import Cost, Events


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """A strategy at one budget. An answer is one problem with one seed.

    name: unique in the grid. cells: one for each seed. accuracy, interval: with its 95 % interval.
    weighted: whether `tokens` are total tokens, which count those of the reward model by its size.
    """

    name: str
    cells: Sequence[Cell]
    side: Side
    accuracy: float
    interval: tuple[float, float]
    weighted: bool

    @property
    def strategy(self) -> str:
        return self.cells[0].strategy

    @property
    def budget(self) -> str:
        return self.cells[0].budget

    @property
    def is_bound(self) -> bool:
        """Whether it is guided by the references: an upper bound, and no result."""
        return is_oracle(self.strategy)

    @property
    def answers(self) -> int:
        return sum(len(cell.summary.graded) for cell in self.cells)

    @property
    def failed(self) -> int:
        """Answers that failed with an error; they count as wrong."""
        return sum(len(cell.summary.failed) for cell in self.cells)

    @property
    def cost(self) -> Cost:
        """The sum over all answers."""
        return sum((cell.summary.cost for cell in self.cells), Cost())

    @property
    def events(self) -> Events:
        """The sum over all answers."""
        return sum((cell.summary.events for cell in self.cells), Events())

    @property
    def total_tokens(self) -> float:
        """Of an answer, on average."""
        return self.cost.total_tokens / max(1, self.answers)

    @property
    def tokens(self) -> float:
        """Tokens of an answer, on average: what methods are compared by."""
        return self.total_tokens if self.weighted else self.cost.policy_tokens / max(1, self.answers)

    @property
    def right_by_turn(self) -> list[float]:
        """The share of answers that are right after 1, 2, ... turns of their episodes; [] for steps."""
        graded = [graded for cell in self.cells for graded in cell.summary.graded]
        return [right / len(graded) for right in right_by_turn(graded)]

    @property
    def used(self) -> float | None:
        """The share of the budget that was used; None without one."""
        shares = [share for cell in self.cells if (share := cell.summary.used) is not None]
        return sum(shares) / len(shares) if shares else None


def methods_of(grid: Grid) -> list[Method]:
    """The methods of a grid, in its order."""
    cells: dict[tuple[str, str], list[Cell]] = {}
    for cell in grid.cells:
        cells.setdefault((cell.strategy, cell.budget), []).append(cell)
    costs = [cell.summary.cost for cell in grid.cells]
    weighted = all(cost.total_tokens for cost in costs if cost.policy_tokens)
    several = len(grid.budgets) > 1
    methods = []
    for (strategy, budget), group in cells.items():
        name = f"{strategy} {budget}" if several and budget != DEFAULT else strategy
        side = _side_of(name, group)
        methods.append(Method(name, group, side, *accuracy_of(side, side.problems), weighted))
    return methods


def _side_of(name: str, cells: Sequence[Cell]) -> Side:
    """The results of a method, to be paired by problem. Failed problems count as wrong."""
    seeds = [
        Seed(
            cell.seed, {g.outcome.problem.id: g.correct for g in cell.summary.graded},
            {g.outcome.problem.id: g.outcome.cost for g in cell.summary.graded},
        )
        for cell in cells
    ]  # fmt: skip
    return Side(name, seeds)


@dataclass(frozen=True, slots=True, eq=False)
class Versus:
    """A method beside the baseline at the same budget.

    comparison: A is the method, B the baseline. p: of the comparison, after Holm's correction for `tests`
    comparisons: all of this budget.
    """

    base: Method
    comparison: Comparison
    p: float
    tests: int

    @property
    def is_noise(self) -> bool:
        return self.p >= ALPHA

    @property
    def verdict(self) -> str:
        """Whether the method differs from the baseline by more than noise, in words."""
        if self.is_noise:
            return "within the noise"
        return "better" if self.comparison.difference > 0 else "worse"


def against_baseline(methods: Sequence[Method], baseline: str) -> Mapping[Method, Versus]:
    """Compare every method with the baseline at the same budget: what all reports call noise, or more.

    p-values are corrected for the comparisons of one budget. There is no comparison of bounds, of a method
    at a budget at which the baseline is not finished, or without a problem in common.
    """
    found = dict[Method, Versus]()
    for base in methods:
        if base.strategy != baseline:
            continue
        compared = {
            method: compare(method.side, base.side)
            for method in methods
            if method.budget == base.budget and method is not base and not method.is_bound
            and set(method.side.problems) & set(base.side.problems)
        }  # fmt: skip
        adjusted = holm([comparison.p for comparison in compared.values()])
        for (method, comparison), p in zip(compared.items(), adjusted, strict=True):
            found[method] = Versus(base, comparison, p, len(compared))
    return found
