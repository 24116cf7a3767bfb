"""The tree of one problem: nodes are facts, and `Tree` is the only thing that adds them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from typing import Protocol, TypeVar

from search.errors import PolicyError, ScorerError
from search.limits import Cost, CostLimits, Events, LengthLimits, LimitReached, metered
from search.node import Node, num_scored, same_text
from search.seeds import derive
from search.trace import Recorder
from search.types import Address, Answers, Policy, Problem, Step, StepScore, StepScorer, Stop, Until

T = TypeVar("T")


class Strategy(Protocol):
    """A decoding strategy: grows `tree`, returns the leaf it answers with."""

    async def __call__(self, tree: Tree) -> Node: ...


class Unguided:
    """A base of strategies that never use the reward model, so that none has to be loaded."""

    __slots__ = ()


class TreeEvent(StrEnum):
    """What a watcher is told about, as it happens."""

    SAMPLE = "sample"
    """A node was added."""
    SCORE = "score"
    """A node was given its score."""
    REJECT = "reject"
    """The strategy does not continue from a node."""
    BACKTRACK = "backtrack"
    """The strategy gave a node up and went back to its parent."""
    CHOSEN = "chosen"
    """The strategy returned this leaf."""


Watcher = Callable[[TreeEvent, Node], None]


class TextAnswers:
    """The default `Answers`: the whole text is the answer, and equality is equality of text."""

    def extract(self, text: str) -> str | None:
        return text.strip() or None

    def equal(self, a: str, b: str) -> bool:
        return a == b


BLANK_SCORE = StepScore(negative=1.0, neutral=0.0, positive=0.0)
"""The score of a solution that ends before its first word; the reward model is not called for it."""


class Tree:
    """What a strategy may do with one problem: sample, score, limit, read.

    cost, events: what was spent and what happened so far. Results are in the order of the arguments,
    whatever order the calls finish in.
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
        recorder: Recorder | None = None,
        watch: Watcher = lambda event, node: None,
    ):
        self.problem = problem
        self.root = Node((), None, None)
        self.cost = Cost()
        self.events = Events()
        self.rng = random.Random(derive(seed, problem.id, "strategy"))
        self.watch = watch
        self._policy, self._scorer, self._seed = policy, scorer, seed
        self._lengths, self._answers = lengths, answers or TextAnswers()
        self._limits, self._promised = [limits], Cost()
        self._recorder = recorder or Recorder()

    # -- growing ---------------------------------------------------------------------------------

    async def expand(
        self, nodes: Sequence[Node], width: int = 1, *, temperature: float | None = None
    ) -> list[Node]:
        """Sample and score `width` next steps of each node. Returns [len(nodes) * width].

        temperature: None is the policy's own. Raises LimitReached before anything is spent.
        """
        children = await self._sample(nodes, width, Until.STEP, temperature)
        await self.score(children)
        return children

    async def complete(
        self, nodes: Sequence[Node], n: int = 1, *, temperature: float | None = None
    ) -> list[Node]:
        """Sample `n` full solutions from each node, without scores. Returns [len(nodes) * n] leaves.

        A terminal node is its own completion.
        """
        open_ = [node for node in nodes if not node.is_terminal]
        leaves = iter(await self._sample(open_, n, Until.END, temperature))
        return [node if node.is_terminal else next(leaves) for node in nodes for _ in range(n)]

    async def score(self, nodes: Sequence[Node]) -> None:
        """Score the unscored steps on the nodes' paths: one reward-model call per node.

        A duplicate takes the score of its original, and a blank step that of the step before it.
        Raises LimitReached before anything is spent.
        """
        unscored = [node for node in nodes if node.score is None and node.step is not None]
        originals = dict.fromkeys(node.scored_as for node in unscored)
        todo = {node: known for node in originals if (known := num_scored(node)) < len(node.path)}
        for node in list(todo):  # an ancestor of another node is scored with it
            for ancestor in node.path[:-1]:
                todo.pop(ancestor, None)
        need = sum(len(node.path) - known for node, known in todo.items())
        for limits in self._limits:
            limits.check(self.cost + self._promised, scores=need)
        self._promised += Cost(scores=need)
        try:
            results = await self.gather(*(self._score(node, known) for node, known in todo.items()))
        finally:
            self._promised -= Cost(scores=need)
        for (node, known), scores in zip(todo.items(), results, strict=True):
            for n, score in zip(node.path[known:], scores, strict=True):
                self._set_score(n, score)
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
        """Bound what the block may spend, counted from here; reaching it ends the block.

        Names are those of `Limits`; None is unbounded.
        """
        total = {
            name: None if bound is None else bound + getattr(self.cost, name)
            for name, bound in bounds.items()
        }
        self._limits.append(own := CostLimits(**total))
        try:
            yield
        except LimitReached as reached:
            if reached.limits is not own:
                raise
            self.events.exhausted += 1
        finally:
            self._limits.remove(own)

    def backtrack(self, node: Node) -> None:
        """Record that the strategy gives `node` up and goes back to its parent."""
        self.events.backtracks += 1
        self.watch(TreeEvent.BACKTRACK, node)

    def reject(self, node: Node) -> None:
        """Tell those who watch that the strategy does not continue from `node`; it costs nothing."""
        self.watch(TreeEvent.REJECT, node)

    # -- reading ---------------------------------------------------------------------------------

    def answer(self, node: Node) -> str | None:
        """The final answer of a finished solution; None if it is unfinished or states none."""
        return self._answers.extract(node.text) if node.is_finished else None

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

    # -- spending --------------------------------------------------------------------------------

    async def _sample(
        self, nodes: Sequence[Node], width: int, until: Until, temperature: float | None
    ) -> list[Node]:
        """Sample `width` continuations of each node, all at once."""
        for node in nodes:
            if node.is_terminal:
                raise ValueError(f"node {node.address} is terminal: nothing can follow it")
        parents = [node for node in nodes for _ in range(width)]
        if not parents:
            return []
        for limits in self._limits:
            limits.check(self.cost, samples=len(parents))
        share = self._token_share(len(parents))
        promised = Cost(policy_tokens=(share or 0) * len(parents))
        growing = [(parent, self._reserve(parent)) for parent in parents]
        self.cost.samples += len(parents)
        self._promised += promised
        try:
            leaves = await self.gather(
                *(self._grow(parent, address, until, share, temperature) for parent, address in growing)
            )
        finally:
            self._promised -= promised
        for parent in dict.fromkeys(parents):  # late siblings may have lower addresses
            parent.children.sort(key=lambda child: child.address)
        for parent, leaf in zip(parents, leaves, strict=True):
            self._link_duplicate(parent, leaf)
        return leaves

    def _token_share(self, calls: int) -> int | None:
        """Tokens each of `calls` may use so that none of the limits is overshot."""
        shares = []
        for limits in self._limits:
            if limits.policy_tokens is not None:
                limits.check(self.cost + self._promised, policy_tokens=calls)
                left = limits.policy_tokens - self.cost.policy_tokens - self._promised.policy_tokens
                shares.append(left // calls)
        return min(shares, default=None)

    def _reserve(self, parent: Node) -> Address:
        """The next child's address, taken before the first await so that it is deterministic."""
        parent.reserved += 1
        return (*parent.address, parent.reserved - 1)

    async def _grow(
        self, parent: Node, address: Address, until: Until, share: int | None, temperature: float | None
    ) -> Node:
        """Add what the policy proposes after `parent`: one node a step, the first at `address`."""
        sampled = parent.steps
        left = self._lengths.solution_tokens - sum(step.n_tokens for step in sampled)
        wanted = left if until is Until.END else min(left, self._lengths.step_tokens)
        max_tokens = wanted if share is None else min(wanted, share)
        if recorded := self._recorder.sample(address):
            steps, spent = recorded
            self.events.replayed += 1
        else:
            with metered() as spent:
                steps = await self._policy.propose(
                    self.problem, sampled, until=until, max_tokens=max_tokens,
                    seed=derive(self._seed, self.problem.id, *address), temperature=temperature,
                )
            _check_steps(self.problem, address, steps, until)
            if steps[-1].stop is Stop.STEP and sum(s.n_tokens for s in steps) >= left:
                steps = [*steps[:-1], replace(steps[-1], stop=Stop.LENGTH)]  # nothing can follow it
            _check_charge(self.problem, steps, spent)
            self._recorder.write_sample(address, steps, spent)
        self.cost += spent
        node = parent
        for step in steps:
            node = self._attach(node, address if node is parent else self._reserve(node), step)
        return node

    def _attach(self, parent: Node, address: Address, step: Step) -> Node:
        node = Node(address, parent, step)
        parent.children.append(node)
        self.watch(TreeEvent.SAMPLE, node)
        return node

    def _link_duplicate(self, parent: Node, leaf: Node) -> None:
        """Link a leaf to the first one with the same text from `parent` on, step by step."""
        first, *later = leaf.path[len(parent.path):]
        earlier = [child for child in parent.children if child.address < first.address]
        same = [child for child in earlier if same_text(child, first)]
        for node in later:
            same = [child for other in same for child in other.children if same_text(child, node)]
        if same:
            leaf.duplicate_of = same[0].duplicate_of or same[0]
            self.events.duplicates += 1

    async def _score(self, node: Node, known: int) -> list[StepScore]:
        """The scores of the steps to `node` after the first `known`."""
        if recorded := self._recorder.scores(node.address):
            _, scores, spent = recorded
            self.events.replayed += 1
        else:
            with metered() as spent:
                scores = await self._scorer.score(self.problem, node.steps, num_scored=known)
            if len(scores) != len(node.path) - known:
                raise ScorerError(
                    f"{self.problem.id}: the reward model returned {len(scores)} scores for "
                    f"{len(node.path) - known} steps at {node.address}"
                )
            spent.scores += len(scores)
            self._recorder.write_scores(node.address, known, scores, spent)
        self.cost += spent
        return scores

    def _copy_scores(self, node: Node) -> None:
        """Give a duplicate the scores of its original, and a blank step that of the step before it."""
        if node.score is None and node.duplicate_of is not None:
            self._copy_scores(node.duplicate_of)
            for n, original in zip(node.path, node.duplicate_of.path, strict=True):
                self._set_score(n, original.score)
        if node.score is None and node.parent is not None:
            self._copy_scores(node.parent)
            self._set_score(node, node.parent.score)

    def _set_score(self, node: Node, score: StepScore | None) -> None:
        if node.score is None:  # the first score stands, however often the path is read
            node.score = score or BLANK_SCORE
            self.watch(TreeEvent.SCORE, node)


def _check_steps(problem: Problem, address: Address, steps: Sequence[Step], until: Until) -> None:
    """Raise PolicyError if `steps` are not what `until` asked for."""
    if not steps or any(step.stop is not Stop.STEP for step in steps[:-1]):
        fault = "it must be one or more, and only the last may end the solution"
    elif until is Until.STEP and len(steps) > 1:
        fault = "one was asked for"
    elif until is Until.END and steps[-1].stop is Stop.STEP:
        fault = "a whole solution was asked for, and the last step does not end it"
    else:
        return
    raise PolicyError(f"{problem.id}: the policy returned {len(steps)} steps at {address}; {fault}")


def _check_charge(problem: Problem, steps: Sequence[Step], spent: Cost) -> None:
    """Raise PolicyError if the policy charged fewer tokens than it returned: limits would not hold."""
    n_tokens = sum(step.n_tokens for step in steps)
    if spent.policy_tokens < n_tokens:
        raise PolicyError(
            f"{problem.id}: the policy returned {n_tokens} tokens and charged {spent.policy_tokens}; "
            "a policy calls search.charge(policy_tokens=...) for every token it samples, kept or not"
        )
