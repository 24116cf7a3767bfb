"""Decoding on the code task's test problems with several reward models, and the tables of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.report.markdown import accuracy, interval, paired, percent, table
from bench.report.summary import Summary, matched
from bench.runner.cli.display import ProgressLines, progress
from bench.runner.execute import execute
from bench.runner.models import load_run
from bench.runner.request import RunRequest, greedy_baseline
from bench.runner.specs import PolicySpec, PRMSpec
from search.params import make_strategy
from search.strategies import STRATEGIES
from search.strategies.cot import ChainOfThought
from search.tree import Strategy, Unguided

COMPARED_ON = 500
"""Problems of the test split, none of them used in training or tuning."""
SEARCHED = ("hgs", "mcts")
"""Strategies that choose their own cost; with the second reward model and later ones, HGS alone."""
WHOLE = ("best_of_n", "weighted_vote", "self_consistency")
"""Strategies that sample whole solutions: the least N that cost as much as HGS; later, best-of-N alone."""
Runs = dict[str, Summary]


def write_comparison(work: Path, policy: Path, judges: Mapping[str, str]) -> None:
    """Run everything, and keep what it came to in `work`, as `comparison.json` and `comparison.md`.

    judges: as `--prm` takes them, by the name they have in the tables; the first is the one that ships.
    """
    found: dict[str, Runs] = {}
    for name, prm in judges.items():
        searched, whole = (("hgs",), ("best_of_n",)) if found else (SEARCHED, WHOLE)
        base = RunRequest(
            strategies={}, task="builtin-code", limit=COMPARED_ON, policy=PolicySpec(name=str(policy)),
            prm=PRMSpec(name=prm), out=work / f"compare-{name}",
        )
        found[name] = asyncio.run(_solved(base, searched, whole))
    every = {(row["strategy"], row["judge"]): row for name in found for row in _rows(name, found[name])}
    rows = list(every.values())  # chain of thought once: it asks no reward model
    pairs = list(_pairs(found))
    (work / "comparison.json").write_text(json.dumps({"rows": rows, "pairs": pairs}, indent=1) + "\n")
    trained = [name for name in (*judges, "reworded") if (work / f"{name}.jsonl").exists()]
    judging = {name: _last(work / f"{name}.jsonl") for name in trained}
    page = "\n".join([*_judging(judging), *_table(rows), *_paired(pairs)])
    (work / "comparison.md").write_text(page)
    print(page, end="")


async def _solved(base: RunRequest, searched: Sequence[str], whole: Sequence[str]) -> Runs:
    """Run the strategies as `python -m search.run` does. Errors of single problems stay with them.

    base: without strategies; its `out` is the folder above the runs.
    """
    notes = Console(stderr=True)
    assert base.out is not None
    out = base.out

    def request(strategies: Mapping[str, Strategy], folder: str) -> RunRequest:
        there = out / folder
        return replace(base, strategies=strategies, out=there, resume=there.exists())

    first = request(greedy_baseline() | {name: make_strategy(name) for name in searched}, "-".join(searched))

    async with load_run(first.validate()) as models:

        async def run(request: RunRequest) -> Runs:
            notes.print(f"{', '.join(request.strategies)}: {request.out}", highlight=False)
            with progress(notes) as shown:
                made = await execute(request.validate(), models, ProgressLines(shown))
            return {summary.strategy: summary for summary in made}

        results = await run(first)
        sampled = await run(request({"cot": ChainOfThought(temperature=None)}, "cot-temperature=none"))
        n = matched(results["hgs"], sampled["cot"])
        at_n = {name: make_strategy(name, {"n": str(n)}) for name in whole}
        return results | await run(request(at_n, f"{'-'.join(whole)}-n={n}"))


def _last(log: Path) -> dict[str, Any]:
    """What was measured at the end of a reward model's training."""
    row: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return row


def _judging(logs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    kinds = {"own": "the policy's programs", "reworded": "mutants and rewordings"}
    rows = [
        [
            f"`{name}`", said, f"{log[kind]['steps']:,}", percent(log[kind]["accuracy"]),
            *(f"{percent(log[kind][m]['negative'])} {interval(log[kind][f'negative_{m}_ci95'])}"
              for m in ("precision", "recall")),
        ]
        for kind, said in kinds.items() for name, log in logs.items()
    ]  # fmt: skip
    heads = ("reward model", "judging", "steps", "accuracy", "negatives: precision [95 %]",
             "negatives: recall [95 %]")  # fmt: skip
    return table(heads, rows)


def _rows(prm: str, summaries: Mapping[str, Summary]) -> Iterator[dict[str, Any]]:
    baseline = summaries["cot"]
    for strategy, summary in summaries.items():
        unguided = issubclass(STRATEGIES[strategy], Unguided)
        yield {"judge": "" if unguided else prm, **summary.as_json(baseline)}


def _pairs(found: Mapping[str, Mapping[str, Summary]]) -> Iterator[dict[str, Any]]:
    """HGS against the other strategies with the first judge, and the judges against each other."""
    first, *_ = found
    others = [*WHOLE, "mcts"]
    asked = [((first, "hgs"), (first, other)) for other in others]
    for one, other in combinations(found, 2):
        asked += [((one, strategy), (other, strategy)) for strategy in ("hgs", "best_of_n")]
    asked += [((name, "hgs"), (name, "best_of_n")) for name in found if name != first]
    for (prm, strategy), (other_prm, other_strategy) in asked:
        ours, theirs = found[prm][strategy], found[other_prm][other_strategy]
        ratio = ours.cost.policy_tokens / max(1, theirs.cost.policy_tokens)
        yield {
            "ours": _named(strategy, prm), "theirs": _named(other_strategy, other_prm), "ratio": ratio,
            **asdict(ours.against(theirs)),
        }  # fmt: skip


def _named(strategy: str, prm: str) -> str:
    return f"`{strategy}`" if issubclass(STRATEGIES[strategy], Unguided) else f"`{strategy}`, `{prm}`"


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = []
    for row in rows:
        versus, n = row.get("versus"), row["knobs"].get("n")
        cells.append([
            f"`{row['strategy']}`" + (f", {n}" if n else ""), f"`{row['judge']}`" if row["judge"] else "",
            accuracy(row), paired(versus) if versus else "", f"{row['policy_tokens'] / row['n']:.0f}",
            f"{versus['policy_token_ratio'] if versus else 1:.2f}", str(row["errors"]),
        ])  # fmt: skip
    heads = ("strategy", "reward model", "accuracy [95 %]", "gain over `cot`, points (McNemar)",
             "policy tokens a problem", "times `cot`", "errors")  # fmt: skip
    return table(heads, cells)


def _paired(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = ("", "against", "solved alone, by each", "points (McNemar)",
             "its policy tokens, times the other's")  # fmt: skip
    rows = [
        [p["ours"], p["theirs"], f"{p['won']}, {p['lost']}", paired(p), f"{p['ratio']:.2f}"] for p in pairs
    ]
    return table(heads, rows)
