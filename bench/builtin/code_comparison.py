"""Decoding on the code task's test problems with several reward models, and the tables of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.models import load_models
from bench.summary import Summary
from search.cli.request import check
from search.run import solve_with
from search.strategies import UNGUIDED

COMPARED_ON = 500
"""Problems of the test split, none of them used in training or tuning."""
SAMPLES = 4
"""Solutions of a problem that are voted on or chosen from: enough to cost the policy as much as HGS does."""
JUDGED = "hgs,best_of_n"
"""What is run with every reward model; all strategies are with the first."""


def write_comparison(work: Path, policy: Path, judges: Mapping[str, str]) -> None:
    """Run everything, and keep what it came to in `work`, as `comparison.json` and `comparison.md`.

    judges: as `--prm` takes them, by the name they have in the tables; the first is the one that ships.
    """
    notes = Console(stderr=True)
    found: dict[str, dict[str, Summary]] = {}
    for name, prm in judges.items():
        words = [
            "--task", "builtin-code", "--limit", str(COMPARED_ON), "--policy", str(policy), "--prm", prm,
            "--strategy", JUDGED if found else "all", "--set", f"n={SAMPLES}",
        ]  # fmt: skip
        notes.print(f"python -m search.run {' '.join(words)}", highlight=False)
        out = work / f"compare-{name}"
        words += ["--out", str(out), *(["--resume"] if out.exists() else [])]
        found[name] = {summary.strategy: summary for summary in asyncio.run(_solved(words, notes))}
    every = {(row["strategy"], row["judge"]): row for name in found for row in _rows(name, found[name])}
    rows = list(every.values())  # chain of thought once: it asks no reward model
    pairs = list(_pairs(found))
    (work / "comparison.json").write_text(json.dumps({"rows": rows, "pairs": pairs}, indent=1) + "\n")
    trained = [name for name in (*judges, "reworded") if (work / f"{name}.jsonl").exists()]
    judging = {name: _last(work / f"{name}.jsonl") for name in trained}
    page = "\n".join([*_judging(judging), "", *_table(rows), "", *_paired(pairs)]) + "\n"
    (work / "comparison.md").write_text(page)
    print(page, end="")


async def _solved(words: Sequence[str], notes: Console) -> list[Summary]:
    """What `python -m search.run` does with these words. Errors of single problems stay with them."""
    run = check(words)
    models = await load_models(run.models)
    try:
        return [await solve_with(models, run, name, notes) for name in run.strategies]
    finally:
        await models.close()


def _last(log: Path) -> dict[str, Any]:
    """What was measured at the end of a reward model's training."""
    row: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return row


def _judging(logs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield (
        "| reward model | judging | programs' steps | accuracy | negatives: precision [95 %] "
        "| negatives: recall [95 %] |"
    )
    yield "|---|---|---|---|---|---|"
    for name, log in logs.items():
        for kind, said in (("own", "the policy's programs"), ("reworded", "mutants and rewordings")):
            row = log[kind]
            shares = " | ".join(
                f"{_percent(row[m]['negative'])} {_interval(row[f'negative_{m}_ci95'])}"
                for m in ("precision", "recall")
            )
            yield f"| {name} | {said} | {row['steps']:,} | {_percent(row['accuracy'])} | {shares} |"


def _rows(judge: str, summaries: Mapping[str, Summary]) -> Iterator[dict[str, Any]]:
    baseline = summaries["cot"]
    for strategy, summary in summaries.items():
        yield {"judge": "" if strategy in UNGUIDED else judge, **summary.as_json(baseline)}


def _pairs(found: Mapping[str, Mapping[str, Summary]]) -> Iterator[dict[str, Any]]:
    """HGS against the other strategies with the first judge, and the judges against each other."""
    first, *_ = found
    asked = [((first, "hgs"), (first, other)) for other in ("best_of_n", "self_consistency")]
    asked.append(((first, "best_of_n"), (first, "self_consistency")))
    for one, other in combinations(found, 2):
        asked += [((one, strategy), (other, strategy)) for strategy in JUDGED.split(",")]
    for (judge, strategy), (other_judge, other_strategy) in asked:
        ours, theirs = found[judge][strategy], found[other_judge][other_strategy]
        ratio = ours.usage.policy_tokens / max(1, theirs.usage.policy_tokens)
        paired = ours.against(theirs)
        yield {
            "ours": f"{strategy}, {judge}", "theirs": f"{other_strategy}, {other_judge}",
            "won": paired.won, "lost": paired.lost, "points": paired.points, "p": paired.p, "ratio": ratio,
        }  # fmt: skip


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield (
        "| strategy | reward model | accuracy [95 %] | gain over `cot`, points (McNemar) | policy tokens a "
        "problem | times `cot` | errors |"
    )
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        versus = row.get("versus")
        gain = "" if versus is None else f"{versus['points']:+.1f} ({_p(versus['p'])})"
        ratio = 1.0 if versus is None else versus["policy_token_ratio"]
        yield (
            f"| `{row['strategy']}` | {row['judge']} | {_percent(row['accuracy'])} {_interval(row['ci95'])} "
            f"| {gain} | {row['policy_tokens'] / row['n']:.0f} | {ratio:.2f} | {row['errors']} |"
        )


def _paired(pairs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| | against | solved alone, by each | points (McNemar) | its policy tokens, times the other's |"
    yield "|---|---|---|---|---|"
    for pair in pairs:
        yield (
            f"| {pair['ours']} | {pair['theirs']} | {pair['won']}, {pair['lost']} | {pair['points']:+.1f} "
            f"({_p(pair['p'])}) | {pair['ratio']:.2f} |"
        )


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(bounds: Sequence[float]) -> str:
    return f"[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"
