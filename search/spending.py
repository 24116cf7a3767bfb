"""The only code that spends: calls of the policy and the reward model, within limits, recorded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from search.errors import PolicyError, ScorerError, UsageError
from search.limits import Cost, CostLimits, LengthLimits, LimitReached, Scope, metered
from search.node import Node, TreeEvent, num_scored, same_text
from search.scopes import Limited
from search.seeds import derive
from search.trace import Recorder
from search.types import Address, BoundedScorer, Policy, Problem, Step, StepScore, StepScorer, Stop, Until

Watcher = Callable[[TreeEvent, Node], None]

BLANK_SCORE = StepScore(negative=1.0, neutral=0.0, positive=0.0)
"""The score of a solution that ends before its first word; the reward model is not called for it."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A policy call that the limits admit.

    max_tokens: promised to it. cut_by: the limits that leave it less than the lengths allow.
    scopes: the limits it counts against.
    """

    parent: Node
    address: Address
    max_tokens: int
    cut_by: tuple[Scope, ...]
    scopes: tuple[Scope, ...]


class Spending(Limited):
    """Samples and scores nodes of one problem. `Tree` is what strategies see of it."""

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
    ):
        super().__init__(limits)
        if limits.prm_tokens is not None and not isinstance(scorer, BoundedScorer):
            raise UsageError(
                "a limit on prm_tokens needs a scorer that says beforehand what a call may cost: "
                f"{type(scorer).__name__} has no method max_tokens(problem, steps)"
            )
        self.problem = problem
        self.root = Node((), None, None)
        self.watch = watch
        self._policy, self._scorer, self._seed = policy, scorer, seed
        self._lengths, self._outcome = lengths, outcome
        self._recorder = recorder or Recorder()
        self._scoring: dict[Node, asyncio.Future[None]] = {}  # nodes whose scores are on their way
        self._first_with: dict[tuple[Address, str, Stop], Node] = {}  # of equal siblings, the one scored
        self._first_failures: dict[str, str] = {}  # by "policy" and "reward model", while none succeeded
        self._succeeded: set[str] = set()

    # -- sampling --------------------------------------------------------------------------------

    async def _sample(
        self, nodes: Sequence[Node], width: int, until: Until, temperature: float | None
    ) -> list[Node]:
        """Sample `width` continuations of each node, as many at once as the limits have room for.

        Steps (`Until.STEP`) are scored as they come. Returns fewer where limits allow fewer; raises
        LimitReached where they allow none, or not the scores.
        """
        for node in nodes:
            if node.is_terminal:
                raise ValueError(f"node {node.address} is terminal: nothing can follow it")
        todo = deque(node for node in nodes for _ in range(width))
        made: list[tuple[Node, Node]] = []
        refused: LimitReached | None = None
        while todo and refused is None:
            calls: list[_Call] = []
            try:
                while todo and (call := self._admit(todo[0], until, alone=not calls)):
                    calls.append(call)
                    todo.popleft()
            except LimitReached as reached:
                refused = reached
            if calls:
                grown: dict[_Call, Node] = {}
                await self._all(self._run(call, until, temperature, grown) for call in calls)
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

    def _admit(self, parent: Node, until: Until, *, alone: bool) -> _Call | None:
        """Promise a call what it can really use; None if it must wait for tokens promised to others.

        A call that cannot have all it may use gets the rest, but only once no other call is in flight: what
        those leave is for it. Raises LimitReached if there is nothing left.
        """
        scopes = self._scopes
        wanted = self._wanted(parent, until)
        room, cut_by = wanted, list[Scope]()
        for scope in scopes:
            if scope.left("samples") == 0:
                raise self._refuse(scope, "samples", 1)
            left = scope.left("policy_tokens")
            if left is None or left >= wanted:
                continue
            if scope.promised.policy_tokens or not alone:
                return None
            if left < 1:
                raise self._refuse(scope, "policy_tokens", 1)
            room = min(room, left)
            cut_by.append(scope)
        parent.reserved += 1
        self._spend(scopes, Cost(samples=1))
        self._promise(scopes, Cost(policy_tokens=room))
        return _Call(parent, (*parent.address, parent.reserved - 1), room, tuple(cut_by), scopes)

    def _wanted(self, parent: Node, until: Until) -> int:
        """The most tokens that a continuation of `parent` may take."""
        left = self._lengths.solution_tokens - sum(step.n_tokens for step in parent.steps)
        return left if until is Until.END else min(left, self._lengths.step_tokens)

    async def _run(
        self, call: _Call, until: Until, temperature: float | None, grown: dict[_Call, Node]
    ) -> None:
        """Make a call, add what it gives to the tree, and score it if it is a step."""
        try:
            leaf = await self._grow(call, until, temperature)
        finally:
            self._release(call.scopes, Cost(policy_tokens=call.max_tokens))
        grown[call] = leaf
        if until is Until.STEP and leaf.failed is None:
            await self._score_child(leaf)

    async def _grow(self, call: _Call, until: Until, temperature: float | None) -> Node:
        """Add what the policy proposes: one node a step, the first at the call's address."""
        if (failure := self._recorder.failure(call.address)) is not None:
            self._spend(call.scopes, failure.spent)
            self.events.replayed += 1
            return self._attach_failed(call, failure.reason)
        if recorded := self._recorder.sample(call.address):
            steps, spent = recorded
            self.events.replayed += 1
        else:
            try:
                with metered() as spent:
                    steps = await self._propose(call, until, temperature)
                _check_charge(self.problem, steps, spent)
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
            node = self._attach(node, call.address if node is call.parent else self._next(node), step)
        return node

    async def _propose(self, call: _Call, until: Until, temperature: float | None) -> list[Step]:
        steps = await self._policy.propose(
            self.problem, call.parent.steps, until=until, max_tokens=call.max_tokens,
            seed=derive(self._seed, self.problem.id, *call.address), temperature=temperature,
        )
        _check_steps(self.problem, call.address, steps, until)
        left = self._lengths.solution_tokens - sum(step.n_tokens for step in call.parent.steps)
        if steps[-1].stop is Stop.STEP and sum(step.n_tokens for step in steps) >= left:
            return [*steps[:-1], replace(steps[-1], stop=Stop.LENGTH)]  # nothing can follow it
        return steps

    def _next(self, parent: Node) -> Address:
        parent.reserved += 1
        return (*parent.address, parent.reserved - 1)

    def _attach(self, parent: Node, address: Address, step: Step) -> Node:
        node = Node(address, parent, step)
        parent.children.append(node)
        self.watch(TreeEvent.SAMPLE, node)
        return node

    def _attach_failed(self, call: _Call, reason: str) -> Node:
        node = Node(call.address, call.parent, None)
        call.parent.children.append(node)
        self._fail(node, reason, "policy")
        return node

    @property
    def broken(self) -> str | None:
        """The first failure of the policy or the reward model, if every call of it failed; else None."""
        reasons = (why for which, why in self._first_failures.items() if which not in self._succeeded)
        return next(reasons, None)

    def _fail(self, node: Node, reason: str, which: str = "reward model") -> None:
        self._first_failures.setdefault(which, reason)
        node.failed = reason
        self.events.failed += 1
        self.watch(TreeEvent.FAIL, node)

    def _link_duplicate(self, parent: Node, leaf: Node) -> None:
        """Link a leaf to the first one with the same text from `parent` on, step by step."""
        first, *later = leaf.path[len(parent.path) :]
        same = [c for c in parent.children if c.address < first.address and same_text(c, first)]
        for node in later:
            same = [child for other in same for child in other.children if same_text(child, node)]
        if same:
            leaf.duplicate_of = same[0].duplicate_of or same[0]
            self.events.duplicates += 1
            if leaf.score is not None:  # the first may come from a rollout, without a score
                self._set_score(leaf.duplicate_of, leaf.score)

    # -- scoring ---------------------------------------------------------------------------------

    async def _score_child(self, child: Node) -> None:
        """Score a step that was just sampled. Of equal siblings the first to come is scored, for all."""
        assert child.parent is not None and child.step is not None
        if self._outcome and not child.is_finished:
            return
        key = (child.parent.address, child.step.text, child.step.stop)
        original = self._first_with.setdefault(key, child)
        await self._score_path(original)
        self._copy(original, child)

    async def _score_path(self, node: Node) -> None:
        """Score the unscored steps on the path to `node`: in one call, of what no other call is scoring."""
        if node.step is not None and node.step.is_blank and node.parent is not None:
            if node.parent.step is None:
                self._set_score(node, BLANK_SCORE)
                return
            await self._score_path(node.parent)
            self._copy(node.parent, node)
            return
        while busy := next((self._scoring[n] for n in node.path if n in self._scoring), None):
            await asyncio.shield(busy)
        path = node.path
        known = len(path) - 1 if self._outcome else num_scored(node)
        if node.score is not None or node.failed is not None or known == len(path):
            return
        if (recorded := self._recorder.score_failure(node.address)) is not None:
            self._fail(node, recorded)
            return
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        todo = path[known:]
        self._scoring.update(dict.fromkeys(todo, ended))
        try:
            scores = await self._score(node, known)
            self._succeeded.add("reward model")
            for one, score in zip(path[-len(scores) :], scores, strict=True):
                self._set_score(one, score)
        except (asyncio.CancelledError, LimitReached):
            raise
        except Exception as error:  # this candidate's, not the problem's
            reason = f"{type(error).__name__}: {error}"
            self._recorder.note_score_failure(node.address, reason)
            self._fail(node, reason)
        finally:
            for one in todo:
                del self._scoring[one]
            ended.set_result(None)

    async def _score(self, node: Node, known: int) -> list[StepScore]:
        """The scores of the steps to `node` after the first `known`, recorded or new.

        Recorded steps are taken whatever the calls were in which they were scored.
        """
        path, scopes = node.path, self._scopes
        recorded, spent = self._recorder.scores(path[known:])
        if recorded:
            self.events.replayed += 1
            self._spend(scopes, spent)
            known += len(recorded)
        if known == len(path):
            return recorded
        promise = Cost(scores=len(path) - known, prm_tokens=self._most_tokens(node, scopes))
        await self._reserve(scopes, promise)
        try:
            with metered() as spent:
                scores = await self._scorer.score(self.problem, node.steps, num_scored=known)
            if len(scores) != len(path) - known:
                raise ScorerError(
                    f"{self.problem.id}: the reward model returned {len(scores)} scores for "
                    f"{len(path) - known} steps at {node.address}"
                )
            spent.scores += len(scores)
        finally:
            self._spend(scopes, spent)
            self._release(scopes, promise)
        self._recorder.write_scores(node.address, known, scores, spent)
        return [*recorded, *scores]

    def _most_tokens(self, node: Node, scopes: Iterable[Scope]) -> int:
        """The most reward-model tokens that scoring `node` may compute; 0 if no limit asks."""
        if all(scope.limits.prm_tokens is None for scope in scopes):
            return 0
        assert isinstance(self._scorer, BoundedScorer)
        return self._scorer.max_tokens(self.problem, node.steps)

    async def _reserve(self, scopes: Sequence[Scope], promise: Cost) -> None:
        """Promise a scoring call what it needs; wait for what is promised to others. Raises LimitReached."""
        for name in ("scores", "prm_tokens"):
            need = getattr(promise, name)
            for scope in scopes:
                while (left := scope.left(name)) is not None and left < need:
                    if not getattr(scope.promised, name):
                        raise self._refuse(scope, name, need)
                    await self._released()
        self._promise(scopes, promise)

    def _copy_scores(self, node: Node) -> None:
        """Give a duplicate the scores of its original, and a blank step that of the step before it."""
        original = node.duplicate_of
        if node.score is None and original is not None:
            self._copy_scores(original)
            for n, first in zip(node.path, original.path, strict=True):
                self._copy(first, n)
        if node.score is None and node.step is not None and node.step.is_blank and node.parent is not None:
            self._copy_scores(node.parent)
            if node.parent.step is None:
                self._set_score(node, BLANK_SCORE)
            self._copy(node.parent, node)

    def _copy(self, original: Node, node: Node) -> None:
        """Give `node` the score of `original`, or its failure."""
        if node.failed is not None or node is original:
            return
        if original.failed is not None:
            self._fail(node, original.failed)
        elif original.score is not None:
            self._set_score(node, original.score)

    def _set_score(self, node: Node, score: StepScore) -> None:
        if node.score is None:  # the first score stands, however often the path is read
            node.score = score
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
