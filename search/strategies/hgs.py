"""HGS-PRM: heuristic greedy search with step-level backtracking (Ma et al. 2023, arXiv:2310.10080)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from search.node import Node
from search.tree import StepGuided, Tree
from search.types import Ahead, Label
from search.values import at_least, path_value, share


@dataclass(frozen=True, slots=True)
class HGS(StepGuided):
    """Descend into the first positive child, else into the best neutral one, else backtrack.
    What the paper leaves open is a parameter.

    width: children sampled at a node before backtracking from it (the paper's bandwidth B).
    max_samples, max_tokens: limits on the search; None is unbounded.
    neutral: enter neutral children after all positive ones, treat them as positive, or as negative.
    accept: for scalar and two-class reward models: values from this one on are positive, others negative.
    reject: the least P(negative) that counts as negative; None uses the most probable label.
    temperature: for a node's first child, None is the policy's own; each further child adds escalation.
    on_dead_end: when the whole tree is rejected, enter the best rejected node, or end the search.
    on_budget: without a solution, complete the best of the deepest prefixes greedily, start over, or abstain.
    """

    width: int = 16
    max_samples: int | None = 64
    max_tokens: int | None = None
    neutral: Literal["defer", "accept", "reject"] = "defer"
    accept: float | None = None
    reject: float | None = None
    temperature: float | None = 0.0
    escalation: float = 0.1
    on_dead_end: Literal["readmit", "finish"] = "readmit"
    on_budget: Literal["best_prefix", "restart", "abstain"] = "best_prefix"

    def __post_init__(self) -> None:
        at_least(1, width=self.width)
        at_least(0, max_samples=self.max_samples, max_tokens=self.max_tokens, escalation=self.escalation)
        at_least(0, temperature=self.temperature)
        share(accept=self.accept, reject=self.reject)

    async def __call__(self, tree: Tree) -> Node:
        entered, rejected = list[Node](), list[Node]()
        solution = None
        with tree.limit(samples=self.max_samples, policy_tokens=self.max_tokens):
            solution = await self._descend(tree, tree.root, entered, rejected)
            while not solution and rejected and self.on_dead_end == "readmit":
                best = min(rejected, key=lambda node: (-node.value, node.address))
                rejected.remove(best)
                solution = await self._descend(tree, best, entered, rejected)
        if solution or self.on_budget == "abstain":
            return solution or tree.root
        starts = entered if self.on_budget == "best_prefix" else [tree.root]
        start = min(starts, key=lambda n: (-len(n.path), -path_value(n, "product"), n.address))
        return await tree.finish(start)

    async def _descend(self, tree: Tree, top: Node, entered: list[Node], rejected: list[Node]) -> Node | None:
        """The first solution at or below `top`; None if there is none."""
        path = [top]
        entered.append(top)
        while path and not path[-1].is_terminal:
            if child := await self._next(tree, path[-1], entered, rejected):
                path.append(child)
                entered.append(child)
            else:
                tree.backtrack(path.pop())
        return path[-1] if path else None

    async def _next(self, tree: Tree, node: Node, entered: list[Node], rejected: list[Node]) -> Node | None:
        """The child to enter next: the first positive one, else the best neutral one, else None."""
        start, up = self.temperature, self.escalation
        heats = [None if start is None else start + retry * up for retry in range(self.width)]
        for retry in range(len(node.children), self.width):
            ahead = Ahead(heats[retry + 1 :], [] if retry else heats[:1])
            [child] = await tree.expand([node], temperature=heats[retry], ahead=ahead)
            if (label := self._verdict(tree, child)) is Label.POSITIVE:
                return child
            if label is Label.NEGATIVE:
                tree.reject(child)
                rejected.append(child)
        kept = [n for n in node.children if n not in entered and self._verdict(tree, n) is Label.NEUTRAL]
        return max(kept, key=lambda child: child.value, default=None)

    def _verdict(self, tree: Tree, child: Node) -> Label | None:
        if child.duplicate_of or tree.is_dead(child):
            return None  # a duplicate, or no answer at its end: charged, but not entered
        score, label = child.scored, child.label
        if self.accept is not None:
            return Label.POSITIVE if score.value >= self.accept else Label.NEGATIVE
        if self.reject is not None:
            better = Label.POSITIVE if score.positive > score.neutral else Label.NEUTRAL
            label = Label.NEGATIVE if score.negative >= self.reject else better
        as_param = {"accept": Label.POSITIVE, "reject": Label.NEGATIVE}.get(self.neutral, label)
        return as_param if label is Label.NEUTRAL else label
