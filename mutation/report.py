"""The report of a build: figures, the audit by stronger tests, a plot, a sample to read."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mutation.label import LabelledProgram, LabelParams, MutantResult, ProblemResult
from mutation.mbpp import MBPP
from mutation.near import Near
from mutation.sandbox.verdict import Outcome

SIGNS = {1: "+", 0: "0", -1: "-"}
SAMPLE = 50
SHOWN = 10
"""Problems without labels that are printed with the reason; all are in the summary file."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The mutants of an operator that passed MBPP's tests, in problems of MBPP+.

    failed_by_plus: how many of them failed the tests of MBPP+.
    """

    survived: int
    failed_by_plus: int

    @property
    def share(self) -> float:
        return self.failed_by_plus / self.survived if self.survived else 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a build.

    near: problems that were left out as near-duplicates of HumanEval. without_labels: problem id -> why.
    records: labelled programs. labels: label -> steps.
    verdicts: operator -> outcome of the strongest tests -> mutants.
    fates, rewordings: `MutantResult.fate` -> mutants, and programs that should have the same meaning.
    unseen_lines: lines of the references that no test runs.
    """

    split: str
    isolated: bool
    params: LabelParams
    problems: int
    with_plus: int
    corrected: tuple[str, ...]
    without_labels: dict[str, str]
    near: tuple[Near, ...]
    records: int
    labels: dict[int, int]
    verdicts: dict[str, dict[str, int]]
    fates: dict[str, int]
    rewordings: dict[str, int]
    audit: dict[str, Audit]
    unseen_lines: int
    source: str = MBPP

    @property
    def is_mbpp(self) -> bool:
        return self.source == MBPP

    @property
    def title(self) -> str:
        """The problems, in words."""
        return f"{'MBPP' if self.is_mbpp else self.source}'s {self.split} split"

    @classmethod
    def of(
        cls, results: Sequence[ProblemResult], kept: Sequence[LabelledProgram], near: Sequence[Near],
        params: LabelParams, split: str, isolated: bool, source: str = MBPP,
    ) -> Summary:  # fmt: skip
        mutants = [t for one in results for t in one.tried if not t.rewording]
        verdicts: dict[str, Counter[str]] = {}
        for tried in mutants:
            verdicts.setdefault(_name(tried), Counter())[tried.outcome] += 1
        return cls(
            split, isolated, params, len(results), sum(one.plus_inputs > 0 for one in results),
            tuple(one.id for one in results if one.corrected),
            {one.id: one.problem_with for one in results if one.problem_with}, tuple(near), len(kept),
            dict(Counter(value for record in kept for value in record.solution.labels)),
            {name: dict(counts) for name, counts in sorted(verdicts.items())},
            dict(Counter(t.fate for t in mutants)),
            dict(Counter(t.fate for one in results for t in one.tried if t.rewording)), _audit(mutants),
            sum(len(one.unseen) for one in results), source,
        )  # fmt: skip

    @property
    def audited(self) -> Audit:
        """The audit of all operators together."""
        return Audit(
            sum(a.survived for a in self.audit.values()), sum(a.failed_by_plus for a in self.audit.values())
        )

    def as_json(self) -> dict[str, Any]:
        """As a JSON object. The parameters are called "knobs", as in files of version 0.1.0."""
        fields = {"knobs" if name == "params" else name: value for name, value in asdict(self).items()}
        return fields | {"audited": asdict(self.audited)}


def _name(tried: MutantResult) -> str:
    return "+".join(tried.operators)


def _audit(mutants: Sequence[MutantResult]) -> dict[str, Audit]:
    failures: dict[str, list[bool]] = {}
    for tried in mutants:
        if tried.base == Outcome.PASSED and tried.plus and not tried.flaky:
            failures.setdefault(_name(tried), []).append(tried.plus != Outcome.PASSED)
    return {name: Audit(len(failed), sum(failed)) for name, failed in sorted(failures.items())}


