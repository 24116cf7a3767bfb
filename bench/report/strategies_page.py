"""The page and the picture of `python -m bench.strategies`: every strategy at equal cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.report.curves import Curve, draw_curves
from bench.report.markdown import accuracy, paired, percent, table
from bench.report.stats import Paired
from bench.report.strategies_text import ABOUT, COLUMNS, INTRO, TITLE
from bench.report.summary import Summary
from search.strategies import STRATEGIES
from search.tree import StepGuided

GREEDY, POOL, VOTE, ORACLE = "cot", "best_of_n", "weighted_vote", "oracle_best_of_n"
JUDGED_AT = 16
"""The budget at which tree searches are held against sampling."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well the reward model tells right steps from wrong ones, at one depth.

    auc: None if one kind is missing.
    """

    depth: int
    steps: int
    wrong: int
    auc: float | None


@dataclass(frozen=True, slots=True)
class Results:
    """cells: by budget in times greedy's cost, then by strategy; all on the same problems.

    default: HGS with its own parameters. matched: best-of-N at the total that it took.
    rankings: of the steps that best-of-N sampled at the budget `JUDGED_AT`, or the largest one.
    """

    cells: Mapping[int, Mapping[str, Summary]]
    default: Summary
    matched: Summary
    rankings: Sequence[Ranking]
    command: str

    @property
    def judged_at(self) -> int:
        return JUDGED_AT if JUDGED_AT in self.cells else max(self.cells)


def page(results: Results, picture: str = "strategies.png") -> str:
    """The page, in Markdown."""
    greedy = next(iter(results.cells.values()))[GREEDY]
    allowance = next(s.allowance for s in next(iter(results.cells.values())).values() if s.allowance)
    intro = INTRO.format(
        weight=allowance.prm_weight, n=len(greedy.graded), seed=greedy.seed,
        greedy=greedy.cost.policy_tokens / len(greedy.graded), accuracy=accuracy(greedy.as_json()),
    )  # fmt: skip
    lines = [f"# {TITLE}", "", intro, "", "```", results.command, "```", ""]
    lines += [f"![Accuracy against total tokens]({picture})", "", COLUMNS, ""]
    lines += ["## HGS at its default against best-of-N", "", _default(results), ""]
    lines += [f"## Tree search against sampling, at {results.judged_at}x", "", *_judged(results)]
    for times, row in results.cells.items():
        lines += [f"## {times} times greedy's cost", "", *_table(row)]
    lines += ["## The strategies", ""]
    for name in STRATEGIES:
        lines += _strategy(name, results)
    return "\n".join(lines).rstrip() + "\n"


def _table(row: Mapping[str, Summary]) -> list[str]:
    heads = ["strategy", "accuracy [95 %]", "total tokens", "used", "against best-of-N, points", "seconds"]
    shown = sorted((s for s in row.values() if s.strategy != ORACLE), key=lambda s: -s.correct)
    oracle = row[ORACLE]
    cells = [[f"`{s.strategy}`", *_figures(s, row)] for s in shown]
    return _filled(heads, [*cells, ["*pass@N*", f"*{percent(_share(oracle))}*", "", "", "", ""]])


def _filled(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table without the columns in which nothing stands."""
    kept = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    return table([heads[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _figures(summary: Summary, row: Mapping[str, Summary]) -> list[str]:
    n = max(1, len(summary.graded))
    total = summary.cost.total_tokens / n
    used = "" if summary.used is None else percent(summary.used)
    against = "" if summary.strategy == POOL else _paired(summary.against(row[POOL]))
    seconds = "" if summary.events.replayed else f"{summary.seconds / n:.2f}"
    return [accuracy(summary.as_json()), f"{total:,.0f}", used, against, seconds]


def _strategy(name: str, results: Results) -> list[str]:
    about, last = ABOUT[name], results.cells[max(results.cells)][name]
    given = ", ".join(f"`{param}={value}`" for param, value in _own(name).items())
    heads = ["budget", "accuracy [95 %]", "total tokens", "used", "against best-of-N, points", "seconds"]
    rows = [[f"{times}x", *_figures(row[name], row)] for times, row in results.cells.items()]
    scaled = {param: value for param, value in last.params.items() if value != _own(name).get(param)}
    lines = [f"### {name}", "", "```", about.code, "```", "", about.helps, "", f"Parameters: {given}."]
    if scaled:
        values = ", ".join(f"`{param}={value}`" for param, value in scaled.items())
        lines[-1] += f" At {max(results.cells)}x: {values}."
    return [*lines, "", *_filled(heads, rows if name != GREEDY else rows[:1])]


def _own(name: str) -> dict[str, object]:
    return asdict(STRATEGIES[name]())  # type: ignore[call-overload,no-any-return]


def _default(results: Results) -> str:
    ours, theirs = results.default, results.matched
    n = max(1, len(ours.graded))
    test = ours.against(theirs)
    who = "neither is more accurate" if test.won == test.lost else (
        f"{'HGS' if test.won > test.lost else 'best-of-N'} is more accurate"
    )  # fmt: skip
    return (
        f"HGS with its default parameters takes {ours.cost.total_tokens / n:,.0f} total tokens a problem and "
        f"solves {accuracy(ours.as_json())}. Best-of-N at that budget takes "
        f"{theirs.cost.total_tokens / n:,.0f} and solves {accuracy(theirs.as_json())}. So {who}: HGS alone "
        f"solves {test.won} of the problems, best-of-N alone {test.lost}; {_paired(test)} points, "
        "McNemar's exact test."
    )


def _judged(results: Results) -> list[str]:
    row = results.cells[results.judged_at]
    trees = [s for s in row.values() if issubclass(STRATEGIES.get(s.strategy, object), StepGuided)]
    best = max(trees, key=lambda s: s.correct)
    lines, behind = [], False
    for name in (POOL, VOTE):
        other = row[name]
        ahead = best.correct >= other.correct
        behind = behind or not ahead
        word = "at least as accurate as" if ahead else "less accurate than"
        lines.append(
            f"The best of {len(trees)} tree searches, `{best.strategy}` with {accuracy(best.as_json())}, is "
            f"{word} `{name}` with {accuracy(other.as_json())}: {_paired(best.against(other))} points. Being "
            "picked as the best favours it."
        )
        lines.append("")
    gap = _share(row[ORACLE]) - _share(row[POOL])
    why = "Why it is behind" if behind else "What is left"
    lines += [
        f"{why}: of the problems, {percent(_share(row[ORACLE]))} have a right solution in the pool of "
        f"best-of-N, and {percent(_share(row[POOL]))} are solved; the reward model's choice loses "
        f"{100 * gap:.1f} points. How well it ranks the pool's steps, by depth:",
        "",
    ]
    heads = ["step", "scored", "wrong", "AUC, right above wrong"]
    cells = [
        [str(r.depth), f"{r.steps:,}", f"{r.wrong:,}", "" if r.auc is None else f"{r.auc:.3f}"]
        for r in results.rankings
    ]
    return [*lines, *table(heads, cells)]


def _share(summary: Summary) -> float:
    return summary.correct / max(1, len(summary.graded))


def _paired(test: Paired) -> str:
    return paired(asdict(test))


def draw(results: Results, path: Path) -> None:
    """Accuracy against total tokens, one line a strategy; best at the largest budget first in the legend."""
    rows, last = results.cells.values(), results.cells[max(results.cells)]
    names = [name for name in STRATEGIES if name != GREEDY]
    curves = [
        Curve(name, [(_tokens(row[name]), _share(row[name])) for row in rows], number)
        for number, name in sorted(enumerate(names), key=lambda item: -last[item[1]].correct)
    ]
    bound = [(_tokens(row[POOL]), _share(row[ORACLE])) for row in rows]
    curves.append(Curve("pass@N (bound)", bound, is_bound=True))
    draw_curves(curves, path, level=("greedy", _share(last[GREEDY])))


def _tokens(summary: Summary) -> float:
    return summary.cost.total_tokens / len(summary.graded)
