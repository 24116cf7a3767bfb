"""Token ids with targets: plain sequences, pairs of sequences, and trees.

Records of one problem share prefixes: where several continuations of a step were rated, as in PRM800K,
each is a record that repeats the steps before it. A tree holds a shared prefix once, and each token attends
to its own path only. The loss is the same, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.errors import UsageError

IGNORED = -100.0
"""The target of a token that has no label."""
TREE_MULTIPLE = 64
"""The lengths of batches of trees, so that few of them differ: `prm.training.attention.BLOCK` says why."""


@dataclass(frozen=True, slots=True)
class Example:
    """A training sequence.

    token_ids: [n].
    targets: at the last token of each labelled step, a class (classes, outcome), a probability (soft) or a
        token id (tokens); for sft, the next token id. IGNORED at all other tokens, [n].
    inner: at the other tokens of a labelled step, its target; IGNORED elsewhere, [n].
    ends: for a tree, in depth-first order, the end of the subtree of each token, [n]: a token attends to the
        earlier tokens whose subtrees contain it. None for a plain sequence.
    """

    token_ids: NDArray[np.int32]
    targets: NDArray[np.float32]
    inner: NDArray[np.float32]
    ends: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class PairExample:
    """direct: whether to train the absolute rewards too (Eurus' L_DR), not only their difference."""

    chosen: Example
    rejected: Example
    direct: bool

    def __len__(self) -> int:
        return max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True, slots=True)
class Branch:
    """A record as token ids.

    pieces: of the question, then of each step. targets: by index of the step.
    """

    pieces: Sequence[Sequence[int]]
    targets: Mapping[int, float]

    def __len__(self) -> int:
        return sum(map(len, self.pieces))


def chain(branch: Branch) -> Example:
    """A plain sequence of one record."""
    ids = np.array([token for piece in branch.pieces for token in piece], dtype=np.int32)
    targets, inner = np.full((2, len(ids)), IGNORED, dtype=np.float32)
    begins = np.cumsum([len(piece) for piece in branch.pieces])
    for step, target in branch.targets.items():
        last = begins[step + 1] - 1
        targets[last] = target
        inner[begins[step] : last] = target
    return Example(ids, targets, inner)


def trees(branches: Iterable[Branch], most: int) -> Iterator[Example]:
    """Trees of the records of each question, of at most `most` tokens. A longer record is a tree."""
    growing: dict[tuple[int, ...], _Tree] = {}
    for branch in branches:
        question = tuple(branch.pieces[0])
        tree = growing.get(question)
        if tree is not None and tree.size + tree.added_by(branch) > most:
            yield tree.flat()
            tree = None
        if tree is None:
            tree = growing[question] = _Tree(_Node(question))
        tree.add(branch)
    for tree in growing.values():
        yield tree.flat()


@dataclass(slots=True)
class _Node:
    """A piece of a tree. below: the pieces that follow it; a piece with two labels is there twice."""

    tokens: tuple[int, ...]
    target: float | None = None
    below: list[_Node] = field(default_factory=list)

    def next(self, tokens: tuple[int, ...]) -> _Node | None:
        return next((node for node in self.below if node.tokens == tokens), None)


class _Tree:
    def __init__(self, root: _Node):
        self._root, self.size = root, len(root.tokens)

    def added_by(self, branch: Branch) -> int:
        """Tokens that the branch would add, not counting copies of steps for a second label."""
        node: _Node | None = self._root
        added = 0
        for piece in branch.pieces[1:]:
            node = node and node.next(tuple(piece))
            added += len(piece) if node is None else 0
        return added

    def add(self, branch: Branch) -> None:
        node = self._root
        for step, piece in enumerate(map(tuple, branch.pieces[1:])):
            target, below = branch.targets.get(step), node.next(piece)
            if below is None or (target is not None and below.target is not None):
                node.below.append(_Node(piece, target))
                self.size += len(piece)
                below = below or node.below[-1]  # a copy for a second label is a leaf
            elif target is not None:
                below.target = target
            node = below

    def flat(self) -> Example:
        ids, targets, inner, ends = list[int](), list[float](), list[float](), list[int]()
        todo: list[tuple[_Node, int | None]] = [(self._root, None)]
        while todo:
            node, begin = todo.pop()
            if begin is not None:  # its subtree is complete
                ends[begin : begin + len(node.tokens)] = [len(ids)] * len(node.tokens)
                continue
            todo.append((node, len(ids)))
            todo += [(child, None) for child in reversed(node.below)]
            ids += node.tokens
            target, before = IGNORED if node.target is None else node.target, len(node.tokens) - 1
            targets += [*[IGNORED] * before, target]
            inner += [*[target] * before, IGNORED]
            ends += [0] * len(node.tokens)
        both = np.array([targets, inner], np.float32)
        return Example(np.array(ids, np.int32), both[0], both[1], np.array(ends, np.int32))


def collate(examples: Sequence[Example], pad: int) -> dict[str, Any]:
    """Right-padded tensors input_ids, attention_mask, targets and inner, [B, L].

    If there is a tree in the batch, also position_ids, the position of each token on its path, [B, L]; the
    attention_mask is then whether the row's token attends to the column's, [B, 1, L, L], and L is a multiple
    of `TREE_MULTIPLE`.
    Raises UsageError if the batch has no label, for its loss would be undefined.
    """
    import torch

    width, has_tree = max(map(len, examples)), any(example.ends is not None for example in examples)
    width += -width % TREE_MULTIPLE if has_tree else 0
    ids = np.full((len(examples), width), pad, dtype=np.int64)
    mask = np.zeros((len(examples), width), dtype=np.int64)
    targets, inner = np.full((2, len(examples), width), IGNORED, dtype=np.float32)
    for row, example in enumerate(examples):
        ids[row, : len(example)] = example.token_ids
        mask[row, : len(example)] = 1
        targets[row, : len(example)] = example.targets
        inner[row, : len(example)] = example.inner
    if (targets == IGNORED).all():
        raise UsageError(f"a batch of {len(examples)} sequences has no label")
    arrays = {"input_ids": ids, "attention_mask": mask, "targets": targets, "inner": inner}
    if has_tree:
        seen = np.stack([_seen(example, width) for example in examples])
        arrays["position_ids"] = seen.sum(-1) - 1
        arrays["attention_mask"] = seen[:, None]
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _seen(example: Example, width: int) -> NDArray[np.bool_]:
    """Whether the row's token attends to the column's, [width, width]. Padding attends to itself."""
    n, at = len(example), np.arange(width)
    ends = np.append(np.full(n, n) if example.ends is None else example.ends, at[n:] + 1)
    return np.asarray((at[None, :] <= at[:, None]) & (at[:, None] < ends[None, :]))


def collate_pairs(pairs: Sequence[PairExample], pad: int) -> dict[str, Any]:
    """As `collate`, the chosen sequences before the rejected ones, [2B, L]; and direct, [B]."""
    import torch

    batch = collate([p.chosen for p in pairs] + [p.rejected for p in pairs], pad)
    return {**batch, "direct": torch.tensor([float(p.direct) for p in pairs])}
