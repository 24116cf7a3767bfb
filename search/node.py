"""A node of a search tree, and what happens to nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from search.types import Address, Label, Step, StepScore, Stop, answer_text


@dataclass(slots=True, eq=False)
class Node:
    """A step appended to its parent. Only `Tree` creates nodes or sets `score`.

    duplicate_of: the earlier sibling with the same text, None if this is the first. They share a score.
    failed: why sampling or scoring this candidate failed, None if it did not. It has no step, or no score;
        nothing can follow it, and it is never a solution.
    reserved: child addresses given out, children still being sampled included. scratch: those of scratch
        children, which are not in `children`; their addresses end in -1, -2 and so on.
    """

    address: Address
    parent: Node | None = field(repr=False)  # a representation would walk the whole tree
    step: Step | None
    score: StepScore | None = None
    duplicate_of: Node | None = field(default=None, repr=False)
    children: list[Node] = field(default_factory=list, repr=False)
    failed: str | None = None
    reserved: int = 0
    scratch: int = 0

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
    def is_scratch(self) -> bool:
        """Whether the node was sampled to look ahead: nothing that is searched contains it."""
        return any(index < 0 for index in self.address)

    @property
    def steps(self) -> list[Step]:
        return [node.step for node in self.path if node.step is not None]

    @property
    def text(self) -> str:
        return "".join(step.text for step in self.steps)

    @property
    def answer_text(self) -> str:
        """What the answer is read from: `text`, or in an episode what the last turn leaves to read."""
        return answer_text(self.steps)

    @property
    def scored_as(self) -> Node:
        """The node whose text the reward model reads for this one: the original, and never a blank step."""
        node = self.duplicate_of or self
        while node.step is not None and node.step.is_blank and node.parent is not None:
            node = node.parent.duplicate_of or node.parent
        return node

    @property
    def is_terminal(self) -> bool:
        """True if nothing can follow: finished, cut short, or failed."""
        return self.failed is not None or (self.step is not None and self.step.stop is not Stop.STEP)

    @property
    def is_finished(self) -> bool:
        """True if the model ended the solution itself: neither cut at a limit nor repeating itself."""
        return self.failed is None and self.step is not None and self.step.stop is Stop.END

    @property
    def label(self) -> Label:
        return self.scored.label

    @property
    def value(self) -> float:
        """P(the step is not wrong), in [0, 1]."""
        return self.scored.value

    @property
    def scored(self) -> StepScore:
        """The score. Raises ValueError if there is none yet, as `label` and `value` do."""
        if self.score is None:
            raise ValueError(f"node {self.address} is not scored: use expand(), or score() first")
        return self.score


class TreeEvent(StrEnum):
    """What a watcher is told about, as it happens."""

    SAMPLE = "sample"
    """A node was added."""
    SCORE = "score"
    """A node was given its score."""
    FAIL = "fail"
    """A node's sampling or scoring failed."""
    REJECT = "reject"
    """The strategy does not continue from a node."""
    BACKTRACK = "backtrack"
    """The strategy gave a node up and went back to its parent."""
    SETTLED = "settled"
    """Every solution that may still be chosen goes through this node."""
    CHOSEN = "chosen"
    """The strategy returned this leaf."""


def num_scored(node: Node) -> int:
    """How many steps at the beginning of the node's path are scored."""
    path = node.path
    return next((i for i, n in enumerate(path) if n.score is None), len(path))


def same_text(a: Node, b: Node) -> bool:
    """True if two nodes hold the same step; roots and failed samples hold none."""
    if a.step is None or b.step is None:
        return False
    return (a.step.text, a.step.stop) == (b.step.text, b.step.stop)
