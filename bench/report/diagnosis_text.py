"""A diagnosis as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from textwrap import wrap

from bench.report.diagnosis import Diagnosis, StepRanking
from bench.report.reranking import Measure

WIDTH = 110
NAME = 12
"""Columns of the names on the left."""
LISTED = 5
"""Lost problems that are listed."""


def diagnosis_lines(diagnosis: Diagnosis, *, listed: int = LISTED) -> list[str]:
    """A headline and one paragraph for each figure. listed: of the lost problems, how many are shown."""
    d = diagnosis
    seeds = "" if d.seeds == 1 else f", {d.seeds} seeds"
    lines = [f"{d.strategy}: {d.problems:,} problems{seeds}", ""]
    for name, text in _figures(d):
        lines += _hanging(name, text)
    if listed and d.losses:
        lines.append("")
        for loss in d.losses[:listed]:
            at = "" if d.seeds == 1 else f", seed {loss.seed}"
            lines += wrap(f"{loss.problem}{at} ({loss.cause}): {loss.why}", WIDTH, subsequent_indent="  ")
        if len(d.losses) > listed:
            lines.append(f"and {len(d.losses) - listed:,} more")
    return lines


def _figures(d: Diagnosis) -> Iterator[tuple[str, str]]:
    n = max(1, d.answers)
    yield "why", d.sentence
    yield "accuracy", (
        f"{d.accuracy:.1%}; oracle (pass@N of the candidates) {d.oracle:.1%}; selection gap "
        f"{100 * d.gap:.1f} points"
    )
    yield "candidates", f"{d.candidates:.1f} finished solutions of a problem"
    if isfinite(d.auc_across[0]):
        within = f"within problems {_auc(d.auc_within)}, over the {d.mixed:,} with right and wrong candidates"
        yield "PRM AUC", f"{within if d.mixed else 'no problem has both'}; across {_auc(d.auc_across)}"
    if d.by_depth:
        yield "by depth", "; ".join(map(_depth, d.by_depth))
    if d.rejected:
        right = "" if d.rejected_right is None else f", {d.rejected_right:,} of them right"
        yield "rejected", f"{d.rejected:,} steps{right}"
    back = d.backtracks
    if total := back.helped + back.hurt + back.unknown:
        unknown = f", {back.unknown:,} one of which nothing is known" if back.unknown else ""
        recovered = (
            f"; {back.recovered:,} problems were solved after a wrong prefix was left, {back.far:,} of them "
            "over two or more wrong steps" if back.recovered else ""
        )  # fmt: skip
        yield "backtracks", (
            f"{total:,}: {back.helped:,} left a wrong prefix (helped), {back.hurt:,} a right one (hurt)"
            f"{unknown}{recovered}"
        )
    if back.restarts:
        yield "restarts", f"{back.restarts:,} times the whole tree was rejected"
    yield "limits", (
        f"{d.exhausted:,} of {d.answers:,} searches reached a limit"
        f"{f', {d.late:,} the deadline' if d.late else ''}; {d.failed_candidates:,} failed candidates, "
        f"{d.repetitions:,} cut as repetitions, {d.duplicates:,} duplicates of {d.samples:,} samples"
    )
    if d.groups:
        shown = ", ".join(f"{g.name} {g.accuracy:.0%} (n={g.n:,})" for g in d.groups)
        yield "difficulty", f"{shown}; by {d.grouped_by}"
    yield "tokens", (
        f"{d.policy_tokens / n:,.0f} policy tokens of a problem, {d.discarded / max(1, d.policy_tokens):.0%} "
        f"thrown away; {d.prompt_tokens / n:,.0f} prompt and {d.prm_tokens / n:,.0f} PRM tokens computed"
    )
    yield "compute", f"FLOPs of a problem: policy {_flops(d.flops_policy)}, PRM {_flops(d.flops_prm)}"
    yield "time", "not known: a trace holds no times" if d.seconds is None else (
        f"median {d.seconds[0]:,.2f} s, 95 % of problems within {d.seconds[1]:,.2f} s"
    )  # fmt: skip


def _hanging(name: str, text: str) -> list[str]:
    indent = " " * NAME
    lines = wrap(text, WIDTH - NAME)
    return [f"{name:{NAME}}{lines[0]}", *(indent + line for line in lines[1:])]


def _auc(measure: Measure) -> str:
    value, low, high = measure
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _depth(row: StepRanking) -> str:
    if row.last is None:
        name = f"steps from {row.first}"
    else:
        name = f"step {row.first}" if row.first == row.last else f"steps {row.first} to {row.last}"
    auc = f"AUC {row.auc:.3f}" if isfinite(row.auc) else "no AUC"
    return f"{name}: {auc} ({row.wrong:,} of {row.steps:,} wrong)"


def _flops(flops: float | None) -> str:
    return "not known" if flops is None else f"{flops:.1e}"
