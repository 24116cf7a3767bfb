"""From a request to a search, and the searches of a server: as many at a time as it may run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

from bench.runner.models import Models, NoScorer
from bench.runner.request import Run
from bench.runner.server.errors import ApiError, failed
from search.engine import Outcome, Watch, solve
from search.errors import ContextError, UnavailableError, UsageError
from search.limits import CostLimits, LengthLimits
from search.node import Node, TreeEvent
from search.params import has_param, make_strategy
from search.params import params as params_of
from search.prompts import Conversation, Prompt, Turn
from search.strategies import STRATEGIES
from search.tree import Strategy, Unguided
from search.types import BoundedScorer, Problem

ID = "question"
"""The id of every problem: seeds derive from it, so the answer is that of `search.run --question`."""
RETRY_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What a server takes.

    searches: at a time; further ones wait. requests: accepted at a time, those that wait included.
    body_bytes: of a request. body_s: seconds that its body may take to arrive. deadline_s: seconds that a
        request may take, waiting included; then the best solution so far is the answer.
    """

    searches: int = 64
    requests: int = 256
    body_bytes: int = 1 << 20
    body_s: float = 30.0
    deadline_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What one choice of a request is: `solve` with these arguments.

    began: when the request arrived, by `perf_counter`. deadline_s: seconds from then.
    """

    name: str
    strategy: Strategy
    problem: Conversation
    seed: int
    limits: CostLimits
    lengths: LengthLimits
    deadline_s: float
    began: float


@runtime_checkable
class Checking(Protocol):
    """A policy that can tell before a search whether it can be made."""

    async def check(self, problem: Problem) -> None: ...


class Searcher:
    """Runs the searches of a server, with the models of a validated run.

    default: the strategy that the run names, with its parameters. requests: those being worked on, searches:
        of these, those that have begun. on_outcome: told of every search that ends by itself.
    """

    def __init__(
        self, run: Run, models: Models, limits: ServerLimits,
        on_outcome: Callable[[str, Outcome], None] = lambda name, outcome: None,
    ):  # fmt: skip
        self.limits, self._run, self._models = limits, run, models
        [self.default] = run.strategies
        self.on_outcome = on_outcome
        self._slots = asyncio.Semaphore(limits.searches)
        self.requests = 0
        self.searches = 0

    # -- from a request to a search ----------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The strategies that can be asked for, the default first."""
        return [self.default, *(n for n in STRATEGIES if n != self.default and self._is_served(n))]

    def _is_served(self, name: str) -> bool:
        try:
            self.strategy(name, {})
        except ApiError:
            return False
        return True

    def strategy(self, name: str, params: Mapping[str, Any], *, temperature: float | None = None) -> Strategy:
        """The strategy `name`, or the default one. Raises ApiError.

        params: as in JSON. temperature: for strategies with that parameter, unless `params` has it.
        """
        name = self.default if name == "default" else name
        if name not in STRATEGIES:
            known = ", ".join(self.names)
            raise ApiError(
                404, f"the model {name!r} does not exist: there is {known}", code="model_not_found",
                param="model",
            )  # fmt: skip
        own = {param: _text(value) for param, value in params.items()}
        if temperature is not None and has_param(name, "temperature"):
            own = {"temperature": str(temperature), **own}
        request = self._run.request
        try:
            if name == self.default:
                given = request.strategies[name]
                base = {p: _text(v) for p, v in params_of(given).items()}
                strategy = make_strategy(name, {**base, **own}) if own else given
            else:
                strategy = make_strategy(name, own)
            fitted = request.fitted_thresholds and own.keys().isdisjoint(("accept", "reject"))
            request = replace(request, strategies={name: strategy}, fitted_thresholds=fitted)
            [strategy] = request.with_defaults_of(self._run.prm).values()
        except UsageError as error:
            raise ApiError(400, str(error), param="params") from error
        if isinstance(self._models.scorer, NoScorer) and not isinstance(strategy, Unguided):
            raise ApiError(
                400, f"{name} needs a reward model, and this server was started for {self.default}, which "
                "needs none", param="model",
            )  # fmt: skip
        return strategy

    def chat(self, turns: Sequence[tuple[str, str]], stop: Sequence[str]) -> Conversation:
        """The problem of a chat: the last turn is the question. Raises ApiError.

        turns: (role, text). Reward models read the question alone, or all turns if there are several.
        """
        system = "\n\n".join(text for role, text in turns if role in ("system", "developer"))
        spoken = [Turn(role, text) for role, text in turns if role in ("user", "assistant")]
        if not spoken or spoken[-1].role != "user":
            raise ApiError(400, "the last message must be the user's", param="messages")
        *before, last = spoken
        if not last.content.strip():
            raise ApiError(400, "the last message is empty", param="messages")
        prompt = self._run.policy.prompt
        if (before or system) and not prompt.chat:
            raise ApiError(
                400, f"the policy {self._run.policy.name} is used without a chat template: it takes one user "
                "message, no system message and no earlier turns (unless it is served with --prompt chat)",
                param="messages",
            )  # fmt: skip
        question = last.content
        if before:
            question = "\n\n".join(f"{turn.role}: {turn.content}" for turn in spoken)
        prompt = replace(prompt, system=system or prompt.system, stop=(*prompt.stop, *stop))
        return Conversation(ID, question, prompt=prompt, text=last.content, turns=tuple(before))

    def text(self, prompt: str, stop: Sequence[str]) -> Conversation:
        """The problem of a text that is continued as it stands."""
        return Conversation(ID, prompt, prompt=Prompt("{question}", stop=tuple(stop)), text=prompt)

    def searches_of(
        self, name: str, strategy: Strategy, problem: Conversation, *, seed: int | None, n: int,
        budget: CostLimits, solution_tokens: int | None, deadline_s: float | None, began: float,
    ) -> list[Search]:  # fmt: skip
        """The searches of the `n` choices of a request; that of choice i has the seed `seed` + i.

        Never beyond the server's own limits. Raises ApiError.
        """
        request = self._run.request
        if budget.prm_tokens is not None and not isinstance(self._models.scorer, BoundedScorer):
            raise ApiError(
                400, "a limit on prm_tokens needs a reward model that says beforehand what a call may cost",
                param="budget",
            )  # fmt: skip
        lengths = request.lengths
        if solution_tokens is not None:
            longest = min(solution_tokens, lengths.solution_tokens)
            lengths = LengthLimits(min(lengths.step_tokens, longest), longest)
        first = request.seed if seed is None else seed
        name = self.default if name == "default" else name
        return [
            Search(
                name=name, strategy=strategy, problem=problem, seed=first + i,
                limits=_tighter(request.limits, budget), lengths=lengths,
                deadline_s=min(deadline_s or self.limits.deadline_s, self.limits.deadline_s),
                began=began,
            )
            for i in range(n)
        ]

    async def check(self, problem: Conversation) -> None:
        """Check that the policy can make the prompt. Raises ApiError."""
        if not isinstance(self._models.policy, Checking):
            return
        try:
            await self._models.policy.check(problem)
        except UsageError as error:
            raise ApiError(400, str(error), param="messages") from error
        except ContextError as error:
            raise ApiError(400, str(error), code="context_length_exceeded", param="messages") from error

    # -- searching ---------------------------------------------------------------------------------

    def start(self, searches: Sequence[Search]) -> Job:
        """Begin the searches of one request. Raises ApiError (429) if there are too many."""
        if self.requests >= self.limits.requests:
            raise _busy(f"{self.requests} requests are being worked on, which is the limit")
        self.requests += 1
        return Job(self, searches)

    async def solve(self, search: Search, watch: Watch) -> Outcome:
        """Run a search when it is its turn. Cancelling it frees the models. Raises ApiError if it fails."""
        try:
            async with asyncio.timeout(search.deadline_s - (perf_counter() - search.began)):
                await self._slots.acquire()
        except TimeoutError:
            raise _busy("the deadline passed before the search's turn came") from None
        self.searches += 1
        try:
            left = max(0.001, search.deadline_s - (perf_counter() - search.began))
            run, models = self._run, self._models
            outcomes = solve(
                [search.problem], search.strategy, models.policy, models.scorer, seed=search.seed,
                limits=search.limits, lengths=search.lengths, answers=run.task, aggregate=run.aggregate,
                outcome=run.is_outcome, deadline=left, speculate=run.request.speculate, watch=watch,
            )
            async with aclosing(outcomes):
                outcome = await anext(outcomes)
        except UnavailableError as error:
            raise ApiError(503, str(error), kind="server_error", retry_after_s=RETRY_S) from error
        finally:
            self.searches -= 1
            self._slots.release()
        self.on_outcome(search.name, outcome)
        if outcome.error is not None:
            raise failed(outcome.error)
        return outcome


