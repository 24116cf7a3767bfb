"""What a recorded search tree held: its candidates, and which of its steps are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report.recorded import RecordedTree
from bench.report.sides import Graders
from search.node import Node
from search.types import Label
from search.values import Aggregate


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A finished solution. answer: None if it states none. value: the reward model's, None without scores."""

    node: Node
    answer: str | None
    right: bool
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredStep:
    """A step that the reward model scored after a right prefix. position: from 1. value: P(not wrong)."""

    position: int
    value: float
    right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFacts:
    """The tree of one problem.

    right: of a node, whether all steps up to it are right. Where the task labels steps, it is known of all;
        else a node is right if a right solution goes through it, and of the others nothing is known.
    labelled: whether the task labels steps. steps: scored ones, distinct; empty if it does not.
    """

    tree: RecordedTree
    candidates: Sequence[Candidate]
    right: Mapping[Node, bool]
    labelled: bool
    steps: Sequence[ScoredStep]

    @property
    def is_solvable(self) -> bool:
        """Whether any candidate is right."""
        return any(candidate.right for candidate in self.candidates)

    @property
    def first_error(self) -> Node | None:
        """The first wrong step of the chosen solution, if the task labels steps and there is one."""
        path = [] if self.tree.chosen is None or not self.labelled else self.tree.chosen.path
        return next((node for node in path if not self.right.get(node, True)), None)

    @property
    def left(self) -> Mapping[Node, tuple[int, bool | None]]:
        """The steps that the search went back from: how often, and whether the prefix was right."""
        return {
            node: (times, self.right.get(node))
            for node, times in self.tree.left.items()
            if node.parent is not None
        }

    @property
    def restarts(self) -> int:
        """How often the whole tree was rejected."""
        return self.tree.left.get(self.tree.root, 0)


def tree_facts(tree: RecordedTree, graders: Graders, aggregate: Aggregate | None) -> TreeFacts:
    """Read a tree. aggregate: how the run made a solution's value; None is the product."""
    solutions, labelled = graders.solutions(tree), graders.task.checks_steps
    candidates = list[Candidate]()
    for node in tree.solutions:
        answer = solutions.answer(node)
        candidates.append(
            Candidate(
                node=node, answer=answer, right=graders.grade(tree.problem, answer),
                value=None if answer is None else solutions.value(node, aggregate),
            )
        )  # fmt: skip
    if labelled:
        right = _labelled(tree, graders)
    else:
        right = {above: True for c in candidates if c.right for above in c.node.path}
    steps = _scored_steps(tree, right) if labelled and not tree.is_outcome else []
    return TreeFacts(tree=tree, candidates=candidates, right=right, labelled=labelled, steps=steps)


def _labelled(tree: RecordedTree, graders: Graders) -> dict[Node, bool]:
    """Of each step, whether it and all before it are not wrong. A blank step is as the one before it."""
    labels: dict[Node, Label] = {}
    problem = graders.examples[tree.problem].problem
    for leaf in tree.nodes:
        if leaf.children:
            continue
        path = [node for node in leaf.path if node.step is not None and not node.step.is_blank]
        if any(node not in labels for node in path):
            texts = [node.step.text for node in path if node.step is not None]
            labels.update(zip(path, graders.task.step_labels(problem, texts), strict=True))
    right: dict[Node, bool] = {}
    for node in tree.nodes:
        if node.step is not None:
            before = node.parent is None or right.get(node.parent, True)
            right[node] = before and labels.get(node) is not Label.NEGATIVE
    return right


def _scored_steps(tree: RecordedTree, right: Mapping[Node, bool]) -> list[ScoredStep]:
    """Equal steps after equal ones are one step: solutions that begin alike would count it twice."""
    numbers: dict[Node | None, int] = {tree.root: 0}
    known: dict[tuple[int, str], int] = {}
    found = list[ScoredStep]()
    for node in tree.nodes:
        if node.step is None or node.step.is_blank:
            numbers[node] = numbers[node.parent]
            continue
        key = numbers[node.parent], node.step.text
        is_new, numbers[node] = key not in known, known.setdefault(key, len(known) + 1)
        if is_new and node.score is not None and (node.parent is None or right.get(node.parent, True)):
            found.append(ScoredStep(position=len(node.address), value=node.score.value, right=right[node]))
    return found
