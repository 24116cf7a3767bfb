"""The search tree of one problem as the page shows it: the lines of its outline, with nothing left out."""

from __future__ import annotations

from typing import Any

from bench.report.outline import Kind, Line, bare_copies, outline
from bench.report.recorded import RecordedRun
from bench.report.sides import Graders
from bench.report.tree_facts import TreeFacts, tree_facts
from search.node import Node

KINDS = [kind.value for kind in Kind if kind is not Kind.OBSERVED]


def tree_json(run: RecordedRun, problem: str, graders: Graders) -> dict[str, Any]:
    """What the page needs to draw a tree.

    head: facts, (name, text) each. rows: the lines of the outline from the top, each [level, opens a branch,
        index in KINDS, visit, value, text, note, ending, checked, tokens, bare, observed], where ending is
        that of a finished solution, checked what the task's checker of steps says, bare whether it is a
        duplicate that nothing follows, and observed what the environment answered to a turn, if it did.
    """
    tree = run.trees[problem]
    facts = tree_facts(tree, graders, None)
    endings = {
        c.node: "none" if c.answer is None else "right" if c.right else "wrong" for c in facts.candidates
    }
    bare = bare_copies(tree)

    def row(line: Line) -> list[Any]:
        node = line.node
        assert node is not None  # nothing is folded
        text, tokens = ("", 0) if node.step is None else (node.step.text, node.step.n_tokens)
        observation = None if node.step is None else node.step.observation
        value = None if line.value is None else round(line.value, 3)
        return [
            line.level, int(line.opens), KINDS.index(line.kind), line.visit, value, text, line.note,
            endings.get(node), _checked(facts, node), tokens, int(node in bare),
            *([observation.text] if observation is not None and observation.text else []),
        ]  # fmt: skip

    drawn = outline(run, problem, most=None, graders=graders)
    head = [fact for fact in drawn.head if fact[0] in ("answer", "cost", "tree")]
    return {"head": head, "rows": [row(line) for line in drawn.lines if line.kind is not Kind.OBSERVED]}


def _checked(facts: TreeFacts, node: Node) -> str | None:
    """Whether a step is right, the first wrong one of its path, or after that; None if nothing tells."""
    if not facts.labelled or node not in facts.right:
        return None
    if facts.right[node]:
        return "right"
    return "wrong" if node.parent is None or facts.right.get(node.parent, True) else "after"
