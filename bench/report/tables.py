"""The results of a run as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.report.summary import Summary
from bench.tasks.oracle import guided_name, is_oracle
from search.strategies import STRATEGIES

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the result tables. cells: [strategies]."""

    head: str
    cells: Sequence[str]

    @property
    def width(self) -> int:
        return max(map(len, [*self.head.split("\n"), *self.cells]))


def closing_tables(
    summaries: Sequence[Summary], baseline: Summary | None, width: int
) -> list[RenderableType]:
    """Accuracy and cost of a run, for a screen that is `width` columns wide.

    The result is one table if it fits, otherwise several. Columns that belong together stay together.
    """
    first = summaries[0]
    n = len(first.graded)
    title = f"{first.task}, {n:,} problems, seed {first.seed}"
    names = Column("strategy", [summary.strategy for summary in summaries])
    rows = [summary.as_json(baseline) for summary in summaries]
    parts: list[RenderableType] = [""]
    for blocks in _fit([_accuracy(rows, baseline), _tokens(rows, baseline, n), _search(rows)], names, width):
        parts += [_table(title, [names, *blocks]), ""]
        title = ""
    if any("success_at_turn" in row for row in rows):
        parts += [_table("right after turn", [names, *_turns(rows)]), ""]
    groups = [[column] for column in _groups(rows)]
    title = "accuracy by kind of problem"
    for blocks in _fit(groups, names, width):
        parts += [_table(title, [names, *blocks]), ""]
        title = ""
    return [*parts, *_notes(summaries, baseline)]


def _accuracy(rows: Sequence[dict[str, Any]], baseline: Summary | None) -> list[Column]:
    def interval(row: dict[str, Any]) -> str:
        low, high = row["ci95"]
        return f"{row['accuracy']:.1%} [{100 * low:.1f}, {100 * high:.1f}]"

    columns = [Column("accuracy\n[95 %]", [interval(row) for row in rows])]
    if baseline is not None and len(rows) > 1:
        paired = [row.get("versus") for row in rows]
        columns += [
            Column("gain,\npoints", ["" if v is None else f"{v['points']:+.1f}" for v in paired]),
            Column("p", ["" if v is None else _p(v["p"]) for v in paired]),
        ]
    heads = {"without_answer": "no\nanswer", "unfinished": "un-\nfinished", "errors": "failed"}
    if any(row["fallback"] for row in rows):
        heads = {"fallback": "by\nfallback"} | heads
    return [*columns, *(Column(head, [f"{row[name]:,}" for row in rows]) for name, head in heads.items())]


def _tokens(rows: Sequence[dict[str, Any]], baseline: Summary | None, n: int) -> list[Column]:
    columns = [
        Column("policy\ntokens", [f"{row['policy_tokens']:,}" for row in rows]),
        Column("dis-\ncarded", [f"{row['policy_tokens_discarded']:,}" for row in rows]),
        Column("tokens /\nproblem", [f"{row['policy_tokens'] / max(1, n):,.0f}" for row in rows]),
    ]
    if baseline is not None and len(rows) > 1:
        unit = max(1, baseline.cost.policy_tokens)
        ratios = [f"{row['policy_tokens'] / unit:.2f}" for row in rows]
        columns.append(Column(f"times\n{baseline.strategy}", ratios))
    if any("budget" in row for row in rows):
        shares = [f"{row['budget']['used']:.0%}" if "budget" in row else "" for row in rows]
        columns += [
            Column("total\ntokens", [f"{row.get('total_tokens', 0):,}" for row in rows]),
            Column("used /\nbudget", shares),
        ]
    return [
        *columns,
        Column("PRM\ntokens", [f"{row['prm_tokens']:,}" for row in rows]),
        Column("from\ncache", [f"{row['prm_tokens_cached']:,}" for row in rows]),
    ]


