"""The main loop: one strategy over many problems."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any, TypeVar

from search.environments.episode import Environment, EpisodePolicy
from search.errors import UnavailableError, UsageError
from search.limits import Cost, CostLimits, Events, LengthLimits, LimitReached
from search.node import Node, TreeEvent
from search.speculation import Load, Speculate
from search.trace import Trace
from search.tree import StepGuided, Strategy, Tree, aggregate_of
from search.types import Answers, AnswersByProblem, Policy, Problem, Step, StepScorer, answer_text
from search.values import Aggregate

log = logging.getLogger(__name__)

T = TypeVar("T")

Watch = Callable[[Problem, TreeEvent, Node], None]
"""Told of every event of every problem, as it happens."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one problem.

    steps: the chosen solution; empty if there is an error, or if the strategy gives no answer.
    answer: None if there is an error, or if the solution is unfinished or states no answer.
    value: the reward model's value of the last step, in [0, 1]; None if it was not scored.
    finished: whether the model ended the solution itself, neither cut at a limit nor repeating itself.
    seconds: from the start of this problem to its end; other problems run at the same time.
    """

    problem: Problem
    steps: tuple[Step, ...]
    answer: str | None
    value: float | None
    cost: Cost
    events: Events
    seconds: float
    error: str | None = None
    finished: bool = False

    @property
    def text(self) -> str:
        return "".join(step.text for step in self.steps)

    @property
    def answer_text(self) -> str:
        """What the answer is read from: `text`, or in an episode what the last turn leaves to read."""
        return answer_text(self.steps)


async def solve(
    problems: Iterable[Problem],
    strategy: Strategy,
    policy: Policy,
    scorer: StepScorer,
    *,
    seed: int = 0,
    limits: CostLimits = CostLimits(),
    lengths: LengthLimits = LengthLimits(),
    answers: Answers | AnswersByProblem | None = None,
    aggregate: Aggregate = "product",
    outcome: bool = False,
    deadline: float | None = None,
    concurrency: int = 64,
    speculate: Speculate = 0,
    prm_weight: float | None = None,
    environment: Environment | None = None,
    trace: Trace | None = None,
    watch: Watch = lambda problem, event, node: None,
) -> AsyncGenerator[Outcome, None]:
    """Yield outcomes as problems finish; `concurrency` problems are worked on at a time.

    A problem that fails yields an Outcome with `error`; the others go on. Closing the iterator
    cancels what is in flight. Raises UsageError, before anything is spent, if two problems have
    the same id, and UnavailableError if a model is lost: what is in flight is cancelled, and what is
    recorded stays.

    problems: read to their end before the first is started.
    limits: what one problem may cost; where they end a search, the best solution so far is the answer.
    lengths: how long a step and a solution may get.
    deadline: seconds that one problem may take; then the best solution so far is the answer.
    aggregate: how the reward model's step values make a solution's value, unless the strategy says.
    outcome: the reward model scores whole solutions only, at their end.
    speculate: how many calls of one problem may run ahead of what its strategy asks for, or "auto": as many
        as keep the policy busy. Answers are the same, sooner; what was not asked for is counted in the cost.
    prm_weight: what scoring a token costs, in sampled tokens: how `Cost.total_tokens` is counted. Scored
        steps count by their policy tokens. None counts no total.
    environment: answers each whole message of the policy, which is then a step of the search: a turn of an
        episode (`search.environments`). `lengths` are of a turn and of all turns. None: steps of one message.
    answers: how answers are read, for all problems alike or for each (`AnswersByProblem`); the default
        compares whole texts.
    """
    trace, load = trace or Trace(), Load()
    if environment is not None:
        policy = EpisodePolicy(policy, environment, lengths.step_tokens)
    todo = list(problems)
    check_strategy(strategy, outcome=outcome)
    if twice := [id for id, count in Counter(problem.id for problem in todo).items() if count > 1]:
        raise UsageError(f"problem ids must be unique; given more than once: {', '.join(twice[:3])}")
    if deadline is not None and not deadline > 0:
        raise UsageError(f"deadline={deadline}: it must be above 0 seconds")
    if concurrency < 1:
        raise UsageError(f"concurrency={concurrency}: it must be at least 1")

    async def one(problem: Problem) -> Outcome:
        start = perf_counter()
        cost, events = Cost(), Events()
        try:
            recorder = trace.recorder(problem)
            own = answers.answers(problem) if isinstance(answers, AnswersByProblem) else answers
            tree = Tree(
                problem, policy, scorer, seed=seed, limits=limits, lengths=lengths, answers=own,
                aggregate=aggregate, outcome=outcome, recorder=recorder,
                watch=lambda event, node: watch(problem, event, node), speculate=speculate, load=load,
                prm_weight=prm_weight,
            )
            if (ended := recorder.ended) is not None:  # what was in flight then cannot be replayed
                leaf, cost, events = tree.restore(ended.at), ended.cost, ended.events
            else:
                try:
                    leaf = await _searched(tree, strategy, deadline)
                finally:
                    cost, events = tree.cost, tree.events
                if events.late:
                    recorder.note_deadline(leaf.address, cost, events)
            if (reason := tree.broken or leaf.failed) is not None:
                return _failed(problem, cost, events, start, reason)
            answer = tree.answer(leaf)
            recorder.write_chosen(leaf.address, answer)
            tree.watch(TreeEvent.CHOSEN, leaf)
        except UnavailableError:
            raise
        except Exception as error:
            log.debug("%s failed", problem.id, exc_info=True)
            return _failed(problem, cost, events, start, f"{type(error).__name__}: {error}")
        cost.policy_tokens_discarded = cost.policy_tokens - sum(s.n_tokens for s in leaf.steps)
        value = leaf.value if leaf.score else None
        return Outcome(
            problem, tuple(leaf.steps), answer, value, cost, events, perf_counter() - start,
            finished=leaf.is_finished,
        )

    source = iter(todo)
    running: set[asyncio.Task[Outcome]] = set()
    done: set[asyncio.Task[Outcome]] = set()
    try:
        while True:
            running |= {asyncio.create_task(one(p)) for p in islice(source, concurrency - len(running))}
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, *done, return_exceptions=True)


async def _searched(tree: Tree, strategy: Strategy, deadline: float | None) -> Node:
    """The strategy's leaf, or the best so far where a limit or the deadline ends the search."""
    timer = asyncio.timeout(deadline)
    try:
        async with timer:
            return await strategy(tree)
    except LimitReached:  # an outcome, not an error
        return await tree.best_so_far(aggregate_of(strategy))
    except TimeoutError:
        if not timer.expired():
            raise
        tree.events.late += 1
        return await tree.best_so_far(aggregate_of(strategy))
    finally:
        await tree.close()


