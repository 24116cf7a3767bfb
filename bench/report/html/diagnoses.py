"""A method's diagnosis as rows of a table, in words."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from types import MappingProxyType
from typing import Any

from bench.report.diagnosis import Diagnosis
from bench.report.losses import Cause
from bench.report.markdown import percent
from bench.report.reranking import Measure

CAUSES: Mapping[Cause, tuple[str, str]] = MappingProxyType({
    Cause.CHOICE: ("c", "right candidate not chosen"), Cause.STEP: ("s", "wrong step accepted"),
    Cause.BUDGET: ("b", "limit reached"), Cause.POOL: ("p", "no right candidate"),
    Cause.GUESS: ("g", "no answer stated, guess graded"), Cause.UNREAD: ("u", "no readable answer"),
    Cause.ERROR: ("e", "error"),
})  # fmt: skip
"""Why a problem is not solved: a letter that stands for it in the page's data, and what the page calls it."""


def diagnosis_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """sentence: why problems are lost. causes: how many, by letter. facts: (name, text) each."""
    return {
        "sentence": diagnosis.sentence,
        "causes": {CAUSES[cause][0]: count for cause, count in diagnosis.causes.items()},
        "oracle": diagnosis.oracle, "gap": diagnosis.gap,
        "auc": diagnosis.auc_within[0] if isfinite(diagnosis.auc_within[0]) else None,
        "facts": [(name, text) for name, text in _facts(diagnosis).items() if text],
    }  # fmt: skip


def _facts(d: Diagnosis) -> dict[str, str]:
    """Figures in words; "" where there is nothing to say."""
    back, n = d.backtracks, max(1, d.answers)
    return {
        "candidates": f"{d.candidates:.1f} finished solutions of a problem, on average",
        "pass@N": f"{percent(d.oracle)}: a right solution is among the candidates",
        "selection gap": f"{100 * d.gap:.1f} points: what a perfect choice among them would add",
        "PRM, within problems": _auc(d.auc_within, f"over {d.mixed:,} with right and wrong candidates"),
        "PRM, across problems": _auc(d.auc_across, "which also rewards knowing how hard a problem is"),
        "PRM on steps, by position": _by_depth(d),
        "limits": f"{d.exhausted:,} of {d.answers:,} searches reached one"
        + (f", {d.late:,} of them their deadline" if d.late else "") if d.exhausted else "",
        "backtracks": f"{back.helped:,} left a wrong prefix, {back.hurt:,} a right one"
        + (f", {back.unknown:,} unknown" if back.unknown else "")
        + f"; {back.recovered:,} problems were solved after one"
        if back.helped or back.hurt or back.unknown else "",
        "restarts": f"{back.restarts:,} times the whole tree was rejected" if back.restarts else "",
        "rejected steps": f"{d.rejected:,}"
        + ("" if d.rejected_right is None else f", {d.rejected_right:,} of them right")
        if d.rejected else "",
        "duplicates": f"{d.duplicates:,} of {d.samples:,} samples" if d.duplicates else "",
        "repetitions": f"{d.repetitions:,} samples repeat themselves" if d.repetitions else "",
        "failed candidates": f"{d.failed_candidates:,}" if d.failed_candidates else "",
        "discarded": f"{percent(d.discarded / max(1, d.policy_tokens))} of the policy tokens",
        "tokens of a problem": f"{d.policy_tokens / n:,.0f} sampled, {d.prompt_tokens / n:,.0f} prompt, "
        f"{d.prm_tokens / n:,.0f} PRM",
        "FLOPs of a problem": _flops(d),
        "seconds of a problem": "" if d.seconds is None else
        f"median {d.seconds[0]:.1f}, 95th percentile {d.seconds[1]:.1f}",
        "accuracy by difficulty": _by_group(d),
    }  # fmt: skip


def _auc(measure: Measure, what: str) -> str:
    value, low, high = measure
    return f"AUC {value:.2f} [{low:.2f}, {high:.2f}], {what}" if isfinite(value) else ""


def _by_group(d: Diagnosis) -> str:
    parts = [f"{group.name}: {100 * group.accuracy:.0f} % (n = {group.n:,})" for group in d.groups]
    return f"{', '.join(parts)}; by {d.grouped_by}" if parts else ""


def _by_depth(d: Diagnosis) -> str:
    def where(first: int, last: int | None) -> str:
        return f"{first}+" if last is None else str(first) if first == last else f"{first}-{last}"

    parts = [
        f"{where(row.first, row.last)}: " + (f"AUC {row.auc:.2f}" if isfinite(row.auc) else "all alike")
        + f" ({row.wrong:,} of {row.steps:,} wrong)"
        for row in d.by_depth
    ]  # fmt: skip
    return ", ".join(parts)


def _flops(d: Diagnosis) -> str:
    parts = [("policy", d.flops_policy), ("PRM", d.flops_prm)]
    return ", ".join(f"{value:.2g} {name}" for name, value in parts if value is not None)
