"""Labels from rollouts: samples on from every prefix with a policy, and labels steps by where they lead."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.runner.identity import as_recorded
from bench.runner.models import NoScorer, load_policy
from bench.runner.problem_rows import question_and_answer
from bench.runner.resolve import ResolvedPolicy, resolve_policy
from bench.runner.specs import PolicySpec
from bench.tasks import TEXT_TASKS
from bench.tasks.base import Example, TextTask
from bench.tasks.generated.checker import label_steps
from bench.tasks.generated.problems import WordProblem, generate
from prm.data.estimation import Bisect, Estimate, records
from prm.data.guard import Guard
from prm.data.labels import LabelledSolution, to_fields
from prm.data.left_out import LeftOut
from prm.data.rows import parsed, read_rows
from search.command import Exit
from search.engine import Outcome, solve
from search.errors import UsageError
from search.jsonl import JsonLinesFile
from search.limits import Cost, Events, LengthLimits
from search.node import Node
from search.trace import Trace
from search.types import Policy, Problem, StepScorer

LoadPolicy = Callable[[ResolvedPolicy], AbstractAsyncContextManager[Policy]]

TRAINING_SEED = 300
"""Of the built-in task's training problems that are labelled here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutsRequest:
    """Which problems to label, and how.

    out: where labels are written, problem by problem; what is sampled is kept in OUT.trace. resume: continue
        that trace.
    how: "estimate" completes every prefix of `solutions` samples; "bisect" makes `searches` binary
        searches. rollouts: completions of a prefix. task: a name of `TEXT_TASKS`. problems: a file or hub
        data set of training problems, None is the built-in ones. limit: the first problems.
    lengths: of solutions and their steps; longer ones are cut, and a rollout that is cut is wrong.
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
    lengths: LengthLimits = LengthLimits()

    def __post_init__(self) -> None:
        for name in ("rollouts", "solutions", "searches"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name}: it must be at least 1")
        if self.limit is not None and self.limit < 1:
            raise UsageError("--limit: it must be at least 1")

    @property
    def trace_path(self) -> Path:
        return self.out.with_name(self.out.name + ".trace")


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a run made, or of one problem.

    cut: solutions that were cut or repeated themselves. failed: problems with an error. cost: replayed calls
    included.
    """

    solutions: list[LabelledSolution] = field(default_factory=list)
    rollouts: int = 0
    cut: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    events: Events = field(default_factory=Events)

    def __add__(self, other: Labelled) -> Labelled:
        return Labelled(
            self.solutions + other.solutions, self.rollouts + other.rollouts, self.cut + other.cut,
            self.failed | other.failed, self.cost + other.cost, self.events + other.events,
        )


async def label(
    examples: Sequence[Example], task: TextTask, how: Estimate | Bisect, policy: Policy,
    scorer: StepScorer, *, trace: Trace, seed: int, concurrency: int = 64,
) -> Labelled:
    """Label the problems' solutions by rollouts of the policy, through the engine; all in memory."""
    parts = label_each(
        examples, task, how, policy, scorer, trace=trace, seed=seed, concurrency=concurrency,
        keep_estimates=True,
    )
    made = Labelled()
    async with aclosing(parts):
        async for part in parts:
            made += part
    return made


async def label_each(
    examples: Sequence[Example], task: TextTask, how: Estimate | Bisect, policy: Policy,
    scorer: StepScorer, *, trace: Trace, seed: int, lengths: LengthLimits = LengthLimits(),
    concurrency: int = 64, keep_estimates: bool = False,
) -> AsyncGenerator[Labelled, None]:
    """As `label`, problem by problem, in the order of the examples.

    A problem's trees are dropped as soon as its labels are made, unless `keep_estimates`.
    """
    from rich.progress import Progress

    finished: dict[str, Labelled] = {}
    outcomes = solve(
        [example.problem for example in examples], how, policy, scorer, seed=seed, answers=task,
        lengths=lengths, concurrency=concurrency, trace=trace,
    )
    waiting = deque(example.problem.id for example in examples)
    with Progress(transient=True) as progress:
        bar = progress.add_task("rolling out", total=len(examples))
        async with aclosing(outcomes):
            async for outcome in outcomes:
                id_ = outcome.problem.id
                finished[id_] = await asyncio.to_thread(_labels, outcome, task, how)
                if not keep_estimates:
                    how.estimates.pop(id_, None)
                progress.advance(bar)
                while waiting and waiting[0] in finished:
                    yield finished.pop(waiting.popleft())


