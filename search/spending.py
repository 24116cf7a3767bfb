"""Samples of one problem: calls of the policy, within limits, recorded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from search.errors import PolicyError, TraceError, UnavailableError
from search.limits import Cost, CostLimits, LengthLimits, LimitReached, Scope, metered, weighted
from search.node import Node, TreeEvent, same_text
from search.scoring import Scoring, Watcher
from search.seeds import derive
from search.speculation import Early, Load, Speculate, Speculation
from search.trace import Recorder
from search.types import Address, Ahead, Policy, Problem, Step, StepScorer, Stop, Until


@dataclass(frozen=True, slots=True)
class How:
    """What is sampled: up to where, at which temperature, whether steps are scored at once.

    scratch: the nodes are not added to the tree. ahead: what may be asked for next.
    """

    until: Until
    temperature: float | None = None
    scored: bool = False
    scratch: bool = False
    ahead: Ahead | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """A policy call that the limits admit.

    how: what is asked of the policy. max_tokens: promised to it. promise: that, and what scoring it may cost.
    cut_by: the limits that leave it less than the lengths allow. scopes: the limits it counts against.
    """

    parent: Node
    address: Address
    how: How
    max_tokens: int
    promise: Cost
    cut_by: tuple[Scope, ...]
    scopes: tuple[Scope, ...]


class Spending(Scoring):
    """With `Scoring`, the only code that spends. `Tree` is what strategies see of it."""

    def __init__(
        self,
        problem: Problem,
        policy: Policy,
        scorer: StepScorer,
        *,
        seed: int,
        limits: CostLimits,
        lengths: LengthLimits,
        outcome: bool,
        recorder: Recorder | None,
        watch: Watcher,
        speculate: Speculate,
        load: Load | None,
        prm_weight: float | None,
    ):
        super().__init__(
            problem, scorer, limits=limits, outcome=outcome, recorder=recorder, watch=watch,
            prm_weight=prm_weight,
        )  # fmt: skip
        self.root = Node((), None, None)
        self._policy, self._seed, self._lengths = policy, seed, lengths
        self._load = load or Load()
        self._early = Speculation(
            speculate, self._load, self._recorder, self._propose_early, self._score_early
        )
        self._spend((), self._recorder.unused)

    async def close(self) -> None:
        """Stop what was drawn ahead and is not asked for any more; its cost is counted."""
        for early in await self._early.close():
            self._spend((), early.spent)
            self._recorder.note_unused(early.at, early.spent)

    def restore(self, address: Address) -> Node:
        """The recorded node at an address, with those above it; nothing is spent. Raises TraceError."""
        node, steps = self.root, deque[Step]()
        while node.address != address:
            at = address[: len(node.address) + 1]
            if recorded := self._recorder.sample(at):
                steps = deque(recorded[0])
            elif at[-1] != 0 or not steps:
                raise TraceError(f"{self.problem.id}: the trace has no node at {address}, which it chooses")
            node = self._attach(node, at, steps.popleft())
            for score in self._recorder.scores([node])[0]:
                self._set_score(node, score)
        self._copy_scores(node)
        return node

    # -- sampling --------------------------------------------------------------------------------

    async def _sample(self, nodes: Sequence[Node], width: int, how: How) -> list[Node]:
        """Sample `width` continuations of each node, as many at once as the limits have room for.

        Returns fewer where limits allow fewer; raises LimitReached where they allow none, or not the scores.
        """
        how = replace(how, ahead=self._within_limits(how.ahead))
        in_order = how.scored and self._is_limited("scores", "prm_tokens")
        for node in nodes:
            if node.is_terminal:
                raise ValueError(f"node {node.address} is terminal: nothing can follow it")
        todo = deque(node for node in nodes for _ in range(width))
        made: list[tuple[Node, Node]] = []
        refused: LimitReached | None = None
        while todo and refused is None:
            calls: list[_Call] = []
            try:
                while todo and (call := self._admit(todo[0], how, alone=not calls)):
                    calls.append(call)
                    todo.popleft()
            except LimitReached as reached:
                refused = reached
            if calls:
                grown: dict[_Call, Node] = {}
                if how.ahead is not None:
                    asked_for = [call.address for call in calls]
                    self._early.expect(calls[-1].parent, asked_for, how.temperature, how.ahead)
                flow = asyncio.current_task()
                at_once = how.scored and not in_order
                await self._all(self._run(call, grown, flow, scored=at_once) for call in calls)
                if in_order:  # which of them a limit leaves without a score is not a matter of timing
                    leaves = [leaf for call in calls if (leaf := grown[call]).failed is None]
                    await self._all(self._score_child(leaf) for leaf in leaves)
                made += [(call.parent, grown[call]) for call in calls]
            elif refused is None:
                await self._released()
        if refused is not None and not made:
            raise refused
        for parent in dict.fromkeys(nodes):  # late siblings may have lower addresses
            parent.children.sort(key=lambda child: child.address)
        for parent, leaf in made:
            self._link_duplicate(parent, leaf)
        return [leaf for _, leaf in made]

    def _admit(self, parent: Node, how: How, *, alone: bool) -> _Call | None:
        """Promise a call what it can really use; None if it must wait for tokens promised to others.

        A call that cannot have all it may use gets the rest, but only once no other call is in flight: what
        those leave is for it. Raises LimitReached if there is nothing left.
        """
        scopes = self._scopes
        wanted = self._wanted(parent, how.until)
        room, cut_by = wanted, list[Scope]()
        for scope in reversed(scopes):  # of limits that are reached together, the innermost ends its branch
            if scope.left("samples") == 0:
                raise self._refuse(scope, "samples", 1)
            for name, factor in (("policy_tokens", 1.0), ("total_tokens", 1.0 + self._weight_of(how))):
                left = scope.left(name)
                if left is None or left >= ceil(wanted * factor):
                    continue
                if getattr(scope.promised, name) or not alone:
                    return None
                if left < ceil(factor):
                    raise self._refuse(scope, name, ceil(factor))
                room = min(room, int(left / factor))
                cut_by.append(scope)
        address = self._next(parent, scratch=how.scratch)
        self._spend(scopes, Cost(samples=1))
        promise = Cost(policy_tokens=room, total_tokens=room + weighted(self._weight_of(how), room))
        self._promise(scopes, promise)
        return _Call(parent, address, how, room, promise, tuple(cut_by), scopes)

    def _weight_of(self, how: How) -> float:
        """What scoring a sampled token costs, if it is scored at once: its sample is not made without it."""
        return (self._prm_weight or 0.0) if how.scored else 0.0

    def _wanted(self, parent: Node, until: Until) -> int:
        """The most tokens that a continuation of `parent` may take."""
        left = self._lengths.solution_tokens - sum(step.n_tokens for step in parent.steps)
        return left if until is Until.END else min(left, self._lengths.step_tokens)

    def _within_limits(self, ahead: Ahead | None) -> Ahead | None:
        """What may be drawn ahead: nothing that would take from a limit what the strategy may need."""
        scopes = self._scopes
        if ahead is None or self._is_limited("policy_tokens", "scores", "prm_tokens", "total_tokens"):
            return None
        left = [n for scope in scopes if (n := scope.left("samples")) is not None]
        return replace(ahead, siblings=ahead.siblings[: max(0, min(left) - 1)]) if left else ahead

    def _is_limited(self, *names: str) -> bool:
        return any(scope.left(name) is not None for scope in self._scopes for name in names)

    async def _run(
        self, call: _Call, grown: dict[_Call, Node], flow: asyncio.Task[Any] | None, *, scored: bool
    ) -> None:
        """Make a call, add what it gives to the tree, and score it if that is asked for.

        flow: the branch of the strategy that asked for it.
        """
        how = call.how
        try:
            leaf = await self._grow(call)
        finally:
            self._release(call.scopes, call.promise)
        grown[call] = leaf
        if how.ahead is not None and not leaf.is_terminal:
            self._early.children(leaf, how.ahead, flow)
        if scored and leaf.failed is None:
            await self._score_child(leaf)

    async def _grow(self, call: _Call) -> Node:
        """Add what the policy proposes: one node a step, the first at the call's address."""
        if (failure := self._recorder.failure(call.address)) is not None:
            self._spend(call.scopes, failure.spent)
            self.events.replayed += 1
            return self._attach_failed(call, failure.reason)
        if recorded := self._recorder.sample(call.address):
            steps, spent = recorded
            self.events.replayed += 1
        else:
            early = self._take_early(call)
            spent = Cost() if early is None else early.spent
            try:
                if early is not None:
                    steps = await early.task
                else:
                    with metered(spent):
                        steps = await self._propose(call)
                _check_charge(self.problem, steps, spent)
            except asyncio.CancelledError:
                self._spend(call.scopes, spent)
                self._recorder.note_unused(call.address, Cost(samples=1) + spent)
                raise
            except UnavailableError:
                self._spend(call.scopes, spent)
                raise
            except Exception as error:  # whatever it is, it is this candidate's, not the problem's
                self._spend(call.scopes, spent)
                reason = f"{type(error).__name__}: {error}"
                self._recorder.note_failure(call.address, reason, spent)
                return self._attach_failed(call, reason)
            self._recorder.write_sample(call.address, steps, spent)
        self._spend(call.scopes, spent)
        self._succeeded.add("policy")
        if steps[-1].stop is Stop.LENGTH:
            for scope in call.cut_by:
                self._reach(scope)
        self.events.repetitions += steps[-1].stop is Stop.REPETITION
        node = call.parent
        for step in steps:
            address = call.address if node is call.parent else self._next(node)
            node = self._attach(node, address, step)
        return node

    def _take_early(self, call: _Call) -> Early[list[Step]] | None:
        """The same call, made ahead, if there is one: for one step, which may take all its tokens."""
        if call.how.until is Until.END or call.max_tokens < self._wanted(call.parent, Until.STEP):
            return None
        return self._early.take_sample(call.address, call.how.temperature)

    async def _propose_early(self, parent: Node, address: Address, temperature: float | None) -> list[Step]:
        how, wanted = How(Until.STEP, temperature), self._wanted(parent, Until.STEP)
        return await self._propose(_Call(parent, address, how, wanted, Cost(), (), ()))

    async def _propose(self, call: _Call) -> list[Step]:
        self._load.calls += 1
        try:
            steps = await self._policy.propose(
                self.problem, call.parent.steps, until=call.how.until, max_tokens=call.max_tokens,
                seed=derive(self._seed, self.problem.id, *call.address), temperature=call.how.temperature,
            )
        finally:
            self._load.calls -= 1
        _check_steps(self.problem, call.address, steps, call.how.until)
        left = self._lengths.solution_tokens - sum(step.n_tokens for step in call.parent.steps)
        if steps[-1].stop is Stop.STEP and sum(step.n_tokens for step in steps) >= left:
            return [*steps[:-1], replace(steps[-1], stop=Stop.LENGTH)]  # nothing can follow it
        return steps

    def _next(self, parent: Node, *, scratch: bool = False) -> Address:
        """The address of the next child."""
        if scratch:
            parent.scratch += 1
            return (*parent.address, -parent.scratch)
        parent.reserved += 1
        return (*parent.address, parent.reserved - 1)

    def _attach(self, parent: Node, address: Address, step: Step | None) -> Node:
        """Add a child; what is scratch has its parent, but is not among the children of the tree."""
        node = Node(address, parent, step)
        if address[-1] >= 0:
            parent.children.append(node)
        if step is not None:
            self.watch(TreeEvent.SAMPLE, node)
        return node

    def _attach_failed(self, call: _Call, reason: str) -> Node:
        node = self._attach(call.parent, call.address, None)
        self._fail(node, reason, "policy")
        return node

    def _link_duplicate(self, parent: Node, leaf: Node) -> None:
        """Link a leaf to the first one with the same text from `parent` on, step by step."""
        if leaf.is_scratch:
            return
        first, *later = leaf.path[len(parent.path) :]
        same = [c for c in parent.children if c.address < first.address and same_text(c, first)]
        for node in later:
            same = [child for other in same for child in other.children if same_text(child, node)]
        if same:
            leaf.duplicate_of = same[0].duplicate_of or same[0]
            self.events.duplicates += 1
            if leaf.score is not None:  # the first may come from a rollout, without a score
                self._set_score(leaf.duplicate_of, leaf.score)


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
