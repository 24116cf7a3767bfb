"""What is compared in a report: a strategy at one budget, with all its seeds; and who is better than whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from bench.report.comparison import Comparison, accuracy_of, compare
from bench.report.grid import DEFAULT, Cell, Grid
from bench.report.grid_table import side_of
from bench.report.sides import Side
from bench.report.stats import holm
from bench.tasks.oracle import is_oracle
from search.limits import Cost, Events


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """A strategy at one budget. name: unique in the report. cells: one for each seed.

    weighted: whether `tokens` are total tokens, which count those of the reward model by its size.
    """

    name: str
    cells: Sequence[Cell]
    side: Side
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
        """Problems, each counted once for each seed."""
        return sum(len(cell.summary.graded) for cell in self.cells)

    @property
    def cost(self) -> Cost:
        """The sum over all answers."""
        return sum((cell.summary.cost for cell in self.cells), Cost())

    @property
    def events(self) -> Events:
        """The sum over all answers."""
        return sum((cell.summary.events for cell in self.cells), Events())

    @property
    def tokens(self) -> float:
        """Tokens of a problem, on average: what methods are compared by."""
        cost = self.cost
        return (cost.total_tokens if self.weighted else cost.policy_tokens) / max(1, self.answers)

    @property
    def accuracy(self) -> float:
        return accuracy_of(self.side, self.side.problems)[0]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy."""
        return accuracy_of(self.side, self.side.problems)[1]


def methods_of(grid: Grid) -> list[Method]:
    """The methods of a grid, in its order."""
    cells: dict[tuple[str, str], list[Cell]] = {}
    for cell in grid.cells:
        cells.setdefault((cell.strategy, cell.budget), []).append(cell)
    weighted = all(cell.summary.cost.total_tokens for cell in grid.cells)
    several = len(grid.budgets) > 1
    methods = []
    for (strategy, budget), group in cells.items():
        name = f"{strategy} {budget}" if several and budget != DEFAULT else strategy
        methods.append(Method(name, group, side_of(name, group), weighted))
    return methods


@dataclass(frozen=True, slots=True)
class Standings:
    """Who is better than whom. Methods are named by their indices.

    pairs: of each two methods that have problems in common, the smaller index first.
    baselines: of each method that is no baseline, the one it is compared with: that at the same budget, else
        the cheapest. adjusted: p against the baseline, after Holm's correction over all methods that are
        compared with this one. Bounds are in neither.
    """

    methods: Sequence[Method]
    pairs: Mapping[tuple[int, int], Comparison]
    baselines: Mapping[int, int]
    adjusted: Mapping[int, float]

    @property
    def unit(self) -> str:
        """What `Method.tokens` counts."""
        return "total tokens" if self.methods[0].weighted else "policy tokens"

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
        """All methods but bounds."""
        return [index for index, method in enumerate(self.methods) if not method.is_bound]

    def best_of(self, indices: Iterable[int]) -> int:
        """The most accurate of some methods; of equal ones the cheapest."""
        return max(indices, key=lambda i: (self.methods[i].accuracy, -self.methods[i].tokens))

    @property
    def best(self) -> int:
        """The most accurate method."""
        return self.best_of(self.results or range(len(self.methods)))

    @property
    def frontier(self) -> list[int]:
        """The methods that are more accurate than all cheaper ones, from the cheapest on."""
        order = sorted(self.results, key=lambda i: (self.methods[i].tokens, -self.methods[i].accuracy))
        kept = list[int]()
        for index in order:
            if not kept or self.methods[index].accuracy > self.methods[kept[-1]].accuracy:
                kept.append(index)
        return kept

    def corrected(self, index: int, others: Iterable[int]) -> dict[int, float]:
        """p of one method against each of the others, after Holm's correction."""
        ps = {other: pair.p for other in others if other != index and (pair := self.pair(index, other))}
        return dict(zip(ps, holm(list(ps.values())), strict=True))


def standings(methods: Sequence[Method], baseline: str) -> Standings:
    """Compare all methods with each other. baseline: the strategy that others are compared with."""
    pairs = {
        (i, j): compare(methods[i].side, methods[j].side)
        for i, j in combinations(range(len(methods)), 2)
        if set(methods[i].side.problems) & set(methods[j].side.problems)
    }
    named = {method.budget: i for i, method in enumerate(methods) if method.strategy == baseline}
    cheapest = min(named.values(), key=lambda i: methods[i].tokens, default=0)
    bases = {
        i: named.get(method.budget, cheapest)
        for i, method in enumerate(methods)
        if not method.is_bound and i not in named.values() and i != cheapest
    }
    found = Standings(methods, pairs, bases, {})
    adjusted = dict[int, float]()
    for base in set(bases.values()):
        adjusted |= found.corrected(base, [i for i in bases if bases[i] == base])
    return Standings(methods, pairs, bases, adjusted)
