"""Step labels from rollouts: how often does a prefix lead to the right answer?

`Estimate` completes every prefix (Math-Shepherd, Wang et al. 2023, arXiv:2312.08935); `Bisect` looks
for the first wrong step by binary search and reuses the tree (OmegaPRM, Luo et al. 2024,
arXiv:2406.06592). Both grow an ordinary `Tree` through the engine, so that costs are counted, and a
trace resumes them. Unlike a decoding strategy they are told which answers are right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

from prm.data.labels import LabelledSolution
from search.node import Node
from search.tree import Tree

Right = Callable[[str, str | None], bool]
"""Whether an answer (None: none was given) to the problem of that id is the right one."""


@dataclass(slots=True)
class Estimates:
    """What is found of one problem. shares: by node, the share of its rollouts that are right.

    solutions: paths from the root whose nodes have shares, to be made into records.
    """

    shares: dict[Node, float] = field(default_factory=dict)
    solutions: list[list[Node]] = field(default_factory=list)
    rollouts: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Hard and soft estimation: `solutions` samples, and `rollouts` completions of each of their prefixes.

    temperature: None is the policy's own. The last step's share is 1 or 0, as its answer is right.
    found: by problem id; filled while it runs.
    """

    right: Right
    solutions: int = 1
    rollouts: int = 8
    temperature: float | None = None
    found: dict[str, Estimates] = field(default_factory=dict)

    async def __call__(self, tree: Tree) -> Node:
        estimates = self.found[tree.problem.id] = Estimates()
        leaves = await tree.complete([tree.root], self.solutions, temperature=self.temperature)
        for leaf in leaves:
            path = leaf.path
            ends = await tree.complete(path[:-1], self.rollouts, temperature=self.temperature)
            right = [self.right(tree.problem.id, tree.answer(end)) for end in ends]
            for i, node in enumerate(path[:-1]):
                part = right[i * self.rollouts : (i + 1) * self.rollouts]
                estimates.shares[node] = sum(part) / self.rollouts
            estimates.shares[leaf] = float(self.right(tree.problem.id, tree.answer(leaf)))
            estimates.rollouts += len(ends)
            estimates.solutions.append(path)
        return leaves[0]


@dataclass(slots=True, eq=False)
class _Rollout:
    """A wrong rollout, and the node that it was sampled from."""

    start: Node
    leaf: Node


@dataclass(frozen=True, slots=True, eq=False)
class Bisect:
    """OmegaPRM: in each of `searches`, take the most promising wrong rollout, and find by binary
    search the first of its steps from which no rollout is right; the rollouts made on the way are
    kept, and may be taken later.

    Promising is what has the highest Q + U, with MC the share of the start's rollouts that are right,
    Q = alpha^(1 - MC) * beta^(steps / length), U = c_puct * sqrt(sum of visits) / (1 + visits).
    The defaults are the paper's, but for the length, which here is in steps.
    """

    right: Right
    searches: int = 8
    rollouts: int = 8
    alpha: float = 0.5
    beta: float = 0.9
    length: int = 10
    c_puct: float = 0.125
    temperature: float | None = None
    found: dict[str, Estimates] = field(default_factory=dict)

    async def __call__(self, tree: Tree) -> Node:
        estimates = self.found[tree.problem.id] = Estimates()
        pool: list[_Rollout] = []
        visits: dict[Node, int] = {}
        leaves = await self._roll(tree, tree.root, estimates, pool)
        for _ in range(self.searches):
            taken = self._take(pool, visits, estimates)
            if taken is None:
                break
            visits[taken.start] = visits.get(taken.start, 0) + 1
            await self._search(tree, taken, estimates, pool)
        return leaves[0]

    async def _search(self, tree: Tree, taken: _Rollout, estimates: Estimates, pool: list[_Rollout]) -> None:
        """Between a prefix with right rollouts and the end of a wrong one lies the first error."""
        steps = taken.leaf.path[len(taken.start.path) :]
        good, bad = -1, len(steps) - 1  # indices: known to lead somewhere, known not to
        estimates.shares[steps[-1]] = 0.0
        while bad - good > 1:
            middle = (good + bad) // 2
            if steps[middle] not in estimates.shares:
                await self._roll(tree, steps[middle], estimates, pool)
            if estimates.shares[steps[middle]] > 0:
                good = middle
            else:
                bad = middle
        estimates.solutions.append(taken.leaf.path[: len(taken.start.path) + bad + 1])

    async def _roll(
        self, tree: Tree, node: Node, estimates: Estimates, pool: list[_Rollout]
    ) -> Sequence[Node]:
        """Estimate a prefix; its wrong rollouts may be searched if it has right ones too."""
        ends = await tree.complete([node], self.rollouts, temperature=self.temperature)
        wrong = [end for end in ends if not self.right(tree.problem.id, tree.answer(end))]
        estimates.shares[node] = 1 - len(wrong) / len(ends)
        estimates.rollouts += len(ends)
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

        best = max(pool, key=promise)  # the first of equals, and the pool grows in a fixed order
        pool.remove(best)
        return best


def records(
    question: str, estimates: Estimates, right: Callable[[Node], bool | None], source: str, split: str
) -> list[LabelledSolution]:
    """The labelled solutions of one problem. Each estimated node counts in one of them.

    Hard labels are +1 where any rollout was right, else -1; values are the shares. right: whether a
    whole solution, the path to its last node, has the right answer; None if it is not whole.
    """
    made: list[LabelledSolution] = []
    counted: set[Node] = set()
    for path in estimates.solutions:
        context = tuple(i for i, n in enumerate(path) if n not in estimates.shares or n in counted)
        counted.update(path)
        if len(context) == len(path):
            continue
        values = tuple(estimates.shares.get(node, 1.0) for node in path)
        steps = tuple(node.step.text.strip("\n") for node in path if node.step is not None)
        labels = tuple(1 if value > 0 else -1 for value in values)
        made.append(LabelledSolution(
            question, steps, labels, source, split, "rollouts", values, context, outcome=right(path[-1])
        ))  # fmt: skip
    return made
