"""report.md: a grid as a page with pictures, in words first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report.comparison import ALPHA
from bench.report.curves import Curve, draw_curves
from bench.report.diagnosed import DiagnosedGrid, Diagnoses
from bench.report.files import replace_text
from bench.report.grid import DEFAULT, Grid
from bench.report.grid_pool import PassAtK, pool_of
from bench.report.grid_table import Line, tables_of
from bench.report.markdown import interval, percent, table
from bench.report.methods import Versus
from bench.report.sides import BASELINE

PICTURE = "accuracy.png"
HARDWARE = ("cpu", "cores", "gpu")
COLUMNS = """\
| column | meaning |
|---|---|
| accuracy | share of right answers, with its 95 % interval: {interval} |
| against `{baseline}` | difference of the accuracies in points, with the 95 % interval of a bootstrap over \
problems{clustered} |
| p | {test}; in the next column after Holm's correction for all comparisons of a table ({tests}) |
| verdict | within the noise: the corrected p is {alpha} or more. Within the noise does not mean equal |
| needed | problems that it would take to show this difference (80 % power at the 5 % level, one test) |
| any right | share of answers for which at least one finished candidate is right: pass@N, what a perfect \
choice would reach |
| total tokens | of one answer: sampled tokens, and tokens of scored steps times {weight:.2f}, the reward \
model's parameters over the policy's |
| used | total tokens over the budget |
"""


def write_page(report: DiagnosedGrid, out: Path) -> None:
    """Write report.md and its picture. Raises UsageError if a trace cannot be read."""
    grid, tables = report.grid, tables_of(report.grid)
    draw(tables, out / PICTURE)
    pool = pool_of(grid, grid.budgets[-1], report.graders)
    replace_text(out / "report.md", page(grid, tables, report.diagnoses, pool))


def draw(tables: Mapping[str, Sequence[Line]], path: Path) -> None:
    """Accuracy against total tokens; the most accurate strategy at the last budget first in the legend.

    Greedy chain of thought, which no budget changes, is a level.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    methods = [line.method for rows in tables.values() for line in rows]
    for method in methods:
        points.setdefault(method.strategy, []).append((method.total_tokens, method.accuracy))
    greedy = [method for method in methods if method.strategy == BASELINE]
    points.pop(BASELINE, None)
    # The looks follow the names, so that a strategy looks the same in all pictures of a set of strategies.
    styles = {name: number for number, name in enumerate(sorted(points))}
    last = [line.method.strategy for rows in reversed(list(tables.values())) for line in rows]
    bounds = {method.strategy for method in methods if method.is_bound}
    curves = [
        Curve(name, sorted(points[name]), styles[name], is_bound=name in bounds)
        for name in dict.fromkeys(last)
        if name in points
    ]
    draw_curves(curves, path, level=("greedy", greedy[-1].accuracy) if greedy else None)


def page(
    grid: Grid, tables: Mapping[str, Sequence[Line]], diagnoses: Diagnoses, pool: PassAtK | None = None
) -> str:
    """The page, in Markdown."""
    rows = [line for table in tables.values() for line in table]
    seeds = max((len(line.method.cells) for line in rows), default=1)
    text = [f"# {grid.title}", "", "```", grid.command, "```", ""]
    text += [_size(grid, seeds), ""]
    if grid.missing:
        text += [f"**Not finished**: {len(grid.missing):,} cells are missing.", ""]
    for budget, found in tables.items():
        text += [f"- {sentence}" for sentence in _summary(grid, budget, found)]
    text += ["", f"![Accuracy against total tokens]({PICTURE})", ""]
    for budget, found in tables.items():
        text += [f"## {_heading(budget)}", "", *_table(grid, found, diagnoses)]
        text += [*_turns(found), *_notes(found)]
    text += ["## How to read the tables", "", *_columns(grid, tables, seeds)]
    text += _diagnosed(list(tables)[-1], diagnoses)
    if pool is not None:
        text += _pool(pool)
    text += ["## What was run", "", *_facts(grid)]
    return "\n".join(text).rstrip() + "\n"


