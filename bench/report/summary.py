"""What a run came to: the numbers of one strategy on one task, as an object and as a table."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

from bench.report.stats import Paired, mcnemar, wilson
from search.engine import Outcome
from search.limits import Cost, Events
from search.strategies import STRATEGIES

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class Graded:
    """A problem's outcome and whether its answer is right; an error is wrong. group: see Example."""

    outcome: Outcome
    correct: bool
    group: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """One strategy on one task. Token and call counts are totals over the problems.

    exhausted: problems whose search ran into its limits. errors: problems that failed; they count
    as wrong. seconds: wall clock of this process, models loaded already.
    """

    strategy: str
    params: dict[str, Any]
    task: str
    seed: int
    policy: str
    prm: str | None
    revision: str
    seconds: float
    graded: Sequence[Graded]

    @property
    def cost(self) -> Cost:
        return sum((g.outcome.cost for g in self.graded), Cost())

    @property
    def events(self) -> Events:
        return sum((g.outcome.events for g in self.graded), Events())

    @property
    def correct(self) -> int:
        return sum(g.correct for g in self.graded)

    @property
    def failed(self) -> list[Outcome]:
        return [g.outcome for g in self.graded if g.outcome.error is not None]

    def against(self, baseline: Summary) -> Paired:
        """Paired with `baseline`, over the same problems."""
        theirs = {g.outcome.problem.id: g.correct for g in baseline.graded}
        return mcnemar([g.correct for g in self.graded], [theirs[g.outcome.problem.id] for g in self.graded])

    def as_json(self, baseline: Summary | None = None) -> dict[str, Any]:
        """One object with everything the table says; `baseline` adds the paired comparison."""
        cost, events, n = self.cost, self.events, len(self.graded)
        groups: dict[str, list[bool]] = defaultdict(list)
        for g in self.graded:
            groups[g.group].append(g.correct)
        result: dict[str, Any] = {
            "strategy": self.strategy,
            "knobs": self.params,
            "task": self.task,
            "n": n,
            "correct": self.correct,
            "accuracy": self.correct / max(1, n),
            "ci95": wilson(self.correct, n),
            "policy_tokens": cost.policy_tokens,
            "policy_tokens_discarded": cost.policy_tokens_discarded,
            "prm_tokens": cost.prm_tokens,
            "prm_tokens_cached": cost.prm_tokens_cached,
            "samples": cost.samples,
            "judgements": cost.scores,
            "backtracks": events.backtracks,
            "duplicates": events.duplicates,
            "exhausted": sum(g.outcome.events.exhausted > 0 for g in self.graded),
            "errors": len(self.failed),
            "seconds": round(self.seconds, 2),
            "seed": self.seed,
            "policy": self.policy,
            "prm": self.prm,
            "revision": self.revision,
            "prompt_tokens": cost.prompt_tokens,
            "prompt_tokens_cached": cost.prompt_tokens_cached,
            "replayed": events.replayed,
            "by_group": {
                name: {"n": len(right), "accuracy": sum(right) / len(right)}
                for name in sorted(groups, key=_natural) if name and (right := groups[name])
            },
        }
        if baseline is not None and baseline is not self:
            paired = self.against(baseline)
            ratio = cost.policy_tokens / max(1, baseline.cost.policy_tokens)
            result["versus"] = {
                "strategy": baseline.strategy, **asdict(paired), "policy_token_ratio": round(ratio, 3),
            }
        return result


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the closing tables. cells: [strategies]."""

    head: str
    cells: Sequence[str]

    @property
    def width(self) -> int:
        return max(map(len, [*self.head.split("\n"), *self.cells]))


def matched(search: Summary, sampled: Summary) -> int:
    """The least N at which N sampled solutions cost at least what the search did, in policy tokens."""
    return max(1, ceil(search.cost.policy_tokens / max(1, sampled.cost.policy_tokens)))


def closing_tables(
    summaries: Sequence[Summary], baseline: Summary | None, width: int
) -> list[RenderableType]:
    """What a run came to, for a screen `width` columns wide: accuracy, then what it cost.

    One table where it fits, else several; columns that belong together stay together.
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
    return [*columns, Column("errors", [f"{row['errors']:,}" for row in rows])]


def _tokens(rows: Sequence[dict[str, Any]], baseline: Summary | None, n: int) -> list[Column]:
    columns = [
        Column("policy\ntokens", [f"{row['policy_tokens']:,}" for row in rows]),
        Column("thrown\naway", [f"{row['policy_tokens_discarded']:,}" for row in rows]),
        Column("tokens a\nproblem", [f"{row['policy_tokens'] / max(1, n):,.0f}" for row in rows]),
    ]
    if baseline is not None and len(rows) > 1:
        unit = max(1, baseline.cost.policy_tokens)
        ratios = [f"{row['policy_tokens'] / unit:.2f}" for row in rows]
        columns.append(Column(f"times\n{baseline.strategy}", ratios))
    return [
        *columns,
        Column("PRM\ntokens", [f"{row['prm_tokens']:,}" for row in rows]),
        Column("from\ncache", [f"{row['prm_tokens_cached']:,}" for row in rows]),
    ]


def _search(rows: Sequence[dict[str, Any]]) -> list[Column]:
    heads = {
        "samples": "samples", "judgements": "judged\nsteps", "backtracks": "back-\ntracks",
        "duplicates": "dupli-\ncates", "exhausted": "budget\nended",
    }  # fmt: skip
    columns = [Column(head, [f"{row[field]:,}" for row in rows]) for field, head in heads.items()]
    return [*columns, Column("seconds", [f"{row['seconds']:,.1f}" for row in rows])]


def _groups(rows: Sequence[dict[str, Any]]) -> list[Column]:
    sizes: dict[str, int] = {name: group["n"] for name, group in rows[0]["by_group"].items()}
    return [
        Column(f"{name}\n(n={n:,})", [f"{row['by_group'][name]['accuracy']:.0%}" for row in rows])
        for name, n in sizes.items()
    ]


GAP = 2


def _fit(groups: Sequence[Sequence[Column]], names: Column, width: int) -> list[list[Column]]:
    """Put as many groups into a table as fit beside the names."""
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
    """What the columns mean, and which knobs were set."""
    from rich.text import Text

    lines = []
    for summary in summaries:
        default = asdict(STRATEGIES[summary.strategy]())  # type: ignore[call-overload]
        changed = [f"{param}={value}" for param, value in summary.params.items() if value != default[param]]
        if changed:
            lines.append(f"{summary.strategy} with {' '.join(changed)}")
    if baseline is not None and len(summaries) > 1:
        lines.append(f"gain: over {baseline.strategy}, greedy, on the same problems; p: McNemar's exact test")
    lines.append(
        "thrown away: policy tokens that are not in the chosen solutions; PRM tokens: computed by the reward "
        "model; budget ended: problems whose search ran into its limits"
    )
    return [Text(line, "dim") for line in lines]


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts "10 steps" after "2 steps"."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