def _labels(outcome: Outcome, task: TextTask, how: Estimate | Bisect) -> Labelled:
    """The labels of one problem."""
    problem = outcome.problem
    if outcome.error is not None:
        return Labelled(failed={problem.id: outcome.error}, cost=outcome.cost, events=outcome.events)
    estimates = how.estimates[problem.id]

    def right(node: Node) -> bool | None:
        if not node.is_finished:
            return None
        return how.right(problem.id, task.extract("".join(s.text for s in node.steps)))

    solutions = records(problem.question, estimates, right, f"rollouts/{task.name}", "train")
    return Labelled(
        solutions, estimates.rollouts, estimates.cut, cost=outcome.cost, events=outcome.events
    )


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
    left_out = LeftOut()
    rows = read_rows(problems)
    read = parsed(rows, lambda row: [question_and_answer(row)], source=problems, left_out=left_out)
    pairs = list(read)[:limit]
    if left_out:
        print(left_out.describe(), file=sys.stderr)
    guard = Guard.known()
    asked = [LabelledSolution(question, ("",), (0,), "", "train", "") for question, _ in pairs]
    kept = {solution.question for solution in guard.filter(asked)}
    print(guard.describe())
    if not kept:
        why = left_out.first_of(problems)
        raise UsageError(f"{problems}: nothing is left to label{'' if why is None else f': {why}'}")
    return [
        Example(Problem(f"{task.name}/train/{n}", question), answer)
        for n, (question, answer) in enumerate(pairs)
        if question in kept
    ]


def agreement(
    solutions: Iterable[LabelledSolution], problems: Mapping[str, WordProblem] | None = None
) -> tuple[int, int]:
    """On the built-in task: how many counted labels the exact checker agrees with, and how many there are.

    Only right and wrong are compared: rollouts know no neutral steps.
    problems: by question; the default is the first 10,000.
    """
    problems = _builtin_problems(10_000) if problems is None else problems
    agreed = total = 0
    for solution in solutions:
        exact = label_steps(problems[solution.question], solution.steps)
        for step in solution.counted:
            agreed += (solution.labels[step] > 0) == (min(exact[: step + 1]) >= 0)
            total += 1
    return agreed, total


def _builtin_problems(number: int) -> dict[str, WordProblem]:
    """The built-in training problems, by question."""
    return {problem.question: problem for problem in generate("train", TRAINING_SEED, number)}


@dataclass(slots=True)
class _Written:
    """What was written so far, in numbers: nothing here grows with the problems, but for failures."""

    labels: int = 0
    right: int = 0
    agreed: int = 0
    rollouts: int = 0
    cut: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    events: Events = field(default_factory=Events)

    def add(self, part: Labelled, problems: Mapping[str, WordProblem]) -> None:
        labels = [solution.labels[i] for solution in part.solutions for i in solution.counted]
        self.labels += len(labels)
        self.right += sum(label > 0 for label in labels)
        self.rollouts += part.rollouts
        self.cut += part.cut
        self.failed |= part.failed
        self.cost += part.cost
        self.events += part.events
        if problems:
            self.agreed += agreement(part.solutions, problems)[0]


def label_problems(request: RolloutsRequest, load: LoadPolicy | None = None) -> int:
    """Label the problems of the request, and write the labels of each as it is finished, in order.

    Prints what was done. To resume, everything is replayed from the trace and written again.
    load: loads the policy; None is `load_policy`.
    Returns an exit code: FAILED if no step could be labelled. Raises UsageError.
    """
    continued = request.resume and request.trace_path.exists()
    if request.out.exists() and not continued:
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
    if request.lengths != LengthLimits():  # traces from before there were limits can be resumed
        identity["lengths"] = asdict(request.lengths)
    exact = _builtin_problems(len(examples)) if request.task == "builtin" and not request.problems else {}
    written = _Written()

    async def work(trace: Trace) -> None:
        async with (load or load_policy)(resolved) as policy:
            request.out.unlink(missing_ok=True)  # it is made again, from the trace
            parts = label_each(
                examples, task, how, policy, NoScorer(), trace=trace, seed=request.seed,
                lengths=request.lengths,
            )  # fmt: skip
            with closing(JsonLinesFile(request.out, kind="file of labels")) as out:
                async with aclosing(parts):
                    async for part in parts:
                        if part.solutions:
                            out.append(map(to_fields, part.solutions))
                        written.add(part, exact)

    identity = as_recorded(request.trace_path, identity, resolved, None)
    with closing(Trace(request.trace_path, identity)) as trace:
        asyncio.run(work(trace))
    for id_, why in written.failed.items():
        print(f"{id_}: {why}")
    if written.cut:
        print(f"{written.cut:,} solutions were cut or repeated themselves, and count as wrong")
    if written.events.failed:
        print(f"{written.events.failed:,} samples failed, and count for nothing")
    if not written.labels:
        why = {
            "estimate": "no solution could be sampled",
            "bisect": "no problem had both right and wrong rollouts",
        }[request.how]
        print(f"error: no step was labelled: {why}, or every problem failed", file=sys.stderr)
        return Exit.FAILED
    print(
        f"{written.labels:,} steps labelled, {written.right:,} of them right, by "
        f"{written.rollouts:,} rollouts and {written.cost.policy_tokens:,} tokens "
        f"({written.events.replayed:,} calls from the trace): {request.out}"
    )
    if exact:
        share = written.agreed / written.labels
        print(f"the exact checker agrees with {written.agreed:,} of {written.labels:,} labels ({share:.1%})")
    return Exit.DONE
