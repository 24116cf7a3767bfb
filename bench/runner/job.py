"""How one strategy of a run solves problems, apart from the problems and the models: sent to other machines
as it is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, replace

from bench.runner.episodes import EpisodeSpec, environment_of
from bench.runner.request import Run
from bench.tasks.base import Task
from bench.tasks.oracle import OracleScorer, is_oracle
from search.engine import Outcome, Watch, solve
from search.limits import CostLimits, LengthLimits
from search.speculation import Speculate
from search.trace import Trace
from search.tree import Strategy
from search.types import Policy, Problem, StepScorer
from search.values import Aggregate


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One strategy of a run, within its budget.

    name: as in results. episodes: None for steps. chat: whether the policy has a chat template. The other
    fields are as for `solve`.
    """

    name: str
    strategy: Strategy
    seed: int
    limits: CostLimits
    lengths: LengthLimits
    aggregate: Aggregate
    outcome: bool
    deadline: float | None
    concurrency: int
    speculate: Speculate
    prm_weight: float | None
    episodes: EpisodeSpec | None
    chat: bool

    def solve(
        self, problems: Iterable[Problem], policy: Policy, scorer: StepScorer, task: Task, *,
        trace: Trace, watch: Watch,
    ) -> AsyncGenerator[Outcome, None]:  # fmt: skip
        """`search.solve`. An oracle asks the task, not the scorer."""
        environment = None
        if self.episodes is not None:
            environment = environment_of(self.episodes, task, policy, chat=self.chat)
        return solve(
            problems, self.strategy, policy, OracleScorer(task) if is_oracle(self.name) else scorer,
            seed=self.seed, limits=self.limits, lengths=self.lengths, answers=task, aggregate=self.aggregate,
            outcome=self.outcome, deadline=self.deadline, concurrency=self.concurrency,
            speculate=self.speculate, prm_weight=self.prm_weight, environment=environment, trace=trace,
            watch=watch,
        )  # fmt: skip


def job_of(run: Run, name: str) -> Job:
    """The strategy `name` of a run. If it has a budget, the run must have its plan."""
    request, strategy, limits, deadline = run.request, run.strategies[name], run.request.limits, None
    if run.plan is not None and name in run.budgeted:
        strategy = run.plan.bounded(name, strategy)
        limits, deadline = replace(limits, total_tokens=run.plan.tokens), run.plan.seconds
    oracle = is_oracle(name)
    return Job(
        name=name, strategy=strategy, seed=request.seed, limits=limits, lengths=request.lengths,
        aggregate="product" if oracle else run.aggregate,
        outcome=not run.task.checks_steps if oracle else run.is_outcome,
        deadline=deadline or request.deadline, concurrency=request.concurrency, speculate=request.speculate,
        prm_weight=run.prm_weight, episodes=request.episodes, chat=run.policy.prompt.chat,
    )  # fmt: skip
