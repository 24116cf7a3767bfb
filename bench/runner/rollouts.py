"""python -m prm.rollouts: label steps by where they lead: sample on from every prefix with a policy.

--how estimate completes every prefix of sampled solutions: hard labels (+1 if any completion is right)
and soft ones (the share that is) in one file. --how bisect finds first errors by binary search, and
reuses the tree. Everything sampled is kept in OUT.trace, so that --resume goes on at no cost. Problems
of evaluation sets are refused. On the built-in task, the labels are compared with the exact checker.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.runner.models import choose_prompt, load_models, resolve
from bench.tasks import TASKS
from bench.tasks.base import Example, Task
from prm.data.estimation import Bisect, Estimate, records
from prm.data.guard import Guard
from prm.data.labels import LabelledSolution, write_labels
from prm.data.rows import parsed, read_rows
from search.command import exit_code
from search.engine import Outcome, solve
from search.errors import UsageError
from search.limits import Cost, Events
from search.node import Node
from search.policies.stepping import Sampling
from search.segment import SEGMENTERS
from search.trace import Trace
from search.types import Policy, Problem, StepScorer

TRAINING_SEED = 300
"""Of the built-in task's training problems that are labelled here."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a run made. failed: problems with an error. cost: replayed calls included."""

    solutions: list[LabelledSolution]
    rollouts: int
    failed: dict[str, str]
    cost: Cost
    events: Events


