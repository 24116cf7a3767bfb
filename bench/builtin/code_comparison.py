"""Decodes the code task's test problems with several reward models, and compares the results."""

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
"""Problems of the test split. None of them is used in training or tuning."""
SEARCHES = ("hgs", "mcts")
"""Strategies whose cost is their own choice. Only the first reward model runs more than HGS."""
WHOLE = ("best_of_n", "weighted_vote", "self_consistency")
"""Strategies that sample N whole solutions, with the least N that costs at least as much as HGS. Only the
first reward model runs more than best-of-N."""
Runs = dict[str, Summary]
"""By strategy."""


def write_comparison(work: Path, policy: Path, prms: Mapping[str, str]) -> None:
    """Run all strategies, and write `comparison.json` and `comparison.md` to `work`.

    prms: reward models as `PRMSpec` takes them, by their names in the tables; the first is compared in most
        detail.
    """
    runs: dict[str, Runs] = {}
    for name, prm in prms.items():
        searches, whole = (("hgs",), ("best_of_n",)) if runs else (SEARCHES, WHOLE)
        base = RunRequest(
            strategies={}, task="builtin-code", limit=COMPARED_ON, policy=PolicySpec(name=str(policy)),
            prm=PRMSpec(name=prm), out=work / f"compare-{name}",
        )
        runs[name] = asyncio.run(_run(base, searches, whole))
    every = {(row["strategy"], row["judge"]): row for name in runs for row in _rows(name, runs[name])}
    rows = list(every.values())  # chain of thought is listed once, because it uses no reward model
    pairs = list(_pairs(runs))
    (work / "comparison.json").write_text(json.dumps({"rows": rows, "pairs": pairs}, indent=1) + "\n")
    trained = [name for name in (*prms, "reworded") if (work / f"{name}.jsonl").exists()]
    logs = {name: _last(work / f"{name}.jsonl") for name in trained}
    page = "\n".join([*_scoring_table(logs), *_table(rows), *_paired_table(pairs)])
    (work / "comparison.md").write_text(page)
    print(page, end="")


async def _run(base: RunRequest, searches: Sequence[str], whole: Sequence[str]) -> Runs:
    """Run the strategies, and resume runs that were interrupted.

    base: the request without strategies; its `out` is the parent folder of the runs.
    """
    notes = Console(stderr=True)
    assert base.out is not None
    out = base.out

    def request(strategies: Mapping[str, Strategy], folder: str) -> RunRequest:
        path = out / folder
        return replace(base, strategies=strategies, out=path, resume=path.exists())

    first = request(greedy_baseline() | {name: make_strategy(name) for name in searches}, "-".join(searches))
    async with load_run(first.validate()) as models:

        async def run(request: RunRequest) -> Runs:
            notes.print(f"{', '.join(request.strategies)}: {request.out}", highlight=False)
            with progress(notes) as shown:
                summaries = await execute(request.validate(), models, ProgressLines(shown))
            return {summary.strategy: summary for summary in summaries}

        results = await run(first)
        sampled = await run(request({"cot": ChainOfThought(temperature=None)}, "cot-temperature=none"))
        n = matched(results["hgs"], sampled["cot"])
        at_n = {name: make_strategy(name, {"n": str(n)}) for name in whole}
        return results | await run(request(at_n, f"{'-'.join(whole)}-n={n}"))


def _last(log: Path) -> dict[str, Any]:
    """The measurements at the end of a reward model's training."""
    row: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return row


def _scoring_table(logs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    kinds = {"own": "the policy's programs", "reworded": "mutants and rewordings"}
    rows = [
        [
            f"`{name}`", scored, f"{log[kind]['steps']:,}", percent(log[kind]["accuracy"]),
            *(f"{percent(log[kind][m]['negative'])} {interval(log[kind][f'negative_{m}_ci95'])}"
              for m in ("precision", "recall")),
        ]
        for kind, scored in kinds.items() for name, log in logs.items()
    ]  # fmt: skip
    heads = ("reward model", "scoring", "steps", "accuracy", "negatives: precision [95 %]",
             "negatives: recall [95 %]")  # fmt: skip
    return table(heads, rows)


def _rows(prm: str, summaries: Mapping[str, Summary]) -> Iterator[dict[str, Any]]:
    baseline = summaries["cot"]
    for strategy, summary in summaries.items():
        unguided = issubclass(STRATEGIES[strategy], Unguided)
        yield {"judge": "" if unguided else prm, **summary.as_json(baseline)}


def _pairs(runs: Mapping[str, Runs]) -> Iterator[dict[str, Any]]:
    """HGS against the other strategies with the first reward model, and reward models with each other."""
    first, *_ = runs
    others = [*WHOLE, "mcts"]
    pairs = [((first, "hgs"), (first, other)) for other in others]
    for one, other in combinations(runs, 2):
        pairs += [((one, strategy), (other, strategy)) for strategy in ("hgs", "best_of_n")]
    pairs += [((name, "hgs"), (name, "best_of_n")) for name in runs if name != first]
    for (prm, strategy), (other_prm, other_strategy) in pairs:
        ours, theirs = runs[prm][strategy], runs[other_prm][other_strategy]
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
             "policy tokens per problem", "times `cot`", "errors")  # fmt: skip
    return table(heads, cells)


def _paired_table(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = ("", "against", "solved by the first only, by the second only", "points (McNemar)",
             "policy tokens, times the other's")  # fmt: skip
    rows = [
        [p["ours"], p["theirs"], f"{p['won']}, {p['lost']}", paired(p), f"{p['ratio']:.2f}"] for p in pairs
    ]
    return table(heads, rows)
