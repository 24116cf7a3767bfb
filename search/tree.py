"""The tree of one problem, as strategies see it."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Protocol, TypeVar

from search.limits import CostLimits, LengthLimits, LimitReached, Scope
from search.node import Node, TreeEvent, num_scored
from search.scoring import Watcher
from search.seeds import derive
from search.speculation import Load, Speculate
from search.spending import How, Spending
from search.trace import Recorder
from search.types import Ahead, Answers, Policy, Problem, StepScorer, Until
from search.values import Aggregate, Choice, path_value

T = TypeVar("T")


class Strategy(Protocol):
    """A decoding strategy: grows `tree`, returns the leaf it answers with."""

    async def __call__(self, tree: Tree) -> Node: ...


def aggregate_of(strategy: Strategy) -> Aggregate | None:
    """How a strategy makes a solution's value of those of its steps; None if it does not say."""
    aggregate: Aggregate | None = getattr(strategy, "aggregate", None)
    return aggregate


class StepGuided:
    """A base of strategies that need a score for every step, which an outcome model does not give."""

    __slots__ = ()


class Unguided:
    """A base of strategies that never use the reward model, so that none has to be loaded."""

    __slots__ = ()


class TextAnswers:
    """The default `Answers`: the whole text is the answer, and equality is equality of text."""

    def extract(self, text: str) -> str | None:
        return text.strip() or None

    def equal(self, a: str, b: str) -> bool:
        return a == b