async def label(
    examples: Sequence[Example], task: Task, how: Estimate | Bisect, policy: Policy, scorer: StepScorer, *,
    trace: Trace, seed: int, concurrency: int = 64,
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

        made += records(question, how.found[id_], right, f"rollouts/{task.name}", "train")
    rollouts = sum(found.rollouts for id_, found in how.found.items() if id_ not in failed)
    cost = sum((outcome.cost for outcome in outcomes.values()), Cost())
    events = sum((outcome.events for outcome in outcomes.values()), Events())
    return Labelled(made, rollouts, failed, cost, events)


def read_examples(task: Task, problems: str | None, limit: int | None) -> list[Example]:
    """Training problems and their answers, without those of evaluation sets. Raises UsageError."""
    if problems is None:
        if task.name != "builtin":
            raise UsageError(f"--task {task.name} needs --problems FILE: training problems with answers")
        from bench.tasks.generated.problems import generate

        return [
            Example(Problem(p.id, p.question), str(p.answer))
            for p in generate("train", TRAINING_SEED, limit or 100)
        ]

    def parse(row: dict[str, Any]) -> list[tuple[str, str]]:
        question = row["problem"] if "problem" in row else row["question"]
        return [(question, str(row["answer"]).rpartition("####")[2].strip())]

    found = list(parsed(read_rows(problems), parse))[:limit]
    guard = Guard.known()
    asked = [LabelledSolution(question, ("",), (0,), "", "train", "") for question, _ in found]
    kept = {solution.question for solution in guard.filter(asked)}
    print(guard.describe())
    if not kept:
        raise UsageError(f"{problems}: nothing is left to label")
    return [
        Example(Problem(f"{task.name}/train/{n}", question), answer)
        for n, (question, answer) in enumerate(found)
        if question in kept
    ]


def agreement(solutions: Sequence[LabelledSolution]) -> tuple[int, int]:
    """On the built-in task: how many counted labels the exact checker agrees with, and of how many.

    It is right or wrong that is compared: rollouts know no neutral steps.
    """
    from bench.tasks.generated.checker import label_steps
    from bench.tasks.generated.problems import generate

    by_question = {p.question: p for p in generate("train", TRAINING_SEED, 10_000)}
    agreed = total = 0
    for solution in solutions:
        exact = label_steps(by_question[solution.question], solution.steps)
        for step in solution.counted:
            agreed += (solution.labels[step] > 0) == (min(exact[: step + 1]) >= 0)
            total += 1
    return agreed, total


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return exit_code(lambda: _run(_parse(arguments)))


def _run(asked: argparse.Namespace) -> None:
    if asked.out.exists():
        raise UsageError(f"{asked.out} is there already: name another --out")
    trace_path: Path = asked.out.with_name(asked.out.name + ".trace")
    if trace_path.exists() and not asked.resume:
        raise UsageError(f"{trace_path} is there already: --resume goes on with it")
    task = TASKS[asked.task]()
    examples = read_examples(task, asked.problems, asked.limit)
    references = {example.problem.id: example.reference for example in examples}

    def right(id_: str, answer: str | None) -> bool:
        return task.grade(answer, references[id_]).correct

    how: Estimate | Bisect
    if asked.how == "estimate":
        how = Estimate(right, asked.solutions, asked.rollouts, asked.temperature)
    else:
        how = Bisect(right, asked.searches, asked.rollouts, temperature=asked.temperature)
    settings = resolve(
        policy=asked.policy, prm="builtin", engine=asked.engine, servers=asked.server, tokenizer=None,
        dtype="auto", sampling=Sampling(asked.temperature), seeded=True, segmenter=SEGMENTERS[asked.segment],
        guided=False,
    )  # fmt: skip
    settings = choose_prompt(settings, task.prompts, None, [], [example.problem for example in examples])
    names = ("how", "solutions", "searches", "rollouts", "temperature", "task", "problems", "seed")
    identity: Mapping[str, Any] = {name: getattr(asked, name) for name in names}
    trace = Trace(trace_path, {**identity, **settings.identity()})

    async def work() -> Labelled:
        models = await load_models(settings)
        try:
            return await label(
                examples, task, how, models.policy, models.scorer, trace=trace, seed=asked.seed
            )
        finally:
            await models.close()

    try:
        made = asyncio.run(work())
    finally:
        trace.close()
    for id_, why in made.failed.items():
        print(f"{id_}: {why}")
    if not made.solutions:
        raise UsageError("no step was labelled: no rollout was right, or every problem failed")
    write_labels(asked.out, made.solutions)
    labels = [solution.labels[i] for solution in made.solutions for i in solution.counted]
    print(
        f"{len(labels):,} steps labelled, {sum(label > 0 for label in labels):,} of them right, by "
        f"{made.rollouts:,} rollouts and {made.cost.policy_tokens:,} tokens "
        f"({made.events.replayed:,} calls from the trace): {asked.out}"
    )
    if task.name == "builtin" and asked.problems is None:
        agreed, total = agreement(made.solutions)
        print(f"the exact checker agrees with {agreed:,} of {total:,} labels ({agreed / total:.1%})")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m prm.rollouts", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FILE", help="where the labels go")
    add("--resume", action="store_true", help="go on with OUT.trace")
    add("--how", choices=("estimate", "bisect"), default="estimate", help="see above (%(default)s)")
    add("--rollouts", type=int, default=8, metavar="N", help="completions of a prefix (%(default)s)")
    add("--solutions", type=int, default=1, metavar="N", help="estimate: solutions a problem (%(default)s)")
    add("--searches", type=int, default=8, metavar="N", help="bisect: searches a problem (%(default)s)")
    add("--task", choices=sorted(TASKS), default="builtin", help="how answers are read (%(default)s)")
    add("--problems", metavar="FILE",
        help='training problems, {"problem", "answer"} a line (the built-in training problems)',
    )  # fmt: skip
    add("--limit", type=int, metavar="N", help="the first N problems (all; 100 built-in ones)")
    add("--policy", default="builtin", metavar="MODEL", help="path or hub id (%(default)s)")
    add("--engine", choices=("vllm", "server", "hf"), help="what samples (vLLM where it is installed)")
    add("--server", nargs="+", default=[], metavar="URL", help="for --engine server")
    add("--segment", choices=sorted(SEGMENTERS), default="newline", help="where steps end (%(default)s)")
    add("--temperature", type=float, default=0.8, help="(%(default)s)")
    add("--seed", type=int, default=0, help="(%(default)s)")
    asked = parser.parse_args(arguments)
    for name in ("rollouts", "solutions", "searches"):
        if getattr(asked, name) < 1:
            raise UsageError(f"--{name}: it must be at least 1")
    return asked