class Job:
    """The searches of one request, running; what they settle is to be read from `news` as it happens.

    news: (choice, node) for each node that is settled, (choice, outcome) at the end of each search, and None
        after all of it, or after an error, which `result` raises.
    trees: of each choice, the nodes so far.
    """

    def __init__(self, searcher: Searcher, searches: Sequence[Search]):
        self.searches = searches
        self.news: asyncio.Queue[tuple[int, Node | Outcome] | None] = asyncio.Queue()
        self.trees: list[list[Node]] = [[] for _ in searches]
        self._searcher = searcher
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[list[Outcome]]) -> None:
        self._searcher.requests -= 1
        self.news.put_nowait(None)
        if not task.cancelled():
            task.exception()  # retrieved, also if nobody waits for it any more

    async def result(self) -> list[Outcome]:
        return await asyncio.shield(self._task)

    def cancel(self) -> None:
        """Stop what is still running; no effect if all is done."""
        self._task.cancel()

    async def _run(self) -> list[Outcome]:
        tasks = [asyncio.create_task(self._one(i, search)) for i, search in enumerate(self.searches)]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, choice: int, search: Search) -> Outcome:
        def watch(problem: Problem, event: TreeEvent, node: Node) -> None:
            if event in (TreeEvent.SAMPLE, TreeEvent.FAIL):
                self.trees[choice].append(node)
            elif event is TreeEvent.SETTLED:
                self.news.put_nowait((choice, node))

        outcome = await self._searcher.solve(search, watch)
        self.news.put_nowait((choice, outcome))
        return outcome


def _busy(message: str) -> ApiError:
    return ApiError(
        429, message, kind="rate_limit_error", code="rate_limit_exceeded", retry_after_s=RETRY_S
    )  # fmt: skip


def _text(value: Any) -> str:
    """A JSON value as on a command line."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _tighter(a: CostLimits, b: CostLimits) -> CostLimits:
    """The lower of each two limits."""

    def lower(x: int | None, y: int | None) -> int | None:
        return min((n for n in (x, y) if n is not None), default=None)

    return CostLimits(**{name: lower(x, getattr(b, name)) for name, x in asdict(a).items()})