def check_strategy(strategy: Strategy, *, outcome: bool) -> None:
    """Raise UsageError if the strategy needs step scores and the reward model is an outcome model."""
    if outcome and isinstance(strategy, StepGuided):
        raise UsageError(
            f"{type(strategy).__name__} needs a score for every step, and an outcome model scores whole "
            "solutions only: use best_of_n or weighted_vote, or a process reward model"
        )


def _failed(problem: Problem, cost: Cost, events: Events, start: float, reason: str) -> Outcome:
    cost.policy_tokens_discarded = cost.policy_tokens
    return Outcome(problem, (), None, None, cost, events, perf_counter() - start, reason)


def solve_all(
    problems: Iterable[Problem], strategy: Strategy, policy: Policy, scorer: StepScorer, **options: Any
) -> list[Outcome]:
    """`solve` without asyncio, for scripts and notebooks: outcomes in the order of the problems.

    options: as for `solve`. Where an event loop is running, as in a notebook, it works in a thread.
    An interrupt cancels what is in flight.
    """
    todo = list(problems)

    async def collect() -> dict[str, Outcome]:
        outcomes = solve(todo, strategy, policy, scorer, **options)
        return {outcome.problem.id: outcome async for outcome in outcomes}

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        by_id = asyncio.run(collect())
    else:
        by_id = _run_in_a_thread(collect())
    return [by_id[problem.id] for problem in todo]


def _run_in_a_thread(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in a thread of its own; an interrupt of this one cancels it."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = Future()

    async def announced() -> T:
        task = asyncio.ensure_future(work)
        started.set_result((asyncio.get_running_loop(), task))
        return await task

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, announced())
        try:
            return running.result()
        except KeyboardInterrupt:
            loop, task = started.result()
            loop.call_soon_threadsafe(task.cancel)
            raise
