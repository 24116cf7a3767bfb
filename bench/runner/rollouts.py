"""Labels from rollouts: samples on from every prefix with a policy, and labels steps by where they lead."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.runner.models import NoScorer, load_policy
from bench.runner.resolve import resolve_policy
from bench.runner.specs import PolicySpec
from bench.tasks import TEXT_TASKS
from bench.tasks.base import Example, TextTask
from bench.tasks.generated.checker import label_steps
from bench.tasks.generated.problems import generate
from prm.data.estimation import Bisect, Estimate, records
from prm.data.guard import Guard
from prm.data.labels import LabelledSolution, write_labels
from prm.data.rows import parsed, read_rows
from search.engine import Outcome, solve
from search.errors import UsageError
from search.limits import Cost, Events
from search.node import Node
from search.trace import Trace
from search.types import Policy, Problem, StepScorer

TRAINING_SEED = 300
"""Of the built-in task's training problems that are labelled here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutsRequest:
    """Which problems to label, and how.

    out: where labels are written; what is sampled is kept in OUT.trace. resume: continue that trace.
    how: "estimate" completes every prefix of `solutions` samples; "bisect" makes `searches` binary
        searches. rollouts: completions of a prefix. task: a name of `TEXT_TASKS`. problems: a file or hub
        data set of training problems, None is the built-in ones. limit: the first problems.
    """

    out: Path
    resume: bool
    how: Literal["estimate", "bisect"]
    rollouts: int
    solutions: int
    searches: int
    task: str
    problems: str | None
    limit: int | None
    policy: PolicySpec
    seed: int

    def __post_init__(self) -> None:
        for name in ("rollouts", "solutions", "searches"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name}: it must be at least 1")

    @property
    def trace_path(self) -> Path:
        return self.out.with_name(self.out.name + ".trace")


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a run made. failed: problems with an error. cost: replayed calls included."""

    solutions: list[LabelledSolution]
    rollouts: int
    failed: dict[str, str]
    cost: Cost
    events: Events


async def label(
    examples: Sequence[Example], task: TextTask, how: Estimate | Bisect, policy: Policy,
    scorer: StepScorer, *, trace: Trace, seed: int, concurrency: int = 64,
) -> Labelled:
    """Label the problems' solutions by rollouts of the policy, through the engine."""
    from rich.progress import Progress

    questions = {example.problem.id: example.problem.question for example in examples}
    outcomes: dict[str, Outcome] = {}
    with Progress(transient=True) as progress:
        bar = progress.add_task("rolling out", total=len(examples))
        problems = [example.problem for example in examples]
        async for outcome in solve(
            problems, how, policy, scorer, seed=seed, answers=task, concurrency=concurrency, trace=trace
        ):
            outcomes[outcome.problem.id] = outcome
            progress.advance(bar)
    failed = {id_: outcome.error for id_, outcome in outcomes.items() if outcome.error is not None}
    made: list[LabelledSolution] = []
    for id_, question in questions.items():
        if id_ in failed:
            continue

        def right(node: Node, id_: str = id_) -> bool | None:
            whole = node.is_terminal and node.step is not None
            return how.right(id_, task.extract("".join(s.text for s in node.steps))) if whole else None

        made += records(question, how.estimates[id_], right, f"rollouts/{task.name}", "train")
    rollouts = sum(estimates.rollouts for id_, estimates in how.estimates.items() if id_ not in failed)
    cost = sum((outcome.cost for outcome in outcomes.values()), Cost())
    events = sum((outcome.events for outcome in outcomes.values()), Events())
    return Labelled(made, rollouts, failed, cost, events)


def read_examples(task: TextTask, problems: str | None, limit: int | None) -> list[Example]:
    """Training problems and their answers, without those of evaluation sets; `task` can grade them then.

    Raises UsageError.
    """
    examples = _builtin_examples(task, limit) if problems is None else _own_examples(task, problems, limit)
    task.add(examples)
    return examples


