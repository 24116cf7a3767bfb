"""What a report says in plain words: which method to use, at which cost, and whether it is noise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from bench.report.comparison import ALPHA
from bench.report.html.methods import Method, Standings
from bench.report.markdown import interval, percent
from bench.report.stats import holm

FEW = 100
"""Below so many problems, a warning is given."""


def in_short(found: Standings) -> list[str]:
    """The answer to "which one should I use, and is it noise?", a few sentences, the first one first."""
    if len(found.results) < 2:
        return [f"{_result(found.methods[index])}. There is nothing to compare it with." for index in
                found.results]  # fmt: skip
    best = found.methods[found.best]
    times = "" if found.best == found.baseline else _times(best, found.methods[found.baseline])
    return [
        f"{_result(best)}, the most of {len(found.results)}{times}.",
        _against_baseline(found), _cheapest(found), *_warnings(found),
    ]  # fmt: skip


def _result(method: Method) -> str:
    n, seeds = len(method.side.problems), len(method.cells)
    runs = f" (mean of {seeds} seeds)" if seeds > 1 else ""
    return (
        f"{method.name} solves {percent(method.accuracy)} {interval(method.interval)} of {n:,} problems{runs}"
        f", for {method.tokens:,.0f} policy tokens each"
    )


def _times(method: Method, other: Method) -> str:
    ratio = method.tokens / max(1.0, other.tokens)
    return f"; that is {ratio:.1f} times the tokens of {other.name}"


def _against_baseline(found: Standings) -> str:
    base, best = found.methods[found.baseline], found.best
    if best == found.baseline:
        return f"No other method is more accurate than {base.name}, with which all are compared."
    p = found.adjusted.get(best)
    difference = found.difference(best, found.baseline)
    pair = found.pair(best, found.baseline)
    if p is None or difference is None or pair is None:
        return f"It has no problem in common with {base.name}, with which all are compared."
    points, bounds = difference
    seen = f"It is {points:.1f} points {_points(bounds)} above {base.name}, with which all are compared"
    k = len(found.adjusted)
    count = p_text(p) if k == 1 else f"{p_text(p)}, corrected for {k} comparisons"
    if p < ALPHA:
        return f"{seen}. This is more than noise ({count})."
    more = "" if pair.needed is None or pair.needed <= len(pair.problems) else (
        f": if the difference is real, about {pair.needed:,} problems are needed to show it"
    )  # fmt: skip
    return f"{seen}. This is within the noise ({count}){more}."


def _cheapest(found: Standings) -> str:
    """The cheapest method that is not shown to be less accurate than the best one."""
    best, adjusted = found.best, found.corrected(found.best, found.results)
    level = [index for index, p in adjusted.items() if p >= ALPHA]
    cheapest = min([best, *level], key=lambda index: found.methods[index].tokens)
    method, top = found.methods[cheapest], found.methods[best]
    if cheapest == best:
        return f"Every cheaper method is less accurate than {top.name} by more than noise: use {top.name}."
    difference = found.difference(cheapest, best)
    assert difference is not None
    points, bounds = difference
    share = method.tokens / top.tokens if top.tokens else 1.0
    return (
        f"If tokens matter, use {method.name}: it solves {percent(method.accuracy)} for "
        f"{method.tokens:,.0f} policy tokens, {100 * share:.0f} % of what {top.name} takes. It is the "
        f"cheapest method whose difference to {top.name} is within the noise: {points:+.1f} points "
        f"{_points(bounds)}, {p_text(adjusted[cheapest])}. Within the noise does not mean "
        "equal; the interval says how much worse it may be."
    )


def _warnings(found: Standings) -> list[str]:
    n = min(len(found.methods[index].side.problems) for index in found.results)
    lines = []
    if n < FEW:
        lines.append(
            f"{n:,} problems are few: only large differences can be told from noise. "
            "The best of several methods also looks better than it is, because it was picked as the best."
        )
    if len({len(found.methods[index].side.problems) for index in found.results}) > 1:
        lines.append("The methods do not have the same problems: two are compared on those that both have.")
    return lines


def steps_up(found: Standings) -> list[dict[str, object]]:
    """What more tokens buy: the frontier, each method with its gain over the one before it."""
    indices = found.frontier
    gains = [found.pair(a, b) for a, b in pairwise(indices)]
    ps = holm([pair.p for pair in gains if pair is not None])
    rows: list[dict[str, object]] = [{"method": index} for index in indices[:1]]
    for before, index, pair in zip(indices, indices[1:], gains, strict=False):
        row: dict[str, object] = {"method": index}
        difference = found.difference(index, before)
        if pair is not None and difference is not None:
            row |= {"points": difference[0], "bounds": difference[1], "p": ps.pop(0)}
        rows.append(row)
    return rows


def _points(bounds: Sequence[float]) -> str:
    low, high = (bound if round(bound, 1) else 0.0 for bound in bounds)  # no "-0.0"
    return f"[{low:+.1f}, {high:+.1f}]"


def p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
