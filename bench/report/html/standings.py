"""Who is better than whom: every method beside every other one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from bench.report.comparison import Comparison, compare
from bench.report.methods import Method, Versus, against_baseline
from bench.report.stats import holm


@dataclass(frozen=True, slots=True)
class Standings:
    """Who is better than whom. Methods are named by their indices.

    baseline: the strategy that others are compared with. pairs: of each two methods that have problems in
        common, in one of the two orders. versus: of each method that is compared with the baseline.
    """

    methods: Sequence[Method]
    baseline: str
    pairs: Mapping[tuple[int, int], Comparison]
    versus: Mapping[int, Versus]

    @property
    def unit(self) -> str:
        """What `Method.tokens` counts."""
        return "total tokens" if self.methods[0].weighted else "policy tokens"

    def pair(self, a: int, b: int) -> Comparison | None:
        """The comparison of two methods, whichever of them is its A."""
        return self.pairs.get((a, b)) or self.pairs.get((b, a))

    def base(self, index: int) -> int | None:
        """The baseline that a method is compared with."""
        return self.methods.index(self.versus[index].base) if index in self.versus else None

    def difference(self, a: int, b: int) -> tuple[float, tuple[float, float]] | None:
        """The accuracy of `a` less that of `b`, in points, with its 95 % interval."""
        pair = self.pair(a, b)
        if pair is None:
            return None
        low, high = pair.interval
        return (pair.difference, (low, high)) if (a, b) in self.pairs else (-pair.difference, (-high, -low))

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
    versus = {methods.index(method): found for method, found in against_baseline(methods, baseline).items()}
    pairs = {(i, methods.index(found.base)): found.comparison for i, found in versus.items()}
    for i, j in combinations(range(len(methods)), 2):
        common = set(methods[i].side.problems) & set(methods[j].side.problems)
        if common and (i, j) not in pairs and (j, i) not in pairs:
            pairs[i, j] = compare(methods[i].side, methods[j].side)
    return Standings(methods, baseline, pairs, versus)
