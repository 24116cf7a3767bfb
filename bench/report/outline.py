"""A search tree as lines of an outline, for terminals and pictures alike.

The chosen path runs straight down. The other children of a node are branches, indented, between it and the
step that was chosen instead of them; within a branch, the same holds for the child with the most below it.
So the indentation grows with forks inside branches, not with the length of solutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bench.report.recorded import RecordedRun, RecordedTree
from bench.report.sides import Graders
from search.node import Node
from search.types import Stop

MOST_LINES = 60
"""Nodes that are drawn before subtrees are folded."""
MOST_ANSWER = 40
"""Characters of an answer, which may be a program, beside the step that states it."""
MOST_OBSERVED = 3
"""Lines of an observation that are drawn before the rest is folded."""


class Kind(StrEnum):
    """What is shown of a node; the first that holds."""

    FAILED = "failed"
    CHOSEN = "chosen path"
    LEFT = "went back from here"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    STEP = "step"
    FOLDED = "folded"
    OBSERVED = "observation"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the outline.

    level: how many branches it is inside of. opens: it begins a branch. visit: when the node was sampled,
        from 1. value: P(not wrong) of the step, None without a score. text: one line, not cut. note: what
        else there is to say.
    node: None for folded subtrees, and for lines of what the environment answered to the turn above them.
    """

    kind: Kind
    level: int
    opens: bool
    text: str
    note: str = ""
    visit: int | None = None
    value: float | None = None
    node: Node | None = None


@dataclass(frozen=True, slots=True)
class Outline:
    """head: what is above the lines, (name, text) each."""

    head: Sequence[tuple[str, str]]
    lines: Sequence[Line]

    @property
    def kinds(self) -> Sequence[Kind]:
        """What its legend explains."""
        observed = any(line.kind is Kind.OBSERVED for line in self.lines)
        return [kind for kind in Kind if observed or kind is not Kind.OBSERVED]


def outline(
    run: RecordedRun, problem: str, *, most: int | None = MOST_LINES, graders: Graders | None = None
) -> Outline:
    """The outline of one problem's tree.

    most: nodes to draw; the others are folded, and so are long observations. None folds nothing.
    graders: of the run, if they are at hand.
    """
    tree, graders = run.trees[problem], graders or Graders(run)
    example = graders.examples[problem]
    answers = graders.task.answers(example.problem)

    def ending(node: Node) -> str:
        """How the solution that ends here ends."""
        answer = answers.extract(node.answer_text)
        if answer is None:
            return "no answer"
        said = cut(_one_line(answer), MOST_ANSWER)
        return f"answer {said}, {'correct' if graders.grade(problem, answer) else 'wrong'}"

    return Outline(
        _head(run, tree, example.problem.question, example.reference, graders), _lines(tree, most, ending)
    )


def _head(
    run: RecordedRun, tree: RecordedTree, question: str, reference: str, graders: Graders
) -> list[tuple[str, str]]:
    nodes = list(tree.nodes)
    if tree.chosen is None:
        answer = "none: the problem failed, or the run is not at its end"
    elif tree.answer is None:
        answer = "none"
    else:
        verdict = "correct" if graders.grade(tree.problem, tree.answer) else "wrong"
        answer = f"{_one_line(tree.answer)} ({verdict})"
    cost, counts = tree.cost, {
        "steps": len(nodes), "finished": len(tree.solutions), "rejected": len(tree.rejected),
        "duplicates": sum(node.duplicate_of is not None for node in nodes),
        "failed": sum(node.failed is not None for node in nodes), "backtracks": sum(tree.left.values()),
    }  # fmt: skip
    return [
        ("problem", f"{tree.problem} ({run.strategy})"),
        ("question", _one_line(question)),
        *([("reference", _one_line(reference))] if reference else []),
        ("answer", answer),
        ("cost", f"{_counted(cost.samples, 'samples')}, {_counted(cost.policy_tokens, 'policy tokens')} "
                 f"({cost.policy_tokens_discarded:,} of them discarded), "
                 f"{_counted(cost.prm_tokens, 'PRM tokens')}"),
        ("tree", ", ".join(_counted(count, name) for name, count in counts.items() if count)
                 + ("; ended by its deadline" if tree.late else "")),
    ]  # fmt: skip


def _counted(count: int, names: str) -> str:
    """A number of things: "1 sample", "2 samples"."""
    return f"{count:,} {names.removesuffix('s') if count == 1 else names}"


