"""What a report says in plain words: which method to use, at which cost, and whether it is noise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from bench.report.comparison import ALPHA
from bench.report.html.standings import Standings
from bench.report.markdown import interval, percent
from bench.report.stats import holm

FEW = 100
"""Below so many problems, a warning is given."""


def in_short(found: Standings) -> list[str]:
    """The answer to "which one should I use, and is it noise?", a few sentences, the first one first."""
    best, base = found.best, found.base(found.best)
    if len(found.results) < 2:
        return [f"{_result(found, best)}. There is nothing to compare it with."]
    times = "" if base is None else _times(found, best, base)
    return [
        f"{_result(found, best)}. Of {len(found.results)} methods it is the most accurate{times}.",
        _against_baseline(found), *_next_best(found), _cheapest(found), *_warnings(found),
    ]  # fmt: skip


def _result(found: Standings, index: int) -> str:
    method = found.methods[index]
    n, seeds = len(method.side.problems), len(method.cells)
    runs = f" (mean of {seeds} seeds)" if seeds > 1 else ""
    return (
        f"{method.name} solves {percent(method.accuracy)} {interval(method.interval)} of {n:,} problems{runs}"
        f", for {method.tokens:,.0f} {found.unit} each"
    )


def _times(found: Standings, index: int, base: int) -> str:
    ratio = found.methods[index].tokens / max(1.0, found.methods[base].tokens)
    return f", for {ratio:.1f} times the tokens of {found.methods[base].name}"


def _against_baseline(found: Standings) -> str:
    method, versus = found.methods[found.best], found.versus.get(found.best)
    if method.strategy == found.baseline:
        return f"It is the baseline itself: no other method is more accurate than {method.name}."
    if versus is None:
        return (
            f"It is compared with nothing: {found.baseline}, the baseline, has no result at the same budget."
        )
    pair, name = versus.comparison, f"{versus.base.name}, the baseline"
    seen = f"It is {pair.difference:.1f} points {_points(pair.interval)} above {name}"
    count = _corrected(versus.p, versus.tests)
    if not versus.is_noise:
        return f"{seen}. This is more than noise ({count})."
    more = "" if pair.needed is None or pair.needed <= len(pair.problems) else (
        f": if the difference is real, about {pair.needed:,} problems are needed to show it"
    )  # fmt: skip
    return f"{seen}. This is within the noise ({count}){more}."


def _next_best(found: Standings) -> list[str]:
    """The most accurate of the other strategies, unless it is the baseline, which has its sentence."""
    best, adjusted = found.best, found.corrected(found.best, found.results)
    strategy = found.methods[best].strategy
    others = [index for index in adjusted if found.methods[index].strategy != strategy]
    following = found.best_of(others) if others else None
    if following is None or following == found.base(best):
        return []
    difference = found.difference(best, following)
    assert difference is not None, "a p is of two methods with problems in common"
    method, noise = found.methods[following], adjusted[following] >= ALPHA
    return [
        f"It is {difference[0]:.1f} points {_points(difference[1])} above the next best strategy, "
        f"{method.name} with {percent(method.accuracy)}. This is {'within the' if noise else 'more than'} "
        f"noise ({_corrected(adjusted[following], len(adjusted))})."
    ]


def _cheapest(found: Standings) -> str:
    """The cheapest method that is not shown to be less accurate than the best one."""
    best, adjusted = found.best, found.corrected(found.best, found.results)
    level = [index for index, p in adjusted.items() if p >= ALPHA]
    cheapest = min([best, *level], key=lambda index: found.methods[index].tokens)
    method, top = found.methods[cheapest], found.methods[best]
    difference = found.difference(cheapest, best)
    if difference is None:
        cheaper = any(found.methods[index].tokens < top.tokens for index in found.results)
        return (
            f"Every cheaper method is less accurate than {top.name} by more than noise: use {top.name}."
            if cheaper else f"No other method is cheaper either: use {top.name}."
        )  # fmt: skip
    points, bounds = difference
    share = method.tokens / max(1.0, top.tokens)
    return (
        f"If tokens matter, use {method.name}: it solves {percent(method.accuracy)} for "
        f"{method.tokens:,.0f} {found.unit}, {100 * share:.0f} % of what {top.name} takes. It is the "
        f"cheapest method whose difference to {top.name} is within the noise: {points:+.1f} points "
        f"{_points(bounds)}, {_corrected(adjusted[cheapest], len(adjusted))}. Within the noise does not mean "
        "equal: the interval says how much worse it may be."
    )


def _warnings(found: Standings) -> list[str]:
    sizes = {len(found.methods[index].side.problems) for index in found.results}
    lines = []
    if min(sizes) < FEW:
        lines.append(
            f"{min(sizes):,} problems are few: only large differences can be told from noise. The best of "
            "several methods also looks better than it is, because it was picked as the best."
        )
    if len(sizes) > 1:
        lines.append("The methods do not have the same problems: two are compared on those that both have.")
    return lines


def by_budget(found: Standings) -> list[dict[str, Any]]:
    """At each budget, the most accurate method and its difference to the baseline; [] for a single budget."""
    budgets: dict[str, list[int]] = {}
    for index in found.results:
        budgets.setdefault(found.methods[index].budget, []).append(index)
    rows = list[dict[str, Any]]()
    for budget, indices in budgets.items() if len(budgets) > 1 else ():
        best = found.best_of(indices)
        row: dict[str, Any] = {"budget": budget, "method": best}
        if (versus := found.versus.get(best)) is not None:
            pair = versus.comparison
            row |= {"points": pair.difference, "bounds": pair.interval, "p": versus.p,
                    "base": found.base(best)}
        rows.append(row)
    return rows


def steps_up(found: Standings) -> list[dict[str, Any]]:
    """What more tokens buy: the frontier, each method with its gain over the one before it."""
    indices = found.frontier
    gains = [found.pair(a, b) for a, b in pairwise(indices)]
    ps = holm([pair.p for pair in gains if pair is not None])
    rows: list[dict[str, Any]] = [{"method": index} for index in indices[:1]]
    for before, index, pair in zip(indices, indices[1:], gains, strict=False):
        row: dict[str, Any] = {"method": index}
        difference = found.difference(index, before)
        if pair is not None and difference is not None:
            row |= {"points": difference[0], "bounds": difference[1], "p": ps.pop(0)}
        rows.append(row)
    return rows


def _points(bounds: Sequence[float]) -> str:
    low, high = (bound if round(bound, 1) else 0.0 for bound in bounds)  # no "-0.0"
    return f"[{low:+.1f}, {high:+.1f}]"


def _corrected(p: float, tests: int) -> str:
    """p after Holm's correction, and for how many comparisons."""
    return _p_text(p) if tests == 1 else f"{_p_text(p)}, corrected for {tests} comparisons"


def _p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
