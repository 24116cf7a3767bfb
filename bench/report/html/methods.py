"""What is compared in a report: a strategy at one budget, with all its seeds; and who is better than whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from bench.report.comparison import Comparison, accuracy_of, compare
from bench.report.grid import Cell, Grid
from bench.report.sides import Seed, Side
from bench.report.stats import holm
from bench.tasks.oracle import is_oracle
from search.limits import Cost, Events


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """A strategy at one budget. name: unique in the report. cells: one for each seed."""

    name: str
    cells: Sequence[Cell]
    side: Side

    @property
    def strategy(self) -> str:
        return self.cells[0].strategy

    @property
    def budget(self) -> str:
        return self.cells[0].budget

    @property
    def cost(self) -> Cost:
        """The sum over all problems and seeds."""
        return sum((cell.summary.cost for cell in self.cells), Cost())

    @property
    def events(self) -> Events:
        """The sum over all problems and seeds."""
        return sum((cell.summary.events for cell in self.cells), Events())

    @property
    def answers(self) -> int:
        """Problems, each counted once for each seed."""
        return sum(len(cell.summary.graded) for cell in self.cells)

    @property
    def is_bound(self) -> bool:
        """Whether it is guided by the references: an upper bound, and no result."""
        return is_oracle(self.strategy)

    @property
    def accuracy(self) -> float:
        return accuracy_of(self.side, self.side.problems)[0]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy."""
        return accuracy_of(self.side, self.side.problems)[1]

    @property
    def tokens(self) -> float:
        """Policy tokens of a problem, on average."""
        return self.cost.policy_tokens / max(1, self.answers)


def methods_of(grid: Grid) -> list[Method]:
    """The methods of a grid, in its order."""
    cells: dict[tuple[str, str], list[Cell]] = {}
    for cell in grid.cells:
        cells.setdefault((cell.strategy, cell.budget), []).append(cell)
    budgets: dict[str, set[str]] = {}
    for strategy, budget in cells:
        budgets.setdefault(strategy, set()).add(budget)
    several = any(len(names) > 1 for names in budgets.values())
    return [
        _method(f"{strategy} {budget}" if several and budget != "default" else strategy, group)
        for (strategy, budget), group in cells.items()
    ]


def _method(name: str, cells: Sequence[Cell]) -> Method:
    seeds = [
        Seed(
            cell.seed, {g.outcome.problem.id: g.correct for g in cell.summary.graded},
            {g.outcome.problem.id: g.outcome.cost for g in cell.summary.graded},
        )
        for cell in cells
    ]  # fmt: skip
    return Method(name, cells, Side(name, seeds))


@dataclass(frozen=True, slots=True)
class Standings:
    """Who is better than whom.

    pairs: of each two methods that have problems in common, by their indices, the smaller one first.
    baseline: the index of the method that others are compared with. adjusted: p against the baseline, after
        Holm's correction, by index; bounds are left out.
    """

    methods: Sequence[Method]
    pairs: Mapping[tuple[int, int], Comparison]
    baseline: int
    adjusted: Mapping[int, float]

    def pair(self, a: int, b: int) -> Comparison | None:
        """The comparison of two methods, whichever of them is its A."""
        return self.pairs.get((min(a, b), max(a, b)))

    def difference(self, a: int, b: int) -> tuple[float, tuple[float, float]] | None:
        """The accuracy of `a` less that of `b`, in points, with its 95 % interval."""
        pair = self.pair(a, b)
        if pair is None:
            return None
        low, high = pair.interval
        return (pair.difference, (low, high)) if a < b else (-pair.difference, (-high, -low))

    @property
    def results(self) -> list[int]:
        """The indices of all methods but bounds."""
        return [index for index, method in enumerate(self.methods) if not method.is_bound]

    @property
    def best(self) -> int:
        """The most accurate method; of equal ones the cheapest."""
        return max(self.results, key=lambda i: (self.methods[i].accuracy, -self.methods[i].tokens))

    @property
    def frontier(self) -> list[int]:
        """The methods that are more accurate than all cheaper ones, from the cheapest on."""
        order = sorted(self.results, key=lambda i: (self.methods[i].tokens, -self.methods[i].accuracy))
        kept = list[int]()
        for index in order:
            if not kept or self.methods[index].accuracy > self.methods[kept[-1]].accuracy:
                kept.append(index)
        return kept

    def corrected(self, index: int, others: Sequence[int]) -> dict[int, float]:
        """p of one method against each of the others, after Holm's correction."""
        ps = {other: pair.p for other in others if other != index and (pair := self.pair(index, other))}
        return dict(zip(ps, holm(list(ps.values())), strict=True))


def standings(methods: Sequence[Method], baseline: str) -> Standings:
    """Compare all methods with each other. baseline: a strategy; its cheapest method, or else the first."""
    pairs = {
        (i, j): compare(methods[i].side, methods[j].side)
        for i, j in combinations(range(len(methods)), 2)
        if set(methods[i].side.problems) & set(methods[j].side.problems)
    }
    named = [i for i, method in enumerate(methods) if method.strategy == baseline]
    base = min(named, key=lambda i: methods[i].tokens, default=0)
    found = Standings(methods, pairs, base, {})
    return Standings(methods, pairs, base, found.corrected(base, found.results))