def print_summary(summary: Summary, console: Console) -> None:
    """Print the figures."""
    outcomes = list(dict.fromkeys(o for counts in summary.verdicts.values() for o in counts))
    outcomes.sort(key=lambda o: -sum(counts.get(o, 0) for counts in summary.verdicts.values()))
    audit_too = ", and the audit" if summary.is_mbpp else ""
    table = Table(title=f"mutants by operator and verdict{audit_too}", title_justify="left")
    audited = ("passed MBPP, had MBPP+", "of these wrong") if summary.is_mbpp else ()
    for heading in ("operator", "mutants", *outcomes, *audited):
        table.add_column(heading, justify="left" if heading == "operator" else "right")
    for name, counts in sorted(summary.verdicts.items(), key=lambda item: -sum(item[1].values())):
        audit = summary.audit.get(name, Audit(0, 0)) if summary.is_mbpp else None
        table.add_row(name, *_row(counts, outcomes, audit))
    total: Counter[str] = Counter()
    for counts in summary.verdicts.values():
        total.update(counts)
    table.add_row("all", *_row(total, outcomes, summary.audited if summary.is_mbpp else None), style="bold")
    console.print(table)
    signs = ", ".join(f"{SIGNS[value]} {summary.labels.get(value, 0):,}" for value in (1, 0, -1))
    lines = [
        f"{summary.problems} problems of {summary.title}"
        + (f", {summary.with_plus} with MBPP+" if summary.is_mbpp else "")
        + f"; {len(summary.near)} near-duplicates of HumanEval left out; "
        + (f"{len(summary.corrected)} references fail MBPP+ and were replaced by its own; "
           if summary.is_mbpp else "")
        + f"{len(summary.without_labels)} give no labels",
        *(f"  {name}: {why}" for name, why in list(summary.without_labels.items())[:SHOWN]),
        "mutants: " + _counts(summary.fates),
        "rewordings: " + _counts(summary.rewordings),
        *([f"audit: of {summary.audited.survived} mutants that pass MBPP's own tests, MBPP+ fails "
           f"{summary.audited.failed_by_plus} ({summary.audited.share:.1%}): neutral labels that were wrong"]
          if summary.is_mbpp else []),
        f"{summary.unseen_lines} lines of the references are not run by any test",
        f"{summary.records:,} records; labels: {signs}; no prefix has two labels",
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _row(counts: dict[str, int], outcomes: Sequence[str], audit: Audit | None) -> list[str]:
    cells = [f"{sum(counts.values()):,}", *(f"{counts.get(o, 0):,}" for o in outcomes)]
    if audit is None:
        return cells
    wrong = f"{audit.failed_by_plus:,} ({audit.share:.0%})" if audit.survived else ""
    return [*cells, f"{audit.survived:,}", wrong]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))


def draw(summary: Summary, path: Path) -> None:
    """Plot a bar for each operator, divided by verdict."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = sorted(summary.verdicts, key=lambda name: sum(summary.verdicts[name].values()))
    outcomes = [str(outcome) for outcome in Outcome]
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.3 * len(names)), layout="constrained")
    left = [0] * len(names)
    for number, outcome in enumerate(outcomes):
        counts = [summary.verdicts[name].get(outcome, 0) for name in names]
        if any(counts):
            axes.barh(names, counts, left=left, label=outcome, color=f"C{number}")
            left = [a + b for a, b in zip(left, counts, strict=True)]
    axes.set_xlabel("mutants")
    axes.set_title(f"{summary.title}: mutants by operator and verdict")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def write_sample(path: Path, kept: Sequence[LabelledProgram], seed: int) -> None:
    """Write some labelled programs as Markdown, for a person to check."""
    changed = [record for record in kept if record.tried is not None]
    plain = [record for record in kept if record.tried is None]
    rng = random.Random(seed)
    n_plain = min(5, len(plain))
    drawn = rng.sample(plain, n_plain) + rng.sample(changed, min(SAMPLE - n_plain, len(changed)))
    parts = [
        f"# {len(drawn)} labelled programs\n\nSampled by `python -m mutation.build`. The label of each step "
        "is before it: `+` right, `0` changed but every test passes, `-` wrong. Steps after a wrong one are "
        "left out.\n"
    ]
    for number, record in enumerate(drawn, 1):
        parts.append(_shown(number, record))
    path.write_text("\n".join(parts), encoding="utf-8")


def _first_line(text: str) -> str:
    head, newline, _ = text.partition("\n")
    return f"{head} ..." if newline else head


def _shown(number: int, record: LabelledProgram) -> str:
    tried, solution = record.tried, record.solution
    if tried is None:
        about = "the reference"
    else:
        verdict = f"{tried.outcome}{f' ({tried.exception})' if tried.exception else ''}"
        by = " by MBPP+" if tried.plus else ""
        edits = zip(tried.operators, tried.spans, tried.before, tried.after, strict=True)
        changes = "; ".join(
            f"{operator}, line {first}: `{_first_line(before)}` to `{_first_line(after)}`"
            for operator, (first, _), before, after in edits
        )
        about = f"{changes}: {verdict}{by}"
    lines = [
        f"{SIGNS[value] if i == 0 else ' '}  {line}"
        for step, value in zip(solution.steps, solution.labels, strict=True)
        for i, line in enumerate(step.rstrip("\n").split("\n"))
    ]
    question = solution.question.split("\n")[0]
    return f"## {number}. {question}\n\n{about}\n\n```\n" + "\n".join(lines) + "\n```\n"