def _lines(tree: RecordedTree, most: int | None, ending: Callable[[Node], str]) -> list[Line]:
    path = set() if tree.chosen is None else set(tree.chosen.path)
    size, bare = _sizes(tree), bare_copies(tree)
    shown = _shown(tree, path, bare, most)
    copies: dict[Node, int] = {}
    for node in tree.nodes:
        if node.duplicate_of is not None:
            copies[node.duplicate_of] = copies.get(node.duplicate_of, 0) + 1
    lines = list[Line]()
    stack: list[Line | tuple[Node, int, bool]] = [(tree.root, 0, False)]
    while stack:
        top = stack.pop()
        if isinstance(top, Line):
            lines.append(top)
            continue
        node, level, opens = top
        if node.parent is not None:
            kind, note = _kind(tree, node, path), _note(tree, node, copies, ending)
            text = _one_line("" if node.step is None else node.step.text)
            value = None if node.score is None else node.score.value
            lines.append(Line(kind, level, opens, text, note, tree.visits[node], value, node))
            lines += _observed(node, level, folds=most is not None)
        children = [child for child in node.children if child in shown]
        hidden = [child for child in node.children if child not in shown]
        main = max(children, key=lambda child: (child in path, size[child]), default=None)
        if main is not None:
            stack.append((main, level, False))
        copied = [child for child in hidden if child in bare]
        if rest := [child for child in hidden if child not in bare]:
            stack.append(Line(Kind.FOLDED, level + 1, True, _folded(rest, size)))
        if copied:
            visits = " ".join(f"#{tree.visits[child]}" for child in copied)
            stack.append(Line(Kind.DUPLICATE, level + 1, True, f"duplicates: {visits}"))
        stack += [(child, level + 1, True) for child in reversed(children) if child is not main]
    return lines


def _observed(node: Node, level: int, *, folds: bool) -> list[Line]:
    """What the environment answered to a turn. folds: whether the end of a long answer is left out."""
    observation = None if node.step is None else node.step.observation
    texts = [] if observation is None else [t for t in observation.text.splitlines() if t.strip()]
    if folds and len(texts) > MOST_OBSERVED + 1:  # a line that says "1 more" would save nothing
        texts[MOST_OBSERVED:] = [f"… {len(texts) - MOST_OBSERVED:,} more lines"]
    return [Line(Kind.OBSERVED, level, opens=False, text=_printable(text.expandtabs(4))) for text in texts]


def _sizes(tree: RecordedTree) -> Mapping[Node, int]:
    """Of each node, how many nodes are below it, and itself."""
    size: dict[Node, int] = {}
    for node in reversed(list(tree.nodes)):
        size[node] = 1 + sum(size[child] for child in node.children)
    return size


def _shown(tree: RecordedTree, path: set[Node], bare: set[Node], most: int | None) -> set[Node]:
    """The nodes to draw: the chosen path, then what is nearest to it, without bare copies."""
    nodes = list(tree.nodes)
    if most is None:
        return set(nodes)
    nodes = [node for node in nodes if node in path or node not in bare]
    distance: dict[Node | None, int] = {tree.root: 0}
    for node in nodes:
        distance[node] = 0 if node in path else distance[node.parent] + 1
    order = sorted(nodes, key=lambda node: (distance[node], tree.visits[node]))
    return path | set(order[:most])


def bare_copies(tree: RecordedTree) -> set[Node]:
    """Nodes at which there is nothing to see: duplicates that nothing follows, whole solutions included."""
    bare = set[Node]()
    for node in reversed(list(tree.nodes)):
        if all(child in bare for child in node.children) and (node.children or node.duplicate_of is not None):
            bare.add(node)
    return bare


def _folded(hidden: Sequence[Node], size: Mapping[Node, int]) -> str:
    """What is said of subtrees that are not drawn."""
    below = list(_below(hidden))
    values = [node.score.value for node in below if node.score is not None]
    ends = sum(node.is_finished for node in below)
    steps = sum(size[node] for node in hidden)
    parts = [f"{steps:,} step{'s' * (steps > 1)} in {len(hidden):,} subtree{'s' * (len(hidden) > 1)}"]
    parts += [f"the best {max(values):.2f}"] if values else []
    parts += [f"{ends:,} finished"] if ends else []
    return ", ".join(parts)


def _below(tops: Sequence[Node]) -> Iterable[Node]:
    stack = list(tops)
    while stack:
        yield (node := stack.pop())
        stack += node.children


def _kind(tree: RecordedTree, node: Node, path: set[Node]) -> Kind:
    if node.failed is not None:
        return Kind.FAILED
    if node in path:
        return Kind.CHOSEN
    if node in tree.left:
        return Kind.LEFT
    if node in tree.rejected:
        return Kind.REJECTED
    return Kind.STEP if node.duplicate_of is None else Kind.DUPLICATE


def _note(tree: RecordedTree, node: Node, copies: Mapping[Node, int], ending: Callable[[Node], str]) -> str:
    notes = [f"failed: {_one_line(node.failed)}"] if node.failed is not None else []
    if node.duplicate_of is not None:
        notes.append(f"same as #{tree.visits[node.duplicate_of]}")
    if node in copies:
        notes.append(f"sampled {copies[node] + 1} times")
    if node in tree.left:
        times = tree.left[node]
        notes.append("went back" if times == 1 else f"went back {times} times")
    elif node in tree.rejected:
        notes.append("rejected")
    if node.step is not None and node.failed is None:
        match node.step.stop:
            case Stop.END:
                notes.append(ending(node))
            case Stop.LENGTH:
                notes.append("cut at the length limit")
            case Stop.REPETITION:
                notes.append("repeats itself")
    return "; ".join(notes)


def cut(text: str, columns: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= columns else text[: columns - 1] + "…"


def _one_line(text: Any) -> str:
    """Without line ends, and with nothing that a terminal or XML would stumble over."""
    return _printable(" ".join(str(text).split()))


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
