"""The tree of one problem: nodes are facts, `Tree` is the only thing that adds them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

from search.errors import PolicyError, ScorerError
from search.limits import LimitReached, Limits, Usage, metered
from search.seeds import derive
from search.trace import Recorder
from search.types import (
    Address,
    Answers,
    Judgement,
    Label,
    Policy,
    Problem,
    Step,
    StepScorer,
    Stop,
    Until,
)

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Node:
    """A step appended to its parent. Only `Tree` creates nodes or sets `judgement`.

    twin: the earlier sibling that says the same, None if this is the first to say it. It shares
        the twin's judgement.
    """

    address: Address
    parent: Node | None
    step: Step | None
    judgement: Judgement | None = None
    twin: Node | None = None
    children: list[Node] = field(default_factory=list)
    reserved: int = 0  # child addresses given out, children still being sampled included

    @property
    def path(self) -> list[Node]:
        """Nodes from the first step to this one; empty for the root."""
        path: list[Node] = []
        node: Node = self
        while node.parent is not None:
            path.append(node)
            node = node.parent
        return path[::-1]

    @property
    def steps(self) -> list[Step]:
        return [node.step for node in self.path if node.step is not None]

    @property
    def text(self) -> str:
        return "".join(step.text for step in self.steps)

    @property
    def spoken(self) -> Node:
        """The node that the reward model is asked about: the twin, and never one that says nothing."""
        node = self.twin or self
        while node.step is not None and node.step.is_blank and node.parent is not None:
            node = node.parent.twin or node.parent
        return node

    @property
    def is_terminal(self) -> bool:
        """True if nothing can follow: finished, or cut short."""
        return self.step is not None and self.step.stop is not Stop.STEP

    @property
    def is_finished(self) -> bool:
        """True if the model ended the solution itself: neither cut at a limit nor repeating itself."""
        return self.step is not None and self.step.stop is Stop.END

    @property
    def label(self) -> Label:
        return self.judged.label

    @property
    def value(self) -> float:
        """P(the step is not wrong), in [0, 1]."""
        return self.judged.value

    @property
    def judged(self) -> Judgement:
        """The judgement. Raises ValueError if there is none yet, as `label` and `value` do."""
        if self.judgement is None:
            raise ValueError(f"node {self.address} is not judged: use expand(), or judge() first")
        return self.judgement


@dataclass(frozen=True, slots=True)
class Budget:
    """How long texts may get, in policy tokens. A solution over its budget is cut (`Stop.LENGTH`)."""

    step_tokens: int = 256
    solution_tokens: int = 1024

    def __post_init__(self) -> None:
        for name, tokens in asdict(self).items():
            if tokens < 1:
                raise ValueError(f"budget {name}={tokens}: it must be at least 1")


class TextAnswers:
    """The default `Answers`: the whole text is the answer, and equality is equality of text."""

    def extract(self, text: str) -> str | None:
        return text.strip() or None

    def equal(self, a: str, b: str) -> bool:
        return a == b


SAID_NOTHING = Judgement(negative=1.0, neutral=0.0, positive=0.0)
"""Of a solution that ends before its first word; no reward model is asked about nothing."""

Watcher = Callable[[str, Node], None]
"""Told what happens as it happens: "sample", "judge", "reject", "backtrack", "chosen", and the node."""


class Tree:
    """What a strategy may do to one problem: grow, judge, limit, read.

    Results keep the order of the arguments, whatever order the calls finish in.
    """

    def __init__(
        self,
        problem: Problem,
        policy: Policy,
        scorer: StepScorer,
        *,
        seed: int = 0,
        limits: Limits = Limits(),
        budget: Budget = Budget(),
        answers: Answers | None = None,
        recorder: Recorder | None = None,
        watch: Watcher = lambda event, node: None,
    ):
        self.problem = problem
        self.root = Node((), None, None)
        self.usage = Usage()
        self.rng = random.Random(derive(seed, problem.id, "strategy"))
        self.watch = watch
        self._policy, self._scorer, self._seed = policy, scorer, seed
        self._budget, self._answers = budget, answers or TextAnswers()
        self._limits, self._promised = [limits], Usage()
        self._recorder = recorder or Recorder()

    # -- growing ---------------------------------------------------------------------------------

    async def expand(
        self, nodes: Sequence[Node], width: int = 1, *, temperature: float | None = None
    ) -> list[Node]:
        """Sample and judge `width` next steps of each node. Returns [len(nodes) * width].

        temperature: None is the policy's own. Raises LimitReached before anything is spent.
        """
        children = await self._sample(nodes, width, Until.STEP, temperature)
        await self.judge(children)
        return children

    async def complete(
        self, nodes: Sequence[Node], n: int = 1, *, temperature: float | None = None
    ) -> list[Node]:
        """Sample `n` full solutions from each node, unjudged. Returns [len(nodes) * n] leaves.

        A node that is terminal already is its own completion.
        """
        open_ = [node for node in nodes if not node.is_terminal]
        leaves = iter(await self._sample(open_, n, Until.END, temperature))
        return [node if node.is_terminal else next(leaves) for node in nodes for _ in range(n)]

    async def judge(self, nodes: Sequence[Node]) -> None:
        """Judge what is not judged yet on the nodes' paths: one reward-model call a node."""
        unjudged = [node for node in nodes if node.judgement is None and node.step is not None]
        firsts = dict.fromkeys(node.spoken for node in unjudged)
        todo = {node: known for node in firsts if (known := _known(node)) < len(node.path)}
        for node in list(todo):  # what lies on another's path is judged with it
            for passed in node.path[:-1]:
                todo.pop(passed, None)
        need = sum(len(node.path) - known for node, known in todo.items())
        for limits in self._limits:
            limits.check(self.usage + self._promised, judgements=need)
        self._promised += Usage(judgements=need)
        try:
            found = await self.together(*(self._judge(node, known) for node, known in todo.items()))
        finally:
            self._promised -= Usage(judgements=need)
        for (node, known), judgements in zip(todo.items(), found, strict=True):
            for n, judgement in zip(node.path[known:], judgements, strict=True):
                self._set_judgement(n, judgement)
        for node in unjudged:
            self._take_judgements(node)

    # -- controlling -----------------------------------------------------------------------------

    async def together(self, *branches: Awaitable[T]) -> list[T]:
        """Branches of one problem at once, results in order; the first error cancels the rest."""
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
            name: None if bound is None else bound + getattr(self.usage, name)
            for name, bound in bounds.items()
        }
        self._limits.append(own := Limits(**total))
        try:
            yield
        except LimitReached as reached:
            if reached.limits is not own:
                raise
            self.usage.exhausted += 1
        finally:
            self._limits.remove(own)

    def backtrack(self, node: Node) -> None:
        """Record that the strategy gives `node` up and goes back to its parent."""
        self.usage.backtracks += 1
        self.watch("backtrack", node)

    def reject(self, node: Node) -> None:
        """Say that the strategy does not go on from `node`, for those who watch: it costs nothing."""
        self.watch("reject", node)

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
        """Each answer with the first that it equals."""
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
            limits.check(self.usage, samples=len(parents))
        share = self._token_share(len(parents))
        promised = Usage(policy_tokens=(share or 0) * len(parents))
        growing = [(parent, self._reserve(parent)) for parent in parents]
        self.usage.samples += len(parents)
        self._promised += promised
        try:
            leaves = await self.together(
                *(self._grow(parent, address, until, share, temperature) for parent, address in growing)
            )
        finally:
            self._promised -= promised
        for parent in dict.fromkeys(parents):  # late siblings may have lower addresses
            parent.children.sort(key=lambda child: child.address)
        for parent, leaf in zip(parents, leaves, strict=True):
            self._find_twin(parent, leaf)
        return leaves

    def _token_share(self, calls: int) -> int | None:
        """Tokens each of `calls` may use so that none of the limits is overshot."""
        shares = []
        for limits in self._limits:
            if limits.policy_tokens is not None:
                limits.check(self.usage + self._promised, policy_tokens=calls)
                left = limits.policy_tokens - self.usage.policy_tokens - self._promised.policy_tokens
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
        left = self._budget.solution_tokens - sum(step.n_tokens for step in sampled)
        wanted = left if until is Until.END else min(left, self._budget.step_tokens)
        max_tokens = wanted if share is None else min(wanted, share)
        if recorded := self._recorder.sample(address):
            steps, spent = recorded
            self.usage.replayed += 1
        else:
            with metered() as spent:
                steps = await self._policy.propose(
                    self.problem, sampled, until=until, max_tokens=max_tokens,
                    seed=derive(self._seed, self.problem.id, *address), temperature=temperature,
                )
            _check_steps(self.problem, address, steps, until)
            if steps[-1].stop is Stop.STEP and sum(s.n_tokens for s in steps) >= left:
                steps = [*steps[:-1], replace(steps[-1], stop=Stop.LENGTH)]  # nothing can follow it
            spent.policy_tokens += sum(step.n_tokens for step in steps)
            self._recorder.write_sample(address, steps, spent)
        self.usage += spent
        node = parent
        for step in steps:
            node = self._attach(node, address if node is parent else self._reserve(node), step)
        return node

    def _attach(self, parent: Node, address: Address, step: Step) -> Node:
        node = Node(address, parent, step)
        parent.children.append(node)
        self.watch("sample", node)
        return node

    def _find_twin(self, parent: Node, leaf: Node) -> None:
        """Link a leaf to the first one that says the same from `parent` on, step by step."""
        first, *later = leaf.path[len(parent.path):]
        earlier = [child for child in parent.children if child.address < first.address]
        same = [child for child in earlier if _say_the_same(child, first)]
        for node in later:
            same = [child for other in same for child in other.children if _say_the_same(child, node)]
        if same:
            leaf.twin = same[0].twin or same[0]
            self.usage.duplicates += 1

    async def _judge(self, node: Node, known: int) -> list[Judgement]:
        """What the reward model says of the steps to `node` after the first `known`."""
        if recorded := self._recorder.judgements(node.address):
            _, found, spent = recorded
            self.usage.replayed += 1
        else:
            with metered() as spent:
                found = await self._scorer.judge(self.problem, node.steps, known=known)
            if len(found) != len(node.path) - known:
                raise ScorerError(
                    f"{self.problem.id}: the reward model returned {len(found)} judgements for "
                    f"{len(node.path) - known} steps at {node.address}"
                )
            spent.judgements += len(found)
            self._recorder.write_judgements(node.address, known, found, spent)
        self.usage += spent
        return found

    def _take_judgements(self, node: Node) -> None:
        """Give `node` what was said of its twin; if it says nothing, what was said before it."""
        if node.judgement is None and node.twin is not None:
            self._take_judgements(node.twin)
            for n, same in zip(node.path, node.twin.path, strict=True):
                self._set_judgement(n, same.judgement)
        if node.judgement is None and node.parent is not None:
            self._take_judgements(node.parent)
            self._set_judgement(node, node.parent.judgement)

    def _set_judgement(self, node: Node, judgement: Judgement | None) -> None:
        if node.judgement is None:  # the first judgement stands, however often the path is read
            node.judgement = judgement or SAID_NOTHING
            self.watch("judge", node)


def _known(node: Node) -> int:
    """How many steps of the node's path are judged before the first that is not."""
    path = node.path
    return next((i for i, n in enumerate(path) if n.judgement is None), len(path))


def _check_steps(problem: Problem, address: Address, steps: Sequence[Step], until: Until) -> None:
    """Raise PolicyError if `steps` are not what `until` asked for."""
    if not steps or any(step.stop is not Stop.STEP for step in steps[:-1]):
        fault = "it must be one or more, and only the last may end the solution"
    elif until is Until.STEP and len(steps) > 1:
        fault = "one was asked for"
    elif until is Until.END and steps[-1].stop is Stop.STEP:
        fault = "all the rest was asked for, and the last of them does not end the solution"
    else:
        return
    raise PolicyError(f"{problem.id}: the policy returned {len(steps)} steps at {address}; {fault}")


def _say_the_same(a: Node, b: Node) -> bool:
    assert a.step is not None and b.step is not None, "the root says nothing"
    return (a.step.text, a.step.stop) == (b.step.text, b.step.stop)