def _search(rows: Sequence[dict[str, Any]]) -> list[Column]:
    heads = {
        "samples": "samples", "judgements": "scored\nsteps", "backtracks": "back-\ntracks",
        "duplicates": "dupli-\ncates", "exhausted": "hit\nlimit",
    }  # fmt: skip
    if any(row["late"] for row in rows):
        heads["late"] = "ended by\ndeadline"
    columns = [Column(head, [f"{row[field]:,}" for row in rows]) for field, head in heads.items()]
    return [*columns, Column("seconds", [f"{row['seconds']:,.1f}" for row in rows])]


def _groups(rows: Sequence[dict[str, Any]]) -> list[Column]:
    sizes: dict[str, int] = {name: group["n"] for name, group in rows[0]["by_group"].items()}
    return [
        Column(f"{name}\n(n={n:,})", [f"{row['by_group'][name]['accuracy']:.0%}" for row in rows])
        for name, n in sizes.items()
    ]


def _turns(rows: Sequence[dict[str, Any]]) -> list[Column]:
    reached = [row.get("success_at_turn", []) for row in rows]
    return [
        Column(str(turn), [f"{by_turn[min(turn, len(by_turn)) - 1]['accuracy']:.1%}" if by_turn else ""
                           for by_turn in reached])
        for turn in range(1, max(map(len, reached)) + 1)
    ]  # fmt: skip


GAP = 2


def _fit(groups: Sequence[Sequence[Column]], names: Column, width: int) -> list[list[Column]]:
    """Put as many groups into each table as fit beside the names."""
    tables: list[list[Column]] = []
    left = 0
    for group in groups:
        needed = sum(column.width + GAP for column in group)
        if not tables or needed > left:
            tables.append([])
            left = width - names.width
        tables[-1] += group
        left -= needed
    return tables


def _table(title: str, columns: Sequence[Column]) -> RenderableType:
    from rich import box
    from rich.table import Table

    shown = Table(
        title=title or None, title_justify="left", title_style="bold", header_style="bold",
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0),
    )  # fmt: skip
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "right" if index else "left"
        shown.add_column(column.head, justify=justify, no_wrap=True, vertical="bottom")
    for row in zip(*(column.cells for column in columns), strict=True):
        shown.add_row(*row)
    return shown


def _notes(summaries: Sequence[Summary], baseline: Summary | None) -> list[RenderableType]:
    """The meaning of the columns, and the parameters that are not at their defaults."""
    from rich.text import Text

    lines = []
    for summary in summaries:
        default = asdict(STRATEGIES[guided_name(summary.strategy)]())  # type: ignore[call-overload]
        changed = [f"{param}={value}" for param, value in summary.params.items() if value != default[param]]
        if changed:
            lines.append(f"{summary.strategy} with {' '.join(changed)}")
    if given := next((s.allowance for s in summaries if s.allowance is not None), None):
        amount = f"{given.seconds:g} seconds" if given.tokens is None else f"{given.tokens:,} total tokens"
        lines.append(
            f"budget {given.text}: {amount} a problem; total tokens are policy tokens, and tokens of scored "
            f"steps times {given.prm_weight:.2f}, the reward model's parameters over the policy's"
        )
    if any(is_oracle(summary.strategy) for summary in summaries):
        lines.append("oracle_...: guided by the reference answers, an upper bound and not a result")
    if baseline is not None and len(summaries) > 1:
        lines.append(f"gain: over {baseline.strategy}, greedy, on the same problems; p: McNemar's exact test")
    if any(graded.fallback for summary in summaries for graded in summary.graded):
        lines.append(
            "by fallback: the solution states no answer, and its last mathematics or number was graded as one"
        )
    if any(graded.turns for summary in summaries for graded in summary.graded):
        lines.append("right after turn: an episode that has ended keeps its answer")
    lines.append(
        "no answer: the solution ends without one; unfinished: it was cut or repeats itself; failed: an "
        "error; "
        "discarded: policy tokens outside the chosen solutions; PRM tokens: those that the reward model "
        "computed; hit limit: problems whose search reached one of its limits"
    )
    return [Text(line, "dim") for line in lines]


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"
