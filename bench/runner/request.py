"""What a run is asked to do: the one typed request between every door and the engine.

A door (the command line, an experiment, a server) makes a `RunRequest`. `validate` looks at all of it
before a model is loaded or a token spent, and gives the `Run` that `bench.runner.execute` executes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import strftime
from typing import Any

from bench.runner.budget import Budget, Plan, recorded_plan
from bench.runner.checkpoints import Engine
from bench.runner.episodes import EpisodeSpec, check_sandbox, environment_of, with_tools
from bench.runner.faults import Faults
from bench.runner.identity import as_recorded
from bench.runner.pairing import mismatches
from bench.runner.ray.spec import ClusterSpec
from bench.runner.resolve import ResolvedPolicy, ResolvedPRM, check_policy, resolve_policy, resolve_prm
from bench.runner.shards import Shard, folder_of
from bench.runner.specs import PolicySpec, PRMSpec
from bench.runner.weights import prm_weight
from bench.tasks import TASKS
from bench.tasks.base import Defaults, Example, Task
from bench.tasks.oracle import guided_name, is_oracle
from search.engine import check_strategy
from search.environments.episode import Environment
from search.errors import UsageError
from search.limits import CostLimits, LengthLimits
from search.params import nearest, params, with_params
from search.speculation import Speculate
from search.strategies.cot import ChainOfThought
from search.trace import Trace
from search.tree import StepGuided, Strategy, Unguided
from search.types import Policy, Problem
from search.values import Aggregate

BASELINE = "cot"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """Strategies, on a task's problems, with a policy and a reward model.

    strategies: by the name that traces and results have; run in order.
    task: a name of `bench.tasks.TASKS`. strict: as `Task.strict`. data: its data, None is the task's own
        source. limit: the first problems. question: one question instead of the task's problems; it is not
        recorded.
    prm: None runs without a reward model.
    fitted_thresholds: thresholds that `prm.calibrate` fitted are used by strategies that have them as
        parameters (`accept`, `reject`).
    budget: what every strategy but the baseline spends on one problem; it scales their parameters.
    limits: what one problem may cost. lengths: how long a step and a solution may get. deadline: seconds that
        one problem may take.
    concurrency: problems at a time. speculate: as for `search.solve`.
    out: the folder of the traces, None is a new one in runs/. resume: continue the run in `out`.
    shard: only this share of the problems, recorded in a folder of its own in `out`. cluster: engines on
        other machines solve the problems; None loads the models here.
    episodes: search over turns of episodes; None searches over the steps of one message.
    """

    strategies: Mapping[str, Strategy]
    task: str = "builtin"
    strict: bool = False
    data: Path | None = None
    limit: int | None = None
    question: str | None = None
    policy: PolicySpec = PolicySpec()
    prm: PRMSpec | None = PRMSpec()
    fitted_thresholds: bool = True
    budget: Budget | None = None
    limits: CostLimits = field(default_factory=CostLimits)
    lengths: LengthLimits = LengthLimits()
    seed: int = 0
    deadline: float | None = None
    concurrency: int = 64
    speculate: Speculate = 0
    out: Path | None = None
    resume: bool = False
    shard: Shard | None = None
    cluster: ClusterSpec | None = None
    episodes: EpisodeSpec | None = None

    def validate(self) -> Run:
        """The run, ready to be executed. Loads no model, spends no token, writes nothing.

        Raises UsageError, which lists everything that is wrong.
        """
        faults = Faults()
        out = folder_of(self.out or Path("runs") / f"{self._source}-{strftime('%Y%m%d-%H%M%S')}", self.shard)
        with faults.collected():
            self._check_numbers(faults)
            self.check_budget(faults)
            self._check_spread(faults)
        if self.question is None:
            with faults.collected():
                self._check_out(out)
        elif not self.question.strip():
            faults.add("the question is empty")
        task: Task | None = None
        examples: list[Example] = []
        with faults.collected():
            task = self._task()
            examples = self._examples(task)
        if self.episodes is not None:
            self.episodes.check(faults, task, is_question=self.question is not None)
            if not self.resume:  # what is recorded whole needs none
                with faults.collected():
                    check_sandbox()
        engine: Engine | None = None
        prm: ResolvedPRM | None = None
        with faults.collected():
            engine = check_policy(self.policy, Defaults() if task is None else task.defaults)
        if task is not None and self.prm is not None and self._guided:
            with faults.collected():
                prm = resolve_prm(self.prm, task, engine)
        strategies: dict[str, Strategy] = {}
        with faults.collected():
            self._check_oracles(task)
            strategies = self.with_defaults_of(prm)
        faults.raise_if_any()  # before a tokenizer is read, which takes seconds
        assert task is not None
        policy = resolve_policy(
            self.policy, task, [example.problem for example in examples], turns=self.episodes is not None
        )
        if self.episodes is not None:
            policy = with_tools(policy)
        run = Run(
            request=self, strategies=strategies, task=task, examples=examples,
            policy=policy, prm=prm, out=out,
        )
        return run.with_recorded()

    @property
    def _guided(self) -> bool:
        """Whether any strategy uses the reward model; if none does, none is looked at."""
        return not all(
            isinstance(strategy, Unguided) or is_oracle(name) for name, strategy in self.strategies.items()
        )

    @property
    def _source(self) -> str:
        return self.data.stem if self.task == "jsonl" and self.data is not None else self.task

    def _check_numbers(self, faults: Faults) -> None:
        if not self.strategies:
            faults.add("no strategy is named")
        if self.concurrency < 1:
            faults.add(f"concurrency={self.concurrency}: it must be at least 1")
        if self.deadline is not None and not self.deadline > 0:
            faults.add(f"deadline={self.deadline}: it must be above 0 seconds")
        if self.speculate != "auto" and self.speculate < 0:
            faults.add(f"speculate={self.speculate}: it must be 0 or more, or auto")
        if self.limit is not None and self.limit < 1:
            faults.add(f"limit={self.limit}: it must be at least 1")

    def check_budget(self, faults: Faults) -> None:
        """Note what does not go with the budget."""
        if self.budget is None:
            return
        option = f"--budget {self.budget.text}"
        if self.question is not None:
            faults.add(f"{option} does not go with --question: it compares strategies on problems")
        if self.budget.times is not None and self.strategies.get(BASELINE) != ChainOfThought():
            faults.add(f"{option} counts in costs of greedy {BASELINE}: run it too, at temperature 0")
        if self.budget.seconds is not None and self.deadline is not None:
            faults.add(f"{option} is a deadline: leave --deadline out")

    def _check_spread(self, faults: Faults) -> None:
        """Note what does not go with a share of the problems, or with engines on other machines."""
        option = "--shard" if self.shard is not None else "--ray"
        if self.shard is None and self.cluster is None:
            return
        if self.question is not None:
            faults.add(f"{option} does not go with --question: one question is not spread")
        if self.budget is not None:
            faults.add(f"{option} does not go with --budget: it is measured on one machine; use --set")
        if self.shard is not None and self.out is None:
            faults.add("--shard needs --out DIR, the folder of the whole run")
        for fault in () if self.cluster is None else self.cluster.faults():
            faults.add(fault)

    def _check_out(self, out: Path) -> None:
        """Check that the run can be recorded in `out`. Raises UsageError."""
        existing = [name for name in self.strategies if (out / f"{name}.jsonl").exists()]
        if existing and not self.resume:
            there = ", ".join(existing)
            raise UsageError(f"{out} already holds a run of {there}: add --resume, or give another --out")
        if self.resume and self.out is None:
            raise UsageError("--resume needs --out DIR, the run to continue")
        if self.resume and not out.is_dir() and self.shard is None:  # a shard's command is always the same
            raise UsageError(f"--resume: there is no run in {out}: leave --resume out to begin one")
        above = next(folder for folder in (out, *out.parents) if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            fault = "it is not writable" if above.is_dir() else "it is a file"
            raise UsageError(f"--out: cannot write to {out}: {above}: {fault}")

    def load_problems(self) -> list[Problem]:
        """The problems of the run, or of its shard. Raises UsageError."""
        return [example.problem for example in self._examples(self._task())]

    def _task(self) -> Task:
        if self.task not in TASKS:
            raise UsageError(f"unknown task {self.task!r}{nearest(self.task, TASKS)}")
        task = TASKS[self.task]()
        task.strict = self.strict
        return task

    def _examples(self, task: Task) -> list[Example]:
        if self.question is not None:
            return [Example(Problem("question", self.question), "")]
        examples = task.load(self.data, self.limit)
        if self.shard is not None and self.shard.count > len(examples):
            raise UsageError(f"--shard {self.shard}: there are only {len(examples):,} problems")
        return examples if self.shard is None else self.shard.share(examples)

    def _check_oracles(self, task: Task | None) -> None:
        """Raise UsageError for a strategy that the task's references cannot guide."""
        for name, strategy in self.strategies.items():
            if not is_oracle(name):
                continue
            if self.episodes is not None:
                raise UsageError(f"{name}: the references do not tell right turns from wrong ones")
            if isinstance(strategy, Unguided):
                raise UsageError(f"{name}: nothing guides {guided_name(name)}, nor can an oracle")
            if self.question is not None:
                raise UsageError(f"{name}: one question has no reference answer")
            if task is not None and not task.checks_steps and isinstance(strategy, StepGuided):
                raise UsageError(
                    f"{name}: the task {task.name} can tell whether answers are right, not whether steps "
                    "are; take oracle_best_of_n"
                )

    def with_defaults_of(self, prm: ResolvedPRM | None) -> dict[str, Strategy]:
        """The strategies with the reward model's own thresholds and aggregate, where they name none.

        Raises UsageError for a strategy that the reward model cannot guide.
        """
        strategies = dict(self.strategies)
        for name, strategy in self.strategies.items():
            if is_oracle(name):
                continue
            check_strategy(strategy, outcome=prm is not None and prm.is_outcome)
            own: dict[str, Any] = {} if prm is None or not self.fitted_thresholds else dict(prm.thresholds)
            named = params(strategy)
            if named.get("aggregate", "") is None:
                own["aggregate"] = "product" if prm is None or prm.aggregate is None else prm.aggregate
            strategies[name] = with_params(strategy, {p: value for p, value in own.items() if p in named})
        return strategies


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A validated request: names resolved, problems read, prompt chosen. Made by `RunRequest.validate`.

    prm_weight: what a reward-model token counts, in policy tokens; None without a budget. plan: the budget in
    figures, None until greedy decoding is measured. `strategies` are scaled to it.
    """

    request: RunRequest
    strategies: Mapping[str, Strategy]
    task: Task
    examples: list[Example]
    policy: ResolvedPolicy
    prm: ResolvedPRM | None
    out: Path
    prm_weight: float | None = None
    plan: Plan | None = None

    @property
    def budgeted(self) -> list[str]:
        """The strategies that the budget is for: all but the baseline."""
        return [] if self.request.budget is None else [name for name in self.strategies if name != BASELINE]

    def with_recorded(self) -> Run:
        """This run with the weight of its budget, and with the plan that its folder holds if it is resumed.

        Raises UsageError if the folder holds another run: it is refused now, not after models are loaded.
        """
        run, request = self, self.request
        if request.budget is not None:
            weight = run.prm_weight if run.prm_weight is not None else prm_weight(run.policy, run.prm)
            run = replace(run, prm_weight=weight)
            if request.resume and (plan := recorded_plan(run.out, request.budget, weight)):
                run = run.with_plan(plan)
        if request.resume:
            for name in run.strategies:
                if run.trace_path(name).exists():
                    Trace.check(run.trace_path(name), run.recorded_identity(name))
        return run

    def with_plan(self, plan: Plan) -> Run:
        """This run, with its strategies scaled."""
        strategies = {name: plan.scaled(name, strategy) for name, strategy in self.strategies.items()}
        return replace(self, plan=plan, strategies=strategies)

    @property
    def described(self) -> str:
        """The models, in words."""
        model = None if self.prm is None else self.prm.model_name
        prm = "" if model is None else f" and reward model {model}"
        return f"policy {self.policy.name}{prm} on {self.policy.engine}"

    @property
    def prm_name(self) -> str | None:
        """What scores steps, as the user named it; None if no strategy uses it."""
        return None if self.prm is None else self.prm.name

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know before the run: what was left out of the problems, and models that were
        not made for each other or for the task.
        """
        made_for = () if self.prm is None else mismatches(self.policy, self.prm, self.task)
        return self.task.notes + made_for

    @property
    def aggregate(self) -> Aggregate:
        """How the reward model's step values make a solution's value."""
        return "product" if self.prm is None or self.prm.aggregate is None else self.prm.aggregate

    @property
    def is_outcome(self) -> bool:
        """Whether the reward model scores whole solutions only."""
        return self.prm is not None and self.prm.is_outcome

    def environment(self, policy: Policy) -> Environment | None:
        """What answers the policy's messages; None where steps are searched."""
        spec = self.request.episodes
        return None if spec is None else environment_of(spec, self.task, policy, chat=self.policy.prompt.chat)

    def identity(self, name: str) -> dict[str, Any]:
        """What makes two runs of the strategy `name` the same run: resuming needs all of it to be equal."""
        request = self.request
        return {
            "strategy": name,
            "params": params(self.strategies[name]),
            "task": self.task.name,
            "data": "" if request.data is None else str(request.data.resolve()),
            "seed": request.seed,
            "lengths": [request.lengths.step_tokens, request.lengths.solution_tokens],
            "limits": [request.limits.samples, request.limits.policy_tokens, request.limits.scores],
            **({"strict": True} if request.strict else {}),
            **({} if request.deadline is None else {"deadline": request.deadline}),
            **({} if request.episodes is None else {"episodes": request.episodes.identity()}),
            **({} if is_oracle(name) or self.aggregate == "product" else {"aggregate": self.aggregate}),
            **self._budget_identity(name),
            **self.policy.identity(),
            **self._prm_identity(name),
        }

    def _budget_identity(self, name: str) -> dict[str, Any]:
        budget, plan = self.request.budget, self.plan
        if budget is None or name not in self.budgeted:
            return {}
        figures = {} if plan is None else {"budget_tokens": plan.tokens, "greedy_tokens": plan.greedy}
        return {"cost_budget": budget.text, "prm_weight": self.prm_weight, **figures}

    def _prm_identity(self, name: str) -> dict[str, Any]:
        if is_oracle(name) or self.prm is None:
            return {"prm": "the references" if is_oracle(name) else None, "prm_weights": None}
        return self.prm.identity()

    def recorded_identity(self, name: str) -> dict[str, Any]:
        """The identity as the trace of this strategy holds it, if there is one and it is this run's."""
        prm = None if is_oracle(name) else self.prm
        return as_recorded(self.trace_path(name), self.identity(name), self.policy, prm)

    def trace_path(self, name: str) -> Path:
        return self.out / f"{name}.jsonl"

    def trace(self, name: str) -> Trace:
        """The trace of a strategy; close it. Raises TraceError if it is another run's."""
        self.out.mkdir(parents=True, exist_ok=True)  # not before: what is refused leaves nothing behind
        return Trace(self.trace_path(name), self.recorded_identity(name))


def greedy_baseline() -> dict[str, Strategy]:
    """Plain greedy chain of thought, which every other strategy is compared with."""
    return {BASELINE: ChainOfThought()}

