"""Step labels from rollouts: how often a prefix of a solution leads to the right answer.

`Estimate` completes every prefix (Math-Shepherd, Wang et al. 2023, arXiv:2312.08935). `Bisect` finds the
first wrong step by binary search and reuses the tree (OmegaPRM, Luo et al. 2024, arXiv:2406.06592). Both grow
a `Tree` through the engine, so that their cost is counted and a trace can resume them. Unlike decoding
strategies, they know which answers are right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

from prm.data.labels import LabelledSolution
from search.node import Node
from search.tree import Tree

Right = Callable[[str, str | None], bool]
"""Whether an answer to the problem with this id is right; the answer is None if there is none. Called in a
thread, because comparing answers may take long."""


@dataclass(slots=True)
class Estimates:
    """The estimates of one problem.

    shares: by node, the share of its rollouts that reach the right answer.
    solutions: paths from the root, for `records`. rollouts: their number. cut: solutions, rollouts included,
        that were cut at a limit or repeated themselves; they are wrong.
    """

    shares: dict[Node, float] = field(default_factory=dict)
    solutions: list[list[Node]] = field(default_factory=list)
    rollouts: int = 0
    cut: int = 0

    def note_cut(self, ends: Sequence[Node]) -> None:
        """Count the solutions among these that did not come to their end."""
        self.cut += sum(not end.is_finished for end in ends)


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Hard and soft estimation: `solutions` samples, and `rollouts` completions of each of their prefixes.

    The share of a last step is 1 or 0: its answer is known, and a solution that was cut has none.
    temperature: None is the policy's own. estimates: the results by problem id, filled in while it runs.
    """

    right: Right
    solutions: int = 1
    rollouts: int = 8
    temperature: float | None = None
    estimates: dict[str, Estimates] = field(default_factory=dict)

    async def __call__(self, tree: Tree) -> Node:
        estimates = self.estimates[tree.problem.id] = Estimates()
        leaves = await tree.complete([tree.root], self.solutions, temperature=self.temperature)
        sampled = _alive(leaves)
        for leaf in sampled:
            path = leaf.path
            ends = await tree.complete(path[:-1], self.rollouts, temperature=self.temperature)
            alive = _alive(ends)
            *graded, is_right = await _right(tree, [*alive, leaf], self.right)
            estimates.shares[leaf] = float(is_right)
            right: dict[Node, list[bool]] = {}
            for end, is_right in zip(alive, graded, strict=True):
                right.setdefault(_start(end, path), []).append(is_right)
            estimates.shares |= {node: sum(of) / len(of) for node, of in right.items()}
            estimates.rollouts += len(alive)
            estimates.note_cut([*alive, leaf])
            estimates.solutions.append(path)
        return (sampled or leaves)[0]


def _alive(nodes: Sequence[Node]) -> list[Node]:
    """The nodes that did not fail: an error says nothing about the steps before it."""
    return [node for node in nodes if node.failed is None]


async def _right(tree: Tree, ends: Sequence[Node], right: Right) -> list[bool]:
    """Whether each of these solutions is right; graded in a thread, so that other problems go on."""
    return await asyncio.to_thread(lambda: [right(tree.problem.id, tree.answer(end)) for end in ends])


def _start(end: Node, path: Sequence[Node]) -> Node:
    """The node of the path from which a completion was sampled."""
    return path[sum(a is b for a, b in zip(end.path, path, strict=False)) - 1]


@dataclass(slots=True, eq=False)
class _Rollout:
    """A wrong rollout and the node that it was sampled from."""

    start: Node
    leaf: Node


