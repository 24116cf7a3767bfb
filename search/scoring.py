"""Scores of one problem's nodes: calls of the reward model, within limits, recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from search.errors import ScorerError, UnavailableError, UsageError
from search.limits import Cost, CostLimits, LimitReached, Scope, metered, weighted
from search.node import Node, TreeEvent, num_scored
from search.scopes import Limited
from search.speculation import Speculation
from search.trace import Recorder
from search.types import Address, BoundedScorer, Problem, Step, StepScore, StepScorer, Stop

Watcher = Callable[[TreeEvent, Node], None]

BLANK_SCORE = StepScore(negative=1.0, neutral=0.0, positive=0.0)
"""The score of a solution that ends before its first word; the reward model is not called for it."""


class Scoring(Limited):
    """Scores nodes, each once; equal siblings share a score. Failures stay with their candidate."""

    _early: Speculation

    def __init__(
        self,
        problem: Problem,
        scorer: StepScorer,
        *,
        limits: CostLimits,
        outcome: bool,
        recorder: Recorder | None,
        watch: Watcher,
        prm_weight: float | None,
    ):
        super().__init__(limits, prm_weight)
        if limits.total_tokens is not None and prm_weight is None:
            raise UsageError("a limit on total_tokens needs prm_weight, what a scored token costs")
        if limits.prm_tokens is not None and not isinstance(scorer, BoundedScorer):
            raise UsageError(
                "a limit on prm_tokens needs a scorer that says beforehand what a call may cost: "
                f"{type(scorer).__name__} has no method max_tokens(problem, steps)"
            )
        self.problem = problem
        self.watch = watch
        self._scorer, self._outcome = scorer, outcome
        self._recorder = recorder or Recorder()
        self._scoring: dict[Node, asyncio.Future[None]] = {}  # nodes whose scores are on their way
        self._first_with: dict[tuple[Address, str, Stop], Node] = {}  # of equal siblings, the one scored
        self._first_failures: dict[str, str] = {}  # by "policy" and "reward model", while none succeeded
        self._succeeded: set[str] = set()

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
        except (asyncio.CancelledError, LimitReached, UnavailableError):
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
            again = self._weighted(path[known : known + len(recorded)])
            self._spend(scopes, spent + Cost(total_tokens=again))
            known += len(recorded)
        if known == len(path):
            return recorded
        promise = Cost(
            scores=len(path) - known, prm_tokens=self._most_tokens(node, scopes),
            total_tokens=self._weighted(path[known:]),
        )  # fmt: skip
        read = 0
        await self._reserve(scopes, promise)
        early = self._early.take_score(node) if known == len(path) - 1 else None
        spent = Cost() if early is None else early.spent
        try:
            if early is not None:
                scores = await early.task
            else:
                with metered(spent):
                    scores = await self._scorer.score(self.problem, node.steps, num_scored=known)
            if len(scores) != len(path) - known:
                raise ScorerError(
                    f"{self.problem.id}: the reward model returned {len(scores)} scores for "
                    f"{len(path) - known} steps at {node.address}"
                )
            spent.scores += len(scores)
            read = promise.total_tokens
        finally:
            self._spend(scopes, spent + Cost(total_tokens=read))
            self._release(scopes, promise)
        self._recorder.write_scores(node.address, known, scores, spent)
        return [*recorded, *scores]

    def _weighted(self, nodes: Sequence[Node]) -> int:
        """What scoring these nodes adds to the total: of an outcome model, all that is read for each."""
        read = [n for node in nodes for n in (node.path if self._outcome else [node])]
        return sum(weighted(self._prm_weight, n.step.n_tokens) for n in read if n.step is not None)

    async def _score_early(self, parent: Node, step: Step) -> list[StepScore]:
        return await self._scorer.score(
            self.problem, [*parent.steps, step], num_scored=len(parent.path)
        )

    def _most_tokens(self, node: Node, scopes: Iterable[Scope]) -> int:
        """The most reward-model tokens that scoring `node` may compute; 0 if no limit asks."""
        if all(scope.limits.prm_tokens is None for scope in scopes):
            return 0
        assert isinstance(self._scorer, BoundedScorer)
        return self._scorer.max_tokens(self.problem, node.steps)

    async def _reserve(self, scopes: Sequence[Scope], promise: Cost) -> None:
        """Promise a scoring call what it needs; wait for what is promised to others. Raises LimitReached."""
        names = ("scores", "prm_tokens", "total_tokens")
        while lacking := next(
            (
                (scope, name)
                for scope in reversed(scopes)  # of limits that are reached together, the innermost
                for name in names
                if (left := scope.left(name)) is not None and left < getattr(promise, name)
            ),
            None,
        ):
            scope, name = lacking
            if not getattr(scope.promised, name):
                raise self._refuse(scope, name, getattr(promise, name))
            await self._released()  # then all are looked at again: others may have taken their share
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
