"""The study's three tables: the runs behind them, and the comparisons between runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from bench.builtin.sampling import labelled
from bench.experiments.prm_study.cells import Cells
from bench.experiments.prm_study.models import SUPERVISIONS, UNLABELLED, Sizes, step_metrics
from bench.report.summary import Summary, matched
from bench.runner.checkpoints import BUILTIN_PRMS
from bench.tasks.builtin import TEST_SEED
from bench.tasks.generated.problems import generate
from prm.data.labels import LabelledSolution
from search.values import Aggregate

NEUTRAL = ("defer", "accept", "reject")
WHOLE = ("best_of_n", "weighted_vote")
"""Strategies that sample whole solutions."""
N = 8
"""Solutions per problem in the comparison of aggregates."""


class Study:
    """The folders, sizes and runs of the study. See `open_study`."""

    def __init__(self, work: Path, sizes: Sizes, notes: Console, stack: AsyncExitStack):
        self.work, self.sizes = work, sizes
        self.policies = {"early": str(work / "early"), "middle": "builtin", "late": str(work / "late")}
        self._cells = {
            name: Cells(path, work / "cells" / name, notes, stack) for name, path in self.policies.items()
        }

    def cells(self, policy: str) -> Cells:
        return self._cells[policy]

    def step_metrics(self, policy: str, prm: str, sampled: Summary) -> dict[str, Any]:
        """Metrics of a reward model on the steps of sampled solutions, up to the first error."""
        path = Path(BUILTIN_PRMS.get(prm, prm))
        n = len(sampled.graded)
        return step_metrics(path, samples(sampled), self.work / "measured" / f"{policy}-{path.name}-{n}.json")


@asynccontextmanager
async def open_study(work: Path, sizes: Sizes, notes: Console) -> AsyncIterator[Study]:
    """The study, whose policies are closed at the end. notes: shows the progress of runs."""
    async with AsyncExitStack() as stack:
        yield Study(work, sizes, notes, stack)


def samples(summary: Summary) -> list[LabelledSolution]:
    """The solutions of a run on test problems, labelled by the exact checker up to the first error."""
    by_id = {p.id: p for p in generate("test", TEST_SEED, len(summary.graded))}
    lines = {
        g.outcome.problem.id: [s.text.strip("\n") for s in g.outcome.steps if not s.is_blank]
        for g in summary.graded
    }
    return [labelled(by_id[id_], steps, "test") for id_, steps in lines.items() if steps]


async def _baselines(cells: Cells, n: int) -> tuple[Summary, Summary]:
    """Greedy decoding, and one sampled solution per problem."""
    return await cells.run("cot", n), await cells.run("cot", n, temperature="none")


async def _at_equal_cost(
    cells: Cells, n: int, prm: str, greedy: Summary, sampled: Summary, **params: str
) -> dict[str, Any]:
    """HGS, and the strategies of `WHOLE` at its cost. params: of the latter."""
    search = await cells.run("hgs", n, prm)
    width = matched(search, sampled)
    row: dict[str, Any] = {"n": width, "hgs": search.as_json(greedy)}
    for strategy in WHOLE:
        whole = await cells.run(strategy, n, prm, n=width, **params)
        row[strategy] = {
            **whole.as_json(greedy),
            "hgs_over_it": asdict(search.against(whole)),
            "tokens_over_hgs": whole.cost.policy_tokens / max(1, search.cost.policy_tokens),
        }
    return row


async def supervision(study: Study) -> dict[str, Any]:
    """Reward models trained on the same solutions, by the kind of labels."""
    cells, n = study.cells("middle"), study.sizes.problems
    greedy, sampled = await _baselines(cells, n)
    rows, searches = [], dict[str, Summary]()
    for name in (UNLABELLED, *SUPERVISIONS):
        prm = str(study.work / f"prm-{name}")
        # An outcome model scores a whole solution at its end; its scores of earlier steps mean nothing.
        own = {"aggregate": "last"} if name == "outcome" else {}
        row = await _at_equal_cost(cells, n, prm, greedy, sampled, **own)
        searches[name] = await cells.run("hgs", n, prm)
        rows.append({"judge": name, "steps": study.step_metrics("middle", prm, sampled), **row})
    between = {
        f"{a} over {b}": asdict(searches[a].against(searches[b]))
        for a, b in (("hard", UNLABELLED), ("hard", "rollouts"), ("hard", "outcome"), ("rollouts", "outcome"))
    }
    agreement = json.loads((study.work / "agreement.json").read_text())
    return {"greedy": greedy.as_json(), "rows": rows, "between": between, "agreement": agreement}


async def params(study: Study) -> dict[str, Any]:
    """The bundled reward model, by the treatment of neutral steps and the aggregation of step scores."""
    cells, n = study.cells("middle"), study.sizes.problems
    greedy, sampled = await _baselines(cells, n)
    searches = [await cells.run("hgs", n, "builtin", neutral=neutral) for neutral in NEUTRAL]
    rows = []
    for neutral, search in zip(NEUTRAL, searches, strict=True):
        paired = asdict(search.against(searches[0]))
        rows.append({"neutral": neutral, **search.as_json(greedy), "over_defer": paired})
    aggregates = []
    for strategy in WHOLE:
        product = await cells.run(strategy, n, "builtin", n=N, aggregate="product")
        for aggregate in get_args(Aggregate):
            whole = await cells.run(strategy, n, "builtin", n=N, aggregate=aggregate)
            paired = asdict(whole.against(product))
            aggregates.append({"aggregate": aggregate, **whole.as_json(greedy), "over_product": paired})
    labels = [label for solution in samples(sampled) for label in solution.labels]
    shares = {str(label): labels.count(label) / len(labels) for label in (-1, 0, 1)}
    return {"greedy": greedy.as_json(), "labels": shares, "neutral": rows, "aggregates": aggregates}


async def capability(study: Study) -> dict[str, Any]:
    """Three policies by three reward models: the gain of each strategy over greedy decoding."""
    n = study.sizes.problems
    prms = {"early policy": str(study.work / "prm-early"), "middle policy": "weak", "backbone": "builtin"}
    policies = []
    for policy in study.policies:
        cells = study.cells(policy)
        greedy, sampled = await _baselines(cells, n)
        labels = [label for solution in samples(sampled) for label in solution.labels]
        policies.append({
            "policy": policy,
            "greedy": greedy.as_json(),
            "steps_right": 1 - labels.count(-1) / len(labels),
            "rows": [
                {
                    "judge": label,
                    "steps": study.step_metrics(policy, prm, sampled),
                    **await _at_equal_cost(cells, n, prm, greedy, sampled),
                }
                for label, prm in prms.items()
            ],
        })  # fmt: skip
    return {"policies": policies}


Table = Callable[[Study], Coroutine[Any, Any, dict[str, Any]]]
TABLES: Mapping[str, Table] = {t.__name__: t for t in (capability, supervision, params)}