@dataclass(frozen=True, slots=True, eq=False)
class Bisect:
    """OmegaPRM: binary search for the first step from which no rollout is right.

    Each of `searches` searches takes the wrong rollout with the highest Q + U, where
    Q = alpha^(1 - MC) * beta^(steps / length), U = c_puct * sqrt(sum of visits) / (1 + visits), and MC is the
    share of right rollouts from the rollout's start. The rollouts of a search are candidates for the next.
    The defaults are the paper's, except for the length, which is in steps here.

    temperature, estimates: as in `Estimate`.
    """

    right: Right
    searches: int = 8
    rollouts: int = 8
    alpha: float = 0.5
    beta: float = 0.9
    length: int = 10
    c_puct: float = 0.125
    temperature: float | None = None
    estimates: dict[str, Estimates] = field(default_factory=dict)

    async def __call__(self, tree: Tree) -> Node:
        estimates = self.estimates[tree.problem.id] = Estimates()
        pool: list[_Rollout] = []
        visits: dict[Node, int] = {}
        leaves = await self._roll(tree, tree.root, estimates, pool)
        for _ in range(self.searches):
            taken = self._take(pool, visits, estimates)
            if taken is None:
                break
            visits[taken.start] = visits.get(taken.start, 0) + 1
            await self._search(tree, taken, estimates, pool)
        return (_alive(leaves) or leaves)[0]

    async def _search(self, tree: Tree, taken: _Rollout, estimates: Estimates, pool: list[_Rollout]) -> None:
        """Find the first error between a prefix with right rollouts and the end of a wrong rollout."""
        steps = taken.leaf.path[len(taken.start.path) :]
        good, bad = -1, len(steps) - 1  # indices of steps with and without right rollouts
        estimates.shares[steps[-1]] = 0.0
        while bad - good > 1:
            middle = (good + bad) // 2
            if steps[middle] not in estimates.shares:
                await self._roll(tree, steps[middle], estimates, pool)
            if steps[middle] not in estimates.shares:
                return  # its rollouts failed: the first error cannot be found
            if estimates.shares[steps[middle]] > 0:
                good = middle
            else:
                bad = middle
        estimates.solutions.append(taken.leaf.path[: len(taken.start.path) + bad + 1])

    async def _roll(
        self, tree: Tree, node: Node, estimates: Estimates, pool: list[_Rollout]
    ) -> Sequence[Node]:
        """Estimate a prefix, unless all rollouts fail. The wrong ones can be searched if others are right."""
        sampled = await tree.complete([node], self.rollouts, temperature=self.temperature)
        ends = _alive(sampled)
        if not ends:
            return sampled
        graded = await _right(tree, ends, self.right)
        wrong = [end for end, is_right in zip(ends, graded, strict=True) if not is_right]
        estimates.shares[node] = 1 - len(wrong) / len(ends)
        estimates.rollouts += len(ends)
        estimates.note_cut(ends)
        if 0 < len(wrong) < len(ends):
            pool += [_Rollout(node, end) for end in wrong if len(end.path) > len(node.path)]
        return ends

    def _take(
        self, pool: list[_Rollout], visits: Mapping[Node, int], estimates: Estimates
    ) -> _Rollout | None:
        if not pool:
            return None
        total = sqrt(sum(visits.values()))

        def promise(rollout: _Rollout) -> float:
            steps = len(rollout.leaf.path) - len(rollout.start.path)
            share = estimates.shares[rollout.start]
            quality = float(self.alpha ** (1 - share) * self.beta ** (steps / self.length))
            return quality + self.c_puct * total / (1 + visits.get(rollout.start, 0))

        best = max(pool, key=promise)  # ties go to the first; the order of the pool is fixed
        pool.remove(best)
        return best


def records(
    question: str, estimates: Estimates, right: Callable[[Node], bool | None], source: str, split: str
) -> list[LabelledSolution]:
    """The labelled solutions of one problem. The label of each estimated node counts in one of them.

    Labels are +1 if any rollout was right and -1 otherwise; values are the shares. A blank step, with which
    a policy ended a solution right after a step, is none, and is not written.
    right: whether the answer of a complete solution, given by its last node, is right; None for an
        incomplete one.
    """
    solutions: list[LabelledSolution] = []
    counted: set[Node] = set()
    for whole in estimates.solutions:
        path = [node for node in whole if node.step is not None and not node.step.is_blank]
        context = tuple(i for i, n in enumerate(path) if n not in estimates.shares or n in counted)
        counted.update(path)
        if len(context) == len(path):
            continue
        values = tuple(estimates.shares.get(node, 1.0) for node in path)
        steps = tuple(node.step.text.strip("\r\n") for node in path if node.step is not None)
        labels = tuple(1 if value > 0 else -1 for value in values)
        solutions.append(LabelledSolution(
            question, steps, labels, source, split, "rollouts", values, context, outcome=right(whole[-1])
        ))  # fmt: skip
    return solutions