class Tree(Spending):
    """What a strategy may do with one problem: sample, score, limit, read.

    cost, events: what was spent and what happened so far. Results are in the order of the arguments,
    whatever order the calls finish in.

    A candidate whose sampling or scoring fails becomes a node with `failed`; the others go on. Where limits
    end a call to `expand` or `complete`, it returns the nodes that were sampled before.

    aggregate: how the reward model's step values make a solution's value, where a strategy does not say.
    outcome: whether the reward model scores whole solutions only, at their end.
    speculate: how much is drawn ahead where a strategy says what it may ask for next. load: of the policy,
        shared by the problems of a run. prm_weight: what a scored token counts in `Cost.total_tokens`.
    """

    def __init__(
        self,
        problem: Problem,
        policy: Policy,
        scorer: StepScorer,
        *,
        seed: int = 0,
        limits: CostLimits = CostLimits(),
        lengths: LengthLimits = LengthLimits(),
        answers: Answers | None = None,
        aggregate: Aggregate = "product",
        outcome: bool = False,
        recorder: Recorder | None = None,
        watch: Watcher = lambda event, node: None,
        speculate: Speculate = 0,
        load: Load | None = None,
        prm_weight: float | None = None,
    ):
        super().__init__(
            problem, policy, scorer, seed=seed, limits=limits, lengths=lengths, outcome=outcome,
            recorder=recorder, watch=watch, speculate=speculate, load=load, prm_weight=prm_weight,
        )
        self.rng = random.Random(derive(seed, problem.id, "strategy"))
        self._settled = self.root
        self._answers: Answers = answers or TextAnswers()
        self._aggregate: Aggregate = aggregate

    # -- growing ---------------------------------------------------------------------------------

    async def expand(
        self, nodes: Sequence[Node], width: int = 1, *, temperature: float | None = None,
        ahead: Ahead | None = None,
    ) -> list[Node]:  # fmt: skip
        """Sample and score `width` next steps of each node. Returns [len(nodes) * width].

        Each child is scored as soon as it is sampled. temperature: None is the policy's own.
        ahead: what may be asked for next, and may be drawn meanwhile; it changes no result.
        Raises LimitReached if the limits allow no sample, or not the scores of what was sampled.
        """
        return await self._sample(nodes, width, How(Until.STEP, temperature, scored=True, ahead=ahead))

    async def sample(
        self, nodes: Sequence[Node], width: int = 1, *, temperature: float | None = None,
        scratch: bool = False,
    ) -> list[Node]:  # fmt: skip
        """Sample `width` next steps of each node, without scores. Returns [len(nodes) * width].

        scratch: to look ahead; the new nodes are not added to the tree, and can be scored and continued.
        Raises LimitReached if the limits allow no sample.
        """
        return await self._sample(nodes, width, How(Until.STEP, temperature, scratch=scratch))

    async def complete(
        self, nodes: Sequence[Node], n: int = 1, *, temperature: float | None = None
    ) -> list[Node]:
        """Sample `n` full solutions from each node, without scores. Returns [len(nodes) * n] leaves.

        A terminal node is its own completion. Raises LimitReached if the limits allow no sample.
        """
        open_ = [node for node in nodes if not node.is_terminal]
        leaves = iter(await self._sample(open_, n, How(Until.END, temperature)))
        wanted = ((node if node.is_terminal else next(leaves, None)) for node in nodes for _ in range(n))
        return [leaf for leaf in wanted if leaf is not None]

    async def completions(
        self, node: Node, n: int, *, at_once: int = 1, temperature: float | None = None
    ) -> AsyncGenerator[Node, None]:
        """Yield up to `n` full solutions from a node in the order of their addresses, `at_once` in flight.

        Closing it stops those that are being sampled; what they have cost is counted. It ends where limits
        allow no more.
        """
        running: deque[asyncio.Future[list[Node]]] = deque()
        left = n
        try:
            while left or running:
                while left and len(running) < at_once:
                    left -= 1
                    if self._is_stopped(node):  # it has its address, and those after it may have ended
                        self._next(node)
                        running.append(asyncio.get_running_loop().create_future())
                        continue
                    running.append(asyncio.ensure_future(self.complete([node], temperature=temperature)))
                    await asyncio.sleep(0)  # it has its address now
                for leaf in await running.popleft():
                    yield leaf
        except LimitReached:
            return
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _is_stopped(self, node: Node) -> bool:
        """Whether it is recorded that the next child of a node was stopped while it was sampled.

        The search was over by then: a replay is, too, before it waits for this child.
        """
        return self._recorder.was_stopped((*node.address, node.reserved))

    async def finish(self, node: Node) -> Node:
        """Complete a node greedily, for an answer in any case; once more from the root if that fails."""
        [leaf] = await self.complete([node], temperature=0.0)
        if leaf.failed is not None:
            [leaf] = await self.complete([self.root], temperature=0.0)
        return leaf

    async def score(self, nodes: Sequence[Node]) -> None:
        """Score the unscored steps on the nodes' paths: one reward-model call per node.

        A duplicate takes the score of its original, and a blank step that of the step before it.
        Raises LimitReached if the limits do not allow all of it; what they allow is scored.
        """
        unscored = [n for n in nodes if n.score is None and n.failed is None and n.step is not None]
        todo = dict.fromkeys(n for node in unscored if (n := node.scored_as).score is None)
        if not self._outcome:
            for node in list(todo):  # an ancestor of another node is scored with it
                for ancestor in node.path[:-1]:
                    todo.pop(ancestor, None)
        await self._all(self._score_path(node) for node in todo if node.parent is not None)
        for node in unscored:
            self._copy_scores(node)

    # -- controlling -----------------------------------------------------------------------------

    async def gather(self, *branches: Awaitable[T]) -> list[T]:
        """Run branches of one problem concurrently; results in order. The first error cancels the rest."""
        if len(branches) == 1:
            return [await branches[0]]
        tasks = [asyncio.ensure_future(branch) for branch in branches]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @contextmanager
    def limit(self, **bounds: int | None) -> Iterator[None]:
        """Limit what the block may spend, counted from here; reaching the limit ends the block.

        It holds for the branch that enters it, and for branches that this one starts.
        bounds: as the fields of `CostLimits`.
        """
        scope = Scope(CostLimits(**bounds))
        try:
            with self._entered(scope):
                yield
        except LimitReached as reached:
            if reached.scope is not scope:
                raise

    @property
    def remaining(self) -> CostLimits:
        """What the running branch may still spend."""
        scopes = self._scopes

        def left(name: str) -> int | None:
            bounds = [n for scope in scopes if (n := scope.left(name)) is not None]
            return max(0, min(bounds)) if bounds else None  # a policy may have sampled too many

        return CostLimits(*(left(field.name) for field in fields(CostLimits)))

    def backtrack(self, node: Node) -> None:
        """Record that the strategy gives `node` up and goes back to its parent."""
        self.events.backtracks += 1
        self._recorder.write_mark("backtrack", node.address)
        self.watch(TreeEvent.BACKTRACK, node)

    def reject(self, node: Node) -> None:
        """Tell those who watch that the strategy does not continue from `node`; it costs nothing."""
        self._recorder.write_mark("reject", node.address)
        self.watch(TreeEvent.REJECT, node)

    def settle(self, nodes: Sequence[Node]) -> None:
        """Promise that the solution goes through one of `nodes`, or is finished already; it costs nothing.

        What all of these have in common is settled, also where a limit or the deadline ends the search:
        those who watch are told of each such node. Only a `finish` that begins anew takes it back.
        """
        finished = (node for node in self._all_nodes(self._settled) if node.is_finished)
        paths = [node.path[len(self._settled.path) :] for node in (*nodes, *finished)]
        for first, *others in zip(*paths, strict=False):
            if first.failed is not None or any(other is not first for other in others):
                break
            self._settled = first
            self.watch(TreeEvent.SETTLED, first)

    # -- reading ---------------------------------------------------------------------------------

    def answer(self, node: Node) -> str | None:
        """The final answer of a finished solution; None if it is unfinished or states none."""
        return self._answers.extract(node.answer_text) if node.is_finished else None

    def is_dead(self, node: Node) -> bool:
        """True for a dead end: finished or cut without an answer, or failed."""
        return node.is_terminal and self.answer(node) is None

    def value(self, node: Node, aggregate: Aggregate | None = None) -> float:
        """The value of the path to a node, in [0, 1].

        aggregate: None is the reward model's own. Raises ValueError if a step it reads is not scored.
        """
        if self._outcome and node.parent is not None:
            return node.value
        return path_value(node, aggregate or self._aggregate)

    def best(self, nodes: Sequence[Node], aggregate: Aggregate | None = None) -> Node:
        """The scored node with the highest value. Ties go to the first; a failed one is last."""
        alive = [node for node in nodes if node.failed is None] or nodes[:1]
        return alive[0] if len(alive) == 1 else max(alive, key=lambda node: self.value(node, aggregate))

    def eligible(self, nodes: Sequence[Node]) -> list[Node]:
        """The nodes to choose from: those with an answer, else those that did not fail, else the first."""
        answered = [node for node in nodes if self.answer(node) is not None]
        return answered or [node for node in nodes if node.failed is None] or list(nodes[:1])

    async def choose(
        self, solutions: Sequence[Node], how: Choice, aggregate: Aggregate | None = None
    ) -> Node:
        """The solution to answer with, of at least one; scores those that it must compare.

        "best": the one with the highest value (best-of-N). "vote": the first of the most frequent answer
        (Wang et al. 2022, arXiv:2203.11171). "weighted_vote": each solution votes for its answer with its
        value, and the best one of the winning answer is returned (Uesato et al. 2022, arXiv:2211.14275).
        One without an answer is chosen only if none has an answer. Ties go to the first.

        aggregate: None is the reward model's own. Raises LimitReached if the limits do not allow the scores.
        """
        if how == "best":
            eligible = self.eligible(solutions)
            await self.score(eligible)
            return self.best(eligible, aggregate)
        groups = await self.vote(solutions)
        if not groups:
            return self.eligible(solutions)[0]
        if how == "vote":
            return max(groups, key=len)[0]
        await self.score([node for group in groups for node in group])
        weights = [sum(self.value(n, aggregate) for n in group if n.failed is None) for group in groups]
        return self.best(groups[weights.index(max(weights))], aggregate)

    async def best_so_far(self, aggregate: Aggregate | None = None) -> Node:
        """The solution to answer with where a limit or the deadline ends the search.

        The one with the highest value among those with an answer; without scores, the first of the most
        frequent answer. Else the first that is finished, else the deepest prefix, else the root.

        aggregate: the strategy's; None is the reward model's own.
        """
        nodes = list(self._all_nodes(self._settled))
        finished = [node for node in nodes if node.is_finished]
        answered = [node for node in finished if self.answer(node) is not None]
        scored = [node for node in answered if node.score is not None and self._is_scored(node)]
        if scored:
            return self.best(scored, aggregate)
        if answered:
            return max(await self.vote(answered), key=len)[0]
        if finished:
            return finished[0]
        return max((n for n in nodes if n.failed is None), key=lambda n: (len(n.path), n.step is not None))

    async def vote(self, nodes: Sequence[Node]) -> list[list[Node]]:
        """Group solutions by equal answer, all in order of appearance; no answer, no group."""
        answered = [(node, answer) for node in nodes if (answer := self.answer(node)) is not None]
        spellings = dict.fromkeys(answer for _, answer in answered)
        first = await asyncio.to_thread(self._first_spellings, spellings)
        groups: dict[str, list[Node]] = {}
        for node, answer in answered:
            groups.setdefault(first[answer], []).append(node)
        return list(groups.values())

    def _first_spellings(self, answers: Iterable[str]) -> dict[str, str]:
        """Map each answer to the first one that it equals."""
        first: dict[str, str] = {}
        for answer in answers:
            firsts = dict.fromkeys(first.values())
            first[answer] = next((a for a in firsts if self._answers.equal(answer, a)), answer)
        return first

    def _all_nodes(self, top: Node) -> Iterator[Node]:
        """All nodes, each before its children, in the order of addresses."""
        stack = [top]
        while stack:
            yield (node := stack.pop())
            stack += sorted(node.children, key=lambda child: child.address, reverse=True)

    def _is_scored(self, node: Node) -> bool:
        return self._outcome or num_scored(node) == len(node.path)
