"""A preference tree from a search tree: from steps of one turn to actions of several.

A search tree holds steps, a preference tree complete actions. A node below a fork is

    right       if all finished solutions below it are right
    wrong       if all of them are wrong, or there is none and a step up to the node is wrong
    ambiguous   if some of them are right and some wrong
    unknown     if there is none, and no step is known to be wrong

The action of a right or wrong node is the text of the first finished solution below it, or else the text up
to the node. One pair is made of each level: a right and a wrong child of one node, the first that have
finished solutions, else the first. The pair of the first level that has one is turn 1: its right action
ends, its wrong action gets the checker's verdict, and the pair of the next level that has one is turn 2, up
to 5 turns.

The wrong step itself is not searched on from: all solutions below a wrong node are wrong, so no level below
it has a pair. The verdicts are put in afterwards: the policy did not read them when it sampled the later
actions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from prm.preference.tree import MAX_DEPTH, Observation, Turn, canonical
from search.node import Node


class Verdict(StrEnum):
    RIGHT = "right"
    WRONG = "wrong"
    AMBIGUOUS = "ambiguous"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Tally:
    """What became no pair, in all trees.

    nodes: siblings at forks, by `Verdict`, that are neither right nor wrong. ties: right and wrong siblings
    whose actions have the same text. one_sided: forks that lack a right or a wrong sibling. beside: pairs
    beyond the first of their level. deep: levels with a pair beyond the last turn.
    unfinished: not left out: pairs whose wrong action is no finished solution.
    """

    nodes: Counter[Verdict] = field(default_factory=Counter)
    ties: int = 0
    one_sided: int = 0
    beside: int = 0
    deep: int = 0
    unfinished: int = 0

    def report(self) -> dict[str, int]:
        return {
            "nodes_ambiguous": self.nodes[Verdict.AMBIGUOUS], "nodes_unknown": self.nodes[Verdict.UNKNOWN],
            "ties": self.ties, "forks_one_sided": self.one_sided, "pairs_beside_another": self.beside,
            "levels_too_deep": self.deep, "pairs_with_unfinished_rejected": self.unfinished,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Action:
    text: str
    is_finished: bool


def turns_of(
    root: Node,
    grades: Mapping[Node, bool],
    is_wrong: Callable[[Node], bool] | None,
    tally: Tally,
) -> tuple[Turn, ...]:
    """The turns of a preference tree; none if no fork has a right and a wrong side.

    grades: whether the answer is right, for each finished solution. is_wrong: whether a step on the path to a
    node is wrong; None if the task cannot tell.
    """
    below = _grades_below(root, grades)

    def judge(node: Node) -> Verdict:
        match sorted(below[node]):
            case [grade]:
                return Verdict.RIGHT if grade else Verdict.WRONG
            case [] if is_wrong is not None and is_wrong(node):
                return Verdict.WRONG
            case []:
                return Verdict.UNKNOWN
        return Verdict.AMBIGUOUS

    by_level: dict[int, list[tuple[_Action, _Action]]] = {}
    for node in _inner_nodes(root):
        siblings = [
            child for child in node.children
            if child.duplicate_of is None and child.failed is None and child.text.strip()
        ]  # fmt: skip
        if len(siblings) < 2:
            continue
        actions = {child: _action(child, grades) for child in siblings}
        verdicts = {child: judge(child) for child in siblings}
        tally.nodes.update(v for v in verdicts.values() if v not in (Verdict.RIGHT, Verdict.WRONG))
        sides = {v: [actions[child] for child in siblings if verdicts[child] is v] for v in Verdict}
        if not (sides[Verdict.RIGHT] and sides[Verdict.WRONG]):
            tally.one_sided += 1
            continue
        right, wrong = (
            min(sides[v], key=lambda action: not action.is_finished) for v in (Verdict.RIGHT, Verdict.WRONG)
        )
        if right.text.strip() == wrong.text.strip():
            tally.ties += 1
            continue
        by_level.setdefault(len(node.address), []).append((right, wrong))
    turns = []
    for number, level in enumerate(sorted(by_level), start=1):
        right, wrong = min(by_level[level], key=lambda p: (not p[0].is_finished) + (not p[1].is_finished))
        tally.beside += len(by_level[level]) - 1
        if number > MAX_DEPTH:
            tally.deep += 1
        else:
            turns.append(Turn(right.text, wrong.text, Observation.of(False)))
            tally.unfinished += not wrong.is_finished
    return canonical(turns)


def _inner_nodes(root: Node) -> list[Node]:
    """Nodes with children, in the order of addresses, by depth."""
    nodes, level = list[Node](), [root]
    while level:
        nodes += [node for node in level if node.children]
        level = [child for node in level for child in node.children]
    return nodes


def _grades_below(root: Node, grades: Mapping[Node, bool]) -> dict[Node, set[bool]]:
    """The grades of the solutions that go through each node."""
    below: dict[Node, set[bool]] = {child: set() for node in _inner_nodes(root) for child in node.children}
    for leaf, grade in grades.items():
        for node in leaf.path:
            below[node].add(grade)
    return below


def _action(node: Node, grades: Mapping[Node, bool]) -> _Action:
    """The first finished solution below a node, or the text up to it."""
    stack = [node]
    while stack:
        at = stack.pop()
        if at in grades:
            return _Action(at.text, True)
        stack += reversed(at.children)
    return _Action(node.text, False)
