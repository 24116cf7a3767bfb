"""What a run came to: the numbers of one strategy on one task, as an object and as a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.stats import Paired, mcnemar, wilson
from search.engine import Outcome
from search.limits import Usage

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
    knobs: dict[str, Any]
    task: str
    seed: int
    policy: str
    prm: str | None
    revision: str
    seconds: float
    graded: Sequence[Graded]

    @property
    def usage(self) -> Usage:
        return sum((g.outcome.usage for g in self.graded), Usage())

    @property
    def correct(self) -> int:
        return sum(g.correct for g in self.graded)

    def against(self, baseline: Summary) -> Paired:
        """Paired with `baseline`, over the same problems."""
        theirs = {g.outcome.problem.id: g.correct for g in baseline.graded}
        return mcnemar([g.correct for g in self.graded], [theirs[g.outcome.problem.id] for g in self.graded])

    def as_json(self, baseline: Summary | None = None) -> dict[str, Any]:
        """One object with everything the table says; `baseline` adds the paired comparison."""
        usage, n = self.usage, len(self.graded)
        groups: dict[str, list[bool]] = defaultdict(list)
        for g in self.graded:
            groups[g.group].append(g.correct)
        result: dict[str, Any] = {
            "strategy": self.strategy,
            "knobs": self.knobs,
            "task": self.task,
            "n": n,
            "correct": self.correct,
            "accuracy": self.correct / max(1, n),
            "ci95": wilson(self.correct, n),
            "policy_tokens": usage.policy_tokens,
            "policy_tokens_discarded": usage.policy_tokens_discarded,
            "prm_tokens": usage.prm_tokens,
            "prm_tokens_cached": usage.prm_tokens_cached,
            "samples": usage.samples,
            "judgements": usage.judgements,
            "backtracks": usage.backtracks,
            "duplicates": usage.duplicates,
            "exhausted": sum(g.outcome.usage.exhausted > 0 for g in self.graded),
            "errors": sum(g.outcome.error is not None for g in self.graded),
            "seconds": round(self.seconds, 2),
            "seed": self.seed,
            "policy": self.policy,
            "prm": self.prm,
            "revision": self.revision,
            "prompt_tokens": usage.prompt_tokens,
            "prompt_tokens_cached": usage.prompt_tokens_cached,
            "replayed": usage.replayed,
            "by_group": {
                name: {"n": len(right), "accuracy": sum(right) / len(right)}
                for name, right in sorted(groups.items()) if name
            },
        }
        if baseline is not None:
            paired = self.against(baseline)
            ratio = usage.policy_tokens / max(1, baseline.usage.policy_tokens)
            result["versus"] = {
                "strategy": baseline.strategy, **asdict(paired), "policy_token_ratio": round(ratio, 3),
            }
        return result


def table(summaries: Sequence[Summary], baseline: Summary | None) -> RenderableType:
    """The closing table: accuracy with its interval, then what it cost."""
    from rich.table import Table

    [task, n] = summaries[0].task, len(summaries[0].graded)
    shown = Table(title=f"{task}: {n} problems", title_justify="left", header_style="bold")
    shown.add_column("strategy", no_wrap=True)
    columns = [
        "accuracy [95 %]", "gain (p)", "policy tokens", "thrown away", "x cot", "PRM tokens", "cached",
        "samples", "back-\ntracks", "dupli-\ncates", "ex-\nhausted", "seconds", "errors",
    ]
    for column in columns:
        shown.add_column(column, justify="right")
    for summary in summaries:
        row = summary.as_json(baseline)
        low, high = row["ci95"]
        versus = row.get("versus")
        is_baseline = baseline is None or summary is baseline
        gain = "" if is_baseline else f"{versus['points']:+.1f} ({_p(versus['p'])})"
        ratio = "" if baseline is None else f"{versus['policy_token_ratio']:.2f}"
        shown.add_row(
            summary.strategy, f"{row['accuracy']:.1%} [{100 * low:.1f}, {100 * high:.1f}]", gain,
            f"{row['policy_tokens']:,}", f"{row['policy_tokens_discarded']:,}", ratio,
            f"{row['prm_tokens']:,}", f"{row['prm_tokens_cached']:,}", f"{row['samples']:,}",
            f"{row['backtracks']:,}", f"{row['duplicates']:,}", f"{row['exhausted']:,}",
            f"{row['seconds']:.1f}", f"{row['errors']:,}",
        )
    return shown


def group_table(summaries: Sequence[Summary]) -> RenderableType | None:
    """Accuracy by group ("4 steps"), None if the task has no groups."""
    from rich.table import Table

    rows = [summary.as_json()["by_group"] for summary in summaries]
    if not rows[0]:
        return None
    shown = Table(title="accuracy by group", title_justify="left", header_style="bold")
    shown.add_column("strategy", no_wrap=True)
    for name in rows[0]:
        shown.add_column(f"{name}\n(n={rows[0][name]['n']})", justify="right")
    for summary, row in zip(summaries, rows, strict=True):
        shown.add_row(summary.strategy, *(f"{cell['accuracy']:.0%}" for cell in row.values()))
    return shown


def _p(p: float) -> str:
    return "p<0.001" if p < 0.001 else f"p={p:.3f}"
