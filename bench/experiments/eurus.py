"""The Eurus loop on the built-in code task: trees, tuned policies, reward models, search, and again.

The work of `bench.eurus`. Training problems, problems for choosing settings, and test problems are of
different functions (`bench.tasks.generated.programs.split_of`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.experiments.eurus_stages import Sizes, Stages
from bench.experiments.stages import claim
from bench.report.eurus_cells import metrics_of
from bench.report.eurus_page import Rate, Results, Round, write_report
from bench.report.reranking import Reranking
from bench.report.summary import Summary
from bench.runner.episodes import check_sandbox
from prm.tuning.request import METHODS, Method
from prm.tuning.tune import check_installed
from search.errors import UsageError
from search.params import make_strategy
from search.strategies.cot import ChainOfThought

START, BUILTIN = "start", "builtin-code"
REWARD_MODELS: Mapping[str, Mapping[str, Any]] = {
    "bt-dr": {}, "bt": {"direct": ()}, "dr": {"direct_only": True},
}  # fmt: skip
SINGLE: Method = "kto"
"""The method that single-turn pairs are compared on, as in the paper's reviews."""
FULL = Sizes(
    problems=600, validation=100, test=500, samples=4, candidates=16, start_epochs=0.5, epochs=3, batch=8,
    every=20, held_out=0.1,
)  # fmt: skip
QUICK = Sizes(
    problems=48, validation=8, test=12, samples=4, candidates=16, start_epochs=1, epochs=1, batch=8, every=4,
    held_out=0.2,
)
RATES: Mapping[str, tuple[float, ...]] = {
    START: (1e-4,), "sft": (1e-4, 5e-4), "dpo": (3e-5, 1e-4), "kto": (3e-5, 1e-4), "nca": (3e-5, 1e-4),
    "reward": (3e-4, 1e-3),
}  # fmt: skip
"""Peak learning rates that are tried. The paper's 5e-7 is for models of 7 billion parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EurusRequest:
    """sizes: how much of everything. rates: learning rates to choose from. rounds: of the loop.

    work: the folder of the stages; what it holds whole is not made again. page: the Markdown file; its
    pictures stand beside it. command: what the page says it comes from.
    """

    sizes: Sizes
    work: Path
    page: Path
    rates: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: RATES)
    rounds: int = 3
    command: str = "python -m bench.eurus"


def run(request: EurusRequest) -> None:
    """Run the stages that are not done yet, and write the page. Raises UsageError before it spends."""
    check_installed()
    check_sandbox()
    if request.rounds < 1:
        raise UsageError(f"--rounds {request.rounds}: must be at least 1")
    claim(request.work, {**asdict(request.sizes), "rates": dict(request.rates)})
    write_report(_Loop(request).results(), request.page)


class _Loop:
    def __init__(self, request: EurusRequest):
        self._request, self._stages = request, Stages(request.work, request.sizes)
        self._tried = dict[str, list[Rate]]()

    def results(self) -> Results:
        """All stages, in order."""
        request, stages = self._request, self._stages
        own = stages.collect("own", BUILTIN, depth=1)
        hindsight = stages.hindsight("hindsight", own)
        start = self._chosen(
            START, "sft", BUILTIN, hindsight, epochs=request.sizes.start_epochs, history=True
        )
        trees = stages.collect("trees-1", str(start), seed=1)
        tuned: dict[str, Path] = {
            method: self._chosen(method, method, str(start), trees) for method in METHODS
        }
        lr = self._best_rate(SINGLE).lr
        single = stages.tune(f"tuned/{SINGLE}-single", SINGLE, str(start), trees, lr, turns=1)
        models = {
            name: self._reward_model(name, tuned["sft"], trees, fields)
            for name, fields in REWARD_MODELS.items()
        }
        folders = {START: start, **tuned, f"{SINGLE}-single": single}
        policies = {BUILTIN: BUILTIN, **{name: str(folder) for name, folder in folders.items()}}
        turns = {
            name: stages.episodes(f"turns/{name}", policy, ChainOfThought())
            for name, policy in policies.items()
        }
        return Results(
            request.command, request.work, request.sizes.test, turns, self._tried, folders, models,
            self._reranked(start, models), self._rounds(folders, turns), [own, hindsight, trees],
        )  # fmt: skip

    def _chosen(
        self, name: str, method: Method, base: str, trees: Path, *, epochs: float | None = None,
        history: bool = False,
    ) -> Path:  # fmt: skip
        """The policy of the learning rate that solves most of the validation problems, over all turns."""
        stages, made = self._stages, dict[float, Path]()
        rates = self._request.rates[name]
        for lr in rates:
            folder = stages.tune(
                f"tuned/{name}-{lr:g}", method, base, trees, lr, epochs=epochs, history=history
            )
            on = f"validation/{name}-{lr:g}"
            summary = stages.episodes(on, str(folder), ChainOfThought(), validation=True)
            self._tried.setdefault(name, []).append(Rate.of(lr, summary))
            made[lr] = folder
        return made[self._best_rate(name).lr]

    def _best_rate(self, name: str) -> Rate:
        """Of equally good ones, the lowest."""
        return max(self._tried[name], key=lambda rate: (rate.value, -rate.lr))

    def _reward_model(self, name: str, base: Path, trees: Path, fields: Mapping[str, Any]) -> Path:
        """The reward model of the learning rate with the highest accuracy on held-out pairs."""
        tried = list[tuple[float, float, Path]]()
        for lr in self._request.rates["reward"]:
            folder = self._stages.reward_model(f"rewards/{name}-{lr:g}", base, trees, lr, **fields)
            accuracy = metrics_of(folder)["metrics"].get("held_out_accuracy", 0.0)
            tried.append((accuracy, -lr, folder))
        return max(tried)[2]

    def _reranked(self, start: Path, models: Mapping[str, Path]) -> dict[str, Reranking]:
        """By reward model, the candidates of the start on the test problems."""
        n = self._request.sizes.candidates
        vote = make_strategy("self_consistency", {"n": str(n)})
        self._stages.searched("candidates", str(start), {"self_consistency": vote})
        trace = self._request.work / "candidates" / "self_consistency.jsonl"
        return {name: self._stages.reranked(trace, model) for name, model in models.items()}

    def _rounds(self, folders: Mapping[str, Path], turns: Mapping[str, Summary]) -> list[Round]:
        """The start, then each round: trees of the last policy, and that policy tuned on them.

        The first round is the best tuning on pairs. folders, turns: of the policies there are already.
        """
        stages, pairs = self._stages, [method for method in METHODS if method != "sft"]
        method = max(pairs, key=lambda name: self._best_rate(name).value)
        lr, policy = self._best_rate(method).lr, folders[method]
        hgs = [self._hgs(0, folders[START]), self._hgs(1, policy)]
        trees = self._request.work / "trees-1"
        rounds = [
            Round(folders[START], None, turns[START], hgs[0]), Round(policy, trees, turns[method], hgs[1])
        ]  # fmt: skip
        for number in range(2, self._request.rounds + 1):
            trees = stages.collect(f"trees-{number}", str(policy), seed=number)
            policy = stages.tune(f"tuned/round-{number}", method, str(policy), trees, lr)
            greedy = stages.episodes(f"rounds/{number}-episodes", str(policy), ChainOfThought())
            rounds.append(Round(policy, trees, greedy, self._hgs(number, policy)))
        return rounds

    def _hgs(self, number: int, policy: Path) -> Summary:
        return self._stages.searched(f"rounds/{number}-hgs", str(policy), {"hgs": make_strategy("hgs")})
