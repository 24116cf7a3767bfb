"""Collects preference trees: samples actions of policies, has them graded, writes UltraInteract's files."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.runner.attempts import AttemptLog, Recorded
from bench.runner.collect_problems import Instruction, Source, read_source
from bench.runner.episodes import TaskChecker
from bench.runner.models import load_policy
from bench.runner.resolve import ResolvedPolicy, resolve_policy
from bench.runner.specs import PolicySpec
from bench.tasks import TASKS
from bench.tasks.base import Task
from mutation.parsing import parse
from prm.preference.collection import (
    Attempt,
    Collected,
    Environment,
    Feedback,
    History,
    Ladder,
    Place,
    Status,
    collect,
)
from prm.preference.conversation import conversation
from prm.preference.files import write_trees
from prm.preference.schemas import SCHEMAS, asked, schema_for
from prm.preference.tree import MAX_DEPTH, Observation, PreferenceTree, instruction_id, tree_id
from search.errors import SearchError, UnavailableError, UsageError
from search.limits import metered
from search.params import nearest
from search.prompts import Prompt
from search.seeds import derive
from search.types import Policy, Problem, Stop, Until

LoadPolicy = Callable[[ResolvedPolicy], AbstractAsyncContextManager[Policy]]

Result = tuple[list[PreferenceTree], Collected]

ATTEMPTS = "attempts.jsonl"

_FENCED = re.compile(r"^```(?:python|py)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectRequest:
    """What to collect, and how.

    out: a folder for the record and the files. resume: continue the record there.
    task: a name of `bench.runner.collect_problems.TASK_NAMES`. problems: a file or hub data set of training
        problems, None is the task's own. limit: the first problems.
    actor: the policy that samples. stronger: policies that try, in turn, where it finds no correct action.
    samples, gold_samples, depth: as in `prm.preference.collection.Ladder`.
    critic: "checker" for critiques in the task's own words, as `bench.runner.episodes.CRITICS` has it.
    schemas: names of `SCHEMAS`; one is drawn for each sample. tokens: of one action, at most.
    concurrency: problems worked on at a time.
    """

    out: Path
    resume: bool = False
    task: str = "builtin"
    problems: str | None = None
    limit: int | None = None
    actor: PolicySpec = field(default_factory=PolicySpec)
    stronger: tuple[PolicySpec, ...] = ()
    samples: int = 20
    gold_samples: int = 20
    depth: int = MAX_DEPTH
    critic: Literal["checker"] | None = None
    schemas: tuple[str, ...] = ("plain",)
    tokens: int = 1024
    seed: int = 0
    concurrency: int = 64

    def __post_init__(self) -> None:
        low = [name for name in ("samples", "depth", "tokens", "concurrency") if getattr(self, name) < 1]
        wrong = [f"--{name} must be at least 1" for name in low]
        if self.gold_samples < 0:
            wrong.append("--gold-samples must be 0 or more")
        unknown = [name for name in self.schemas if name not in SCHEMAS]
        wrong += [f"--schemas: unknown schema {name!r}{nearest(name, SCHEMAS)}" for name in unknown]
        has_tests = self.task in TASKS and TASKS[self.task]().public_tests is not None
        if self.critic is not None and not has_tests:
            wrong.append(f"--critic checker: the checker of {self.task} says no more than right or wrong")
        if "modular" in self.schemas and not has_tests:
            wrong.append(f"--schemas modular: no environment runs the programs of the task {self.task}")
        if wrong:
            raise UsageError(*wrong)

    @property
    def ladder(self) -> Ladder:
        return Ladder(self.samples, self.gold_samples, 1 + len(self.stronger), self.depth)


class Checker:
    """The environment of one turn: the task's checker says whether the answer is correct.

    explains: it adds its critique, in the words of an episode's.
    """

    def __init__(self, task: Task, is_program: bool, *, explains: bool = False):
        self._checker, self._is_program, self._explains = TaskChecker(task), is_program, explains

    async def step(self, problem: Problem, actions: Sequence[str]) -> Feedback:
        return await asyncio.to_thread(self._graded, problem, actions[-1])

    def _graded(self, problem: Problem, action: str) -> Feedback:
        answer = self._checker.extract(problem, action)
        checked = self._checker.check(problem, answer)
        is_valid = not self._is_program or (answer is not None and parses(action))
        critique = checked.words if self._explains else ""
        return Feedback(checked.correct, Observation.of(checked.correct, critique=critique), is_valid)


def parses(action: str) -> bool:
    """Whether the code of an action is Python: its blocks in fences, or else all of it.

    The paper drops other actions. The task itself is more lenient: it reads a program as far as it can.
    """
    try:
        for code in _FENCED.findall(action) or [action]:
            parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


class Collector:
    """Collects the trees of a request's problems. Every attempt is recorded as soon as it is answered.

    failures: attempts that failed, by reason. replayed: attempts that came from the record.
    """

    def __init__(
        self, request: CollectRequest, source: Source, actors: Sequence[tuple[Prompt, Policy]],
        environment: Environment, log: AttemptLog,
    ):  # fmt: skip
        self._request, self._source, self._actors = request, source, actors
        self._environment, self._log = environment, log
        self.failures: Counter[str] = Counter()
        self.replayed = 0

    async def trees(self, instruction: Instruction) -> Result:
        """The trees of a problem, the main one first; maybe none."""
        made = await collect(
            lambda place, history: self._attempt(instruction, place, history),
            len(instruction.gold) if self._request.gold_samples else 0, self._request.ladder,
        )  # fmt: skip
        question = instruction.problem.question
        turns = [("", made.turns), *((f"gold {n}", (turn,)) for n, turn in enumerate(made.extra, start=1))]
        return [
            PreferenceTree(
                tree_id(question, key), instruction_id(question), self._source.kind, self._request.task,
                question, own,
            )
            for key, own in turns if own
        ], made  # fmt: skip

    async def _attempt(self, instruction: Instruction, place: Place, history: History) -> Attempt | None:
        problem = instruction.problem
        recorded = self._log.get(problem.id, place)
        if recorded is not None:
            self.replayed += 1
            return recorded.attempt
        prompt, policy = self._actors[place.actor]
        seed = derive(self._request.seed, problem.id, place)
        gold = "" if place.gold < 0 else instruction.gold[place.gold]
        message = asked(
            problem.question, schema_for(self._request.schemas, seed), gold=gold,
            is_program=self._source.is_program,
        )  # fmt: skip
        try:
            with metered() as cost:
                steps = await policy.propose(
                    conversation(problem, prompt, message, history),
                    (),
                    until=Until.END,
                    max_tokens=self._request.tokens,
                    seed=seed,
                )
            text = "".join(step.text for step in steps)
            feedback = await self._environment.step(problem, [*(action for action, _ in history), text])
        except UnavailableError:  # the run stops, and can be resumed
            raise
        except SearchError as error:  # stays with its sample, and is tried again when the run is resumed
            self.failures[f"{type(error).__name__}: {str(error).removeprefix(f'{problem.id}: ')}"] += 1
            return None
        whole = steps[-1].stop is Stop.END and bool(text.strip()) and feedback.is_valid
        status = Status.INVALID if not whole else Status.CORRECT if feedback.correct else Status.WRONG
        made = Recorded(Attempt(text, status, feedback.observation), cost.policy_tokens)
        self._log.add(problem.id, place, made)
        return made.attempt


def collect_trees(request: CollectRequest, load: LoadPolicy | None = None) -> None:
    """Collect the trees of a request, and write them. Prints what was collected.

    load: loads a policy; None is `load_policy`. Raises UsageError before anything is spent.
    """
    path = request.out / ATTEMPTS
    if path.exists() and not request.resume:
        raise UsageError(f"{path} already exists: add --resume to continue it, or choose another --out")
    source = read_source(request.task, request.problems, request.limit)
    problems = [instruction.problem for instruction in source.instructions]
    specs = (request.actor, *request.stronger)
    actors = [resolve_policy(spec, source.task, problems, turns=request.depth > 1) for spec in specs]
    config = {
        "task": request.task, "problems": request.problems, "ladder": asdict(request.ladder),
        **({} if request.critic is None else {"critic": request.critic}),
        "schemas": request.schemas, "tokens": request.tokens, "seed": request.seed,
        "actors": [actor.identity() for actor in actors],
    }  # fmt: skip
    for note in source.notes:
        print(note)
    request.out.mkdir(parents=True, exist_ok=True)
    with closing(AttemptLog(path, config)) as log:
        results, collector = asyncio.run(_collect(request, source, actors, log, load or load_policy))
        _write(request, results, collector, log)


async def _collect(
    request: CollectRequest,
    source: Source,
    actors: Sequence[ResolvedPolicy],
    log: AttemptLog,
    load: LoadPolicy,
) -> tuple[list[Result], Collector]:
    """The results of all problems, in their order."""
    from rich.progress import Progress

    async with AsyncExitStack() as stack:
        loaded = [(actor.prompt, await stack.enter_async_context(load(actor))) for actor in actors]
        checker = Checker(source.task, source.is_program, explains=request.critic is not None)
        collector = Collector(request, source, loaded, checker, log)
        room = asyncio.Semaphore(request.concurrency)
        with Progress(transient=True) as progress:
            bar = progress.add_task("collecting", total=len(source.instructions))

            async def one(instruction: Instruction) -> Result:
                async with room:
                    result = await collector.trees(instruction)
                progress.advance(bar)
                return result

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(instruction)) for instruction in source.instructions]
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
        return [task.result() for task in tasks], collector


def _write(request: CollectRequest, results: Sequence[Result], collector: Collector, log: AttemptLog) -> None:
    rungs = Counter(rung or "none" for _, made in results for rung in made.rungs)
    statuses = log.statuses
    facts: dict[str, Any] = {
        "problems": len(results),
        "problems_without_a_tree": sum(not trees for trees, _ in results),
        "attempts": {status: statuses[status] for status in Status},
        "policy_tokens": log.tokens,
        "turns_by_rung": {rung: rungs[rung] for rung in [*request.ladder.rungs, "none"]},
        "failures": dict(collector.failures),
    }  # fmt: skip
    counts = write_trees(request.out, (tree for trees, _ in results for tree in trees), facts)
    for why, n in collector.failures.most_common():
        print(f"failed: {n:,} x {why}")
    if not counts.trees:
        raise UsageError("no tree was collected: no problem has a correct action that can begin one")
    print(
        f"{sum(statuses.values()):,} actions sampled, {log.tokens:,} policy tokens "
        f"({collector.replayed:,} actions from the record): "
        + ", ".join(f"{statuses[status]:,} {status}" for status in Status)
    )
    print("turns by the rung of their correct action: "
          + ", ".join(f"{rung} {n:,}" for rung, n in facts["turns_by_rung"].items()))  # fmt: skip
    print(f"\n{counts.describe()}\n\n{request.out}")