def _size(grid: Grid, seeds: int) -> str:
    runs = f", each with {seeds} seeds" if seeds > 1 else ""
    return f"{len(grid.problems):,} problems of the task {grid.task}{runs}. Compared with `{grid.baseline}`."


def _heading(budget: str) -> str:
    if budget == DEFAULT:
        return "default parameters"
    return f"{budget} greedy's cost" if budget.endswith("x") else f"budget {budget}"


def _summary(grid: Grid, budget: str, table: Sequence[Line]) -> list[str]:
    """What a table says, in words."""
    results = [line for line in table if not line.method.is_bound]
    if not results:
        return []
    best = results[0]
    said = f"{_heading(budget)}: `{best.method.strategy}` is the most accurate, with {_accuracy(best)}"
    if best.versus is not None and best.versus.comparison.difference > 0:
        said += f"; {_points(best.versus)} points against `{grid.baseline}`, {_noise(best.versus)}."
    elif any(line.is_baseline for line in table):
        said += "; no strategy is above the baseline."
    else:
        said += f"; `{grid.baseline}` is not finished, so that nothing is compared."
    for verdict, word in (("better", "Better"), ("worse", "Worse"), ("within the noise", "Within the noise")):
        if names := [f"`{line.method.strategy}`" for line in results if line.verdict == verdict]:
            said += f" {word}: {', '.join(names)}."
    return [said]


def _noise(versus: Versus) -> str:
    if not versus.is_noise:
        return f"which is more than noise ({_p(versus.p)} after Holm's correction)"
    needed = versus.comparison.needed
    more = "" if needed is None or needed <= len(versus.comparison.problems) else (
        f"; if it is real, about {needed:,} problems would show it"
    )  # fmt: skip
    return f"which is within the noise ({_p(versus.p)} after Holm's correction{more})"


def _table(grid: Grid, rows: Sequence[Line], diagnoses: Diagnoses) -> list[str]:
    heads = [
        "strategy", "accuracy [95 %]", f"against `{grid.baseline}`, points [95 %]", "p", "p (Holm)",
        "verdict", "needed", "any right", "total tokens", "used",
    ]  # fmt: skip
    return table(heads, [_cells(line, diagnoses) for line in rows])


def _cells(line: Line, diagnoses: Diagnoses) -> list[str]:
    method, versus = line.method, line.versus
    compared = ["", "", "", line.verdict, ""]
    if versus is not None:
        needed = versus.comparison.needed
        compared = [
            _points(versus), _p(versus.comparison.p, ""), _p(versus.p, ""), line.verdict,
            "" if needed is None else f"{needed:,}",
        ]  # fmt: skip
    diagnosis = diagnoses.get((method.strategy, method.budget))
    return [
        f"`{method.strategy}`", _accuracy(line), *compared,
        "" if diagnosis is None else percent(diagnosis.oracle), f"{method.total_tokens:,.0f}",
        "" if method.used is None else percent(method.used),
    ]  # fmt: skip


def _turns(lines: Sequence[Line]) -> list[str]:
    """Success at turn k, where there are episodes."""
    by_turn = {line.method.strategy: line.method.right_by_turn for line in lines}
    most = max(map(len, by_turn.values()), default=0)
    if not most:
        return []
    rows = [
        [f"`{name}`", *map(percent, shares + shares[-1:] * (most - len(shares)))]
        for name, shares in by_turn.items()
        if shares
    ]
    return [
        "Right after turn k; an episode that has ended keeps its answer:", "",
        *table(["strategy", *map(str, range(1, most + 1))], rows),
    ]  # fmt: skip