def _builtin_examples(task: TextTask, limit: int | None) -> list[Example]:
    if task.name != "builtin":
        raise UsageError(f"--task {task.name} needs --problems FILE: training problems with answers")
    return [
        Example(Problem(p.id, p.question), str(p.answer))
        for p in generate("train", TRAINING_SEED, limit or 100)
    ]


def _own_examples(task: TextTask, problems: str, limit: int | None) -> list[Example]:
    def parse(row: dict[str, Any]) -> list[tuple[str, str]]:
        question = row["problem"] if "problem" in row else row["question"]
        return [(question, str(row["answer"]).rpartition("####")[2].strip())]

    pairs = list(parsed(read_rows(problems), parse))[:limit]
    guard = Guard.known()
    asked = [LabelledSolution(question, ("",), (0,), "", "train", "") for question, _ in pairs]
    kept = {solution.question for solution in guard.filter(asked)}
    print(guard.describe())
    if not kept:
        raise UsageError(f"{problems}: nothing is left to label")
    return [
        Example(Problem(f"{task.name}/train/{n}", question), answer)
        for n, (question, answer) in enumerate(pairs)
        if question in kept
    ]


def agreement(solutions: Sequence[LabelledSolution]) -> tuple[int, int]:
    """On the built-in task: how many counted labels the exact checker agrees with, and how many there are.

    Only right and wrong are compared: rollouts know no neutral steps.
    """
    by_question = {p.question: p for p in generate("train", TRAINING_SEED, 10_000)}
    agreed = total = 0
    for solution in solutions:
        exact = label_steps(by_question[solution.question], solution.steps)
        for step in solution.counted:
            agreed += (solution.labels[step] > 0) == (min(exact[: step + 1]) >= 0)
            total += 1
    return agreed, total


def label_problems(request: RolloutsRequest) -> None:
    """Label the problems of the request and write the labels. Prints what was done. Raises UsageError."""
    if request.out.exists():
        raise UsageError(f"{request.out} already exists: give another --out")
    if request.trace_path.exists() and not request.resume:
        raise UsageError(f"{request.trace_path} already exists: add --resume to continue it")
    task = TEXT_TASKS[request.task]()
    examples = read_examples(task, request.problems, request.limit)
    problems = {example.problem.id: example.problem for example in examples}

    def right(id_: str, answer: str | None) -> bool:
        return task.grade(problems[id_], answer).correct

    temperature = request.policy.sampling.temperature
    how: Estimate | Bisect
    if request.how == "estimate":
        how = Estimate(right, request.solutions, request.rollouts, temperature)
    else:
        how = Bisect(right, request.searches, request.rollouts, temperature=temperature)
    resolved = resolve_policy(request.policy, task, list(problems.values()))
    identity: dict[str, Any] = {
        "how": request.how, "solutions": request.solutions, "searches": request.searches,
        "rollouts": request.rollouts, "temperature": temperature, "task": request.task,
        "problems": request.problems, "seed": request.seed, **resolved.identity(), "prm": None,
        "prm_weights": None,
    }  # fmt: skip

    async def work(trace: Trace) -> Labelled:
        async with load_policy(resolved) as policy:
            return await label(examples, task, how, policy, NoScorer(), trace=trace, seed=request.seed)

    with closing(Trace(request.trace_path, identity)) as trace:
        made = asyncio.run(work(trace))
    for id_, why in made.failed.items():
        print(f"{id_}: {why}")
    if not made.solutions:
        raise UsageError("no step was labelled: no rollout was right, or every problem failed")
    write_labels(request.out, made.solutions)
    labels = [solution.labels[i] for solution in made.solutions for i in solution.counted]
    print(
        f"{len(labels):,} steps labelled, {sum(label > 0 for label in labels):,} of them right, by "
        f"{made.rollouts:,} rollouts and {made.cost.policy_tokens:,} tokens "
        f"({made.events.replayed:,} calls from the trace): {request.out}"
    )
    if request.task == "builtin" and request.problems is None:
        agreed, total = agreement(made.solutions)
        print(f"the exact checker agrees with {agreed:,} of {total:,} labels ({agreed / total:.1%})")
