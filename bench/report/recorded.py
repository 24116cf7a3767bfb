"""What a trace records of each problem, for readers: the tree, who went where, the cost. Needs no model.

The engine resumes by `search.trace.Trace`; this reads the same file (docs/guides/traces.md) and writes
nothing, so a run may still be going on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.errors import ScorerError, TraceError
from search.limits import Cost
from search.node import Node, same_text
from search.scoring import BLANK_SCORE
from search.trace import read_observation, read_steps
from search.types import Address, Observation, Step, StepScore

_OLD_NAMES = {
    "judge": "score", "judgements": "scores", "known": "num_scored", "knobs": "params", "budget": "lengths",
}  # fmt: skip
"""What traces of version 0.1.0 call things, and what they are called now."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One call of the policy. parent: what it continued. leaf: its last step. spent: what it cost."""

    parent: Node
    leaf: Node
    spent: Cost


@dataclass(slots=True, eq=False, repr=False)  # a node's repr is that of its whole tree
class RecordedTree:
    """The search tree of one problem.

    digest: of the question. root: above all steps; scratch nodes are left out.
    samples: the calls that succeeded, in the order in which they ended.
    visits: when each node was sampled, from 1. rejected, left: nodes that the strategy did not continue
        from, and that it went back from. unused: calls whose results were not used.
    chosen, answer: the leaf returned, and its answer; None if the problem has no end in the trace.
    """

    problem: str
    digest: str = ""
    root: Node = field(default_factory=lambda: Node((), None, None))
    samples: list[Sample] = field(default_factory=list)
    visits: dict[Node, int] = field(default_factory=dict)
    rejected: set[Node] = field(default_factory=set)
    left: dict[Node, int] = field(default_factory=dict)
    unused: int = 0
    late: bool = False
    chosen: Node | None = None
    answer: str | None = None
    cost: Cost = field(default_factory=Cost)

    @property
    def nodes(self) -> Iterator[Node]:
        """All nodes but the root, each before its children, in the order of addresses."""
        stack = list(reversed(self.root.children))
        while stack:
            yield (node := stack.pop())
            stack += reversed(node.children)

    @property
    def solutions(self) -> list[Node]:
        """The leaves that the model ended itself, in the order of addresses."""
        return [node for node in self.nodes if node.is_finished]

    @property
    def is_outcome(self) -> bool:
        """Whether the reward model scored whole solutions only."""
        return any(
            leaf.score is not None and any(node.score is None for node in leaf.path[:-1])
            for leaf in self.solutions
        )


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A trace. config: what identifies the run. trees: by problem, in the order in which they began."""

    path: Path
    config: Mapping[str, Any]
    trees: Mapping[str, RecordedTree]

    @property
    def strategy(self) -> str:
        return str(self.config["strategy"])


def is_trace(path: Path) -> bool:
    """Whether the file begins as a trace does."""
    try:
        with path.open("rb") as file:
            return file.read(15).startswith(b'{"event": "run"')
    except OSError:
        return False


def read_trace(path: Path, problem: str | None = None) -> RecordedRun:
    """Read a trace; a last line that a kill cut off is ignored.

    problem: read only this one. Raises TraceError, naming the line.
    """
    config: Mapping[str, Any] | None = None
    readers: dict[str, _Reader] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    event = _renamed(json.loads(line))
                    if config is None:
                        config = _renamed(event["config"])
                    elif problem is None or event["problem"] == problem:
                        readers.setdefault(event["problem"], _Reader(event["problem"])).read(event)
                except (ValueError, KeyError, TypeError, AttributeError, ScorerError) as error:
                    raise TraceError(f"{path}, line {number}: not an event of a trace ({error})") from error
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror}") from error
    if config is None or "strategy" not in config:
        raise TraceError(f"{path} is no trace of a run")
    return RecordedRun(path, config, {name: reader.tree() for name, reader in readers.items()})


class _Reader:
    """Collects the events of one problem. Siblings are recorded as they end, in any order."""

    def __init__(self, problem: str):
        self._tree = RecordedTree(problem)
        self._nodes: dict[Address, Node] = {(): self._tree.root}
        self._order: list[Node] = []
        self._observations: dict[Address, Observation] = {}  # of samples that are not read yet
        self._total: Cost | None = None  # of a problem that its deadline ended

    def read(self, event: Mapping[str, Any]) -> None:
        tree, at = self._tree, tuple(event.get("at", ()))
        spent = Cost(**_renamed(event.get("spent", {})))
        match event["event"]:
            case "problem":
                tree.digest = event["digest"]
                return
            case "observe":
                self._observations[at] = read_observation(event)
            case "sample":
                spent.samples = 1
                for depth, step in enumerate(read_steps(event, self._observations)):
                    self._add((*at, *[0] * depth), step)
                tree.samples.append(Sample(self._nodes[at[:-1]], self._order[-1], spent))
            case "score":
                path = [self._nodes[at[:depth]] for depth in range(1, len(at) + 1)]
                scores = [StepScore(*parts) for parts in event["scores"]]
                for node, score in zip(path[event["num_scored"] :], scores, strict=True):
                    node.score = score
            case "failed":
                if event["of"] == "sample":
                    spent.samples = 1
                    self._add(at, None)
                self._nodes[at].failed = event["reason"]
            case "reject":
                tree.rejected.add(self._nodes[at])
            case "backtrack":
                tree.left[self._nodes[at]] = tree.left.get(self._nodes[at], 0) + 1
            case "unused":
                tree.unused += 1
            case "deadline":
                tree.late, self._total = True, spent
            case "chosen":
                tree.chosen, tree.answer = self._nodes[at], event["answer"]
            case other:
                raise ValueError(f"no event is called {other!r}")
        tree.cost += spent

    def _add(self, at: Address, step: Step | None) -> None:
        parent = self._nodes[at[:-1]]
        node = self._nodes[at] = Node(at, parent, step)
        self._order.append(node)
        if not node.is_scratch:
            parent.children.append(node)

    def tree(self) -> RecordedTree:
        """The tree, with duplicates marked, and with the scores that nodes share."""
        tree = self._tree
        tree.visits = {node: number for number, node in enumerate(self._order, start=1)}
        for node in self._nodes.values():
            node.children.sort(key=lambda child: child.address)
        for sample in sorted(tree.samples, key=lambda sample: sample.leaf.address):
            leaf = sample.leaf
            if original := _original(sample.parent, leaf):
                leaf.duplicate_of = original.duplicate_of or original
                leaf.duplicate_of.score = leaf.duplicate_of.score or leaf.score
        for leaf in (sample.leaf for sample in tree.samples):  # now: whichever came first was scored
            if leaf.duplicate_of is not None:
                for node, first in zip(leaf.path, leaf.duplicate_of.path, strict=True):
                    node.score = node.score or first.score
        for node in tree.nodes:
            above, is_blank = node.parent, node.step is not None and node.step.is_blank
            if is_blank and node.score is None and node.failed is None and above is not None:
                node.score = BLANK_SCORE if above.step is None else above.score
        if self._total is not None:
            tree.cost = self._total
        kept = 0 if tree.chosen is None else sum(step.n_tokens for step in tree.chosen.steps)
        tree.cost.policy_tokens_discarded = tree.cost.policy_tokens - kept
        return tree


def _original(parent: Node, leaf: Node) -> Node | None:
    """The first node with the same text as `leaf` from `parent` on, step by step, if that is another."""
    if leaf.is_scratch:
        return None
    first, *later = leaf.path[len(parent.path) :]
    same = [child for child in parent.children if child.address < first.address and same_text(child, first)]
    for node in later:
        same = [child for other in same for child in other.children if same_text(child, node)]
    return same[0] if same else None


def _renamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    new = {_OLD_NAMES.get(name, name): value for name, value in fields.items()}
    if isinstance(new.get("event"), str):
        new["event"] = _OLD_NAMES.get(new["event"], new["event"])
    return new