def _notes(rows: Sequence[Line]) -> list[str]:
    methods = [line.method for line in rows if line.method.failed]
    failed = [f"`{method.strategy}` {method.failed:,} of {method.answers:,}" for method in methods]
    return [f"Failed with an error, and counted as wrong: {', '.join(failed)}.", ""] if failed else []


def _columns(grid: Grid, tables: Mapping[str, Sequence[Line]], seeds: int) -> list[str]:
    several = seeds > 1
    tests = {line.versus.tests for rows in tables.values() for line in rows if line.versus is not None}
    text = COLUMNS.format(
        baseline=grid.baseline, tests=" or ".join(map(str, sorted(tests))) or "0", alpha=ALPHA,
        weight=grid.asked.get("prm_weight") or 0.0,
        interval="a bootstrap over problems" if several else "Wilson's",
        clustered=", which draws a problem with all its seeds" if several else "",
        test="the exact sign-flip test over problems" if several else "McNemar's exact test",
    )  # fmt: skip
    return [*text.splitlines(), ""]


def _diagnosed(budget: str, diagnoses: Diagnoses) -> list[str]:
    text = [f"## Why problems are lost, at {_heading(budget)}", ""]
    for (name, at), diagnosis in diagnoses.items():
        if at == budget:
            text.append(f"- `{name}`: {diagnosis.sentence}")
    return [*text, ""]


def _pool(pool: PassAtK) -> list[str]:
    return [
        "## pass@k", "",
        f"Of the finished solutions of `{pool.strategy}` at {_heading(pool.budget)}, {pool.finished:.1f} for "
        "an answer: the share of problems for which at least one of k is right, without bias, with the 95 % "
        "interval of a bootstrap over problems. No choice among k solutions can be more accurate.", "",
        *table(
            ["k", *(str(k) for k in pool.ks)],
            [["pass@k", *(f"{percent(share)} {interval(bounds)}" for share, bounds in pool.shares)]],
        ),
    ]  # fmt: skip


def _facts(grid: Grid) -> list[str]:
    models = grid.asked.get("models", {})
    machines = [cell.machine for cell in grid.cells if cell.machine]
    versions = [(name, found) for m in machines for name, found in m.items() if name not in HARDWARE]
    facts = {
        "policy": _model(grid.policy, models.get("policy_weights")),
        "reward model": "none" if grid.prm is None else _model(grid.prm, models.get("prm_weights")),
        "episodes": _episodes(grid.asked.get("episodes")),
        "engine": str(models.get("engine", "")),
        "seeds": ", ".join(str(seed) for seed in grid.asked.get("seeds", ())),
        "code": ", ".join(dict.fromkeys(cell.summary.revision for cell in grid.cells)),
        "hardware": "; ".join(dict.fromkeys(map("{cpu}, {cores} cores, GPU: {gpu}".format_map, machines))),
        "versions": ", ".join(f"{name} {version}" for name, version in dict.fromkeys(versions)),
    }
    return table(["", ""], [[name, value] for name, value in facts.items() if value])


def _episodes(spec: Mapping[str, Any] | None) -> str:
    """spec: as grid.json holds it."""
    if spec is None:
        return ""
    words = [spec["environment"], f"--turns {spec['turns']}"]
    words += ["--verdicts"] if spec["verdicts"] else []
    words += [f"--critic {spec['critic']}"] if spec["critic"] else []
    return " ".join(words)


def _model(name: str, weights: str | None) -> str:
    return f"{name}, weights {weights}" if weights else name


def _accuracy(line: Line) -> str:
    return f"{percent(line.method.accuracy)} {interval(line.method.interval)}"


def _points(versus: Versus) -> str:
    low, high = versus.comparison.interval
    return f"{versus.comparison.difference:+.1f} [{low:+.1f}, {high:+.1f}]"


def _p(p: float, name: str = "p = ") -> str:
    small = f"{name.replace('=', '<')}0.001" if name else "< 0.001"
    return small if p < 0.001 else f"{name}{p:.3f}"
