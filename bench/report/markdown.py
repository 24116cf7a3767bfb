"""Results in Markdown: shares, intervals, paired tests and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def interval(bounds: Sequence[float]) -> str:
    """An interval of a share, in per cent."""
    return f"[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"


def accuracy(row: Mapping[str, Any]) -> str:
    """The accuracy of a run, with its interval. row: as `Summary.as_json` returns it."""
    return f"{percent(row['accuracy'])} {interval(row['ci95'])}"


def paired(test: Mapping[str, Any]) -> str:
    """A difference in points and McNemar's p. test: the fields of `bench.report.stats.Paired`."""
    p = test["p"]
    return f"{test['points']:+.1f} ({'p < 0.001' if p < 0.001 else f'p = {p:.3f}'})"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, with a blank line at the end."""
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)] + [""]
