"""Token ids with targets, as a trainer gets them: plain sequences, pairs of them, and trees.

Labelled solutions of one problem begin alike: where several continuations of a step were rated, as in
PRM800K, each is a record of its own that repeats all before it. Laid out as a tree, what they share is
there once, and each token attends to its own path alone. The loss is the same, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.errors import UsageError

IGNORED = -100.0
"""The target of a token at which nothing is learnt."""


@dataclass(frozen=True, slots=True)
class Example:
    """token_ids: int32 [n]. targets, inner: float32 [n], IGNORED where nothing is learnt.

    A target is a class (classes, outcome), a probability (soft), or a token id (tokens, sft).
    inner: at each token of a step before its last, the target of that step.
    ends: int32 [n] for a tree, in depth-first order: where the part below each token ends. A token sees
    those before it whose part it is in. None for a plain sequence, in which it sees all.
    """

    token_ids: NDArray[np.int32]
    targets: NDArray[np.float32]
    inner: NDArray[np.float32]
    ends: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class PairExample:
    """direct: whether the absolute rewards are trained too (Eurus' L_DR), not only their difference."""

    chosen: Example
    rejected: Example
    direct: bool

    def __len__(self) -> int:
        return max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True, slots=True)
class Branch:
    """A record: token ids of the question and of each step, and by step the target at its last token."""

    pieces: Sequence[Sequence[int]]
    targets: Mapping[int, float]

    def __len__(self) -> int:
        return sum(map(len, self.pieces))


def chain(branch: Branch) -> Example:
    """A record by itself."""
    ids = np.array([token for piece in branch.pieces for token in piece], dtype=np.int32)
    targets, inner = np.full((2, len(ids)), IGNORED, dtype=np.float32)
    begins = np.cumsum([len(piece) for piece in branch.pieces])
    for step, target in branch.targets.items():
        last = begins[step + 1] - 1
        targets[last] = target
        inner[begins[step] : last] = target
    return Example(ids, targets, inner)


def trees(branches: Iterable[Branch], most: int) -> Iterator[Example]:
    """Records of one question together, as trees of up to `most` tokens; a longer record is alone."""
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
    """A piece in its place. below: what comes after it; one piece may come twice, to hold two labels."""

    tokens: tuple[int, ...]
    target: float | None = None
    below: list[_Node] = field(default_factory=list)

    def next(self, tokens: tuple[int, ...]) -> _Node | None:
        return next((node for node in self.below if node.tokens == tokens), None)


class _Tree:
    def __init__(self, root: _Node):
        self._root, self.size = root, len(root.tokens)

    def added_by(self, branch: Branch) -> int:
        """Tokens by which the tree would grow, labels that share a step aside."""
        node: _Node | None = self._root
        added = 0
        for piece in branch.pieces[1:]:
            node = node and node.next(tuple(piece))
            added += len(piece) if node is None else 0
        return added

    def add(self, branch: Branch) -> None:
        node = self._root
        for step, piece in enumerate(map(tuple, branch.pieces[1:])):
            target, found = branch.targets.get(step), node.next(piece)
            if found is None or (target is not None and found.target is not None):
                node.below.append(_Node(piece, target))
                self.size += len(piece)
                found = found or node.below[-1]  # a step's second label is a leaf; the path goes on below
            elif target is not None:
                found.target = target
            node = found

    def flat(self) -> Example:
        ids, targets, inner, ends = list[int](), list[float](), list[float](), list[int]()
        todo: list[tuple[_Node, int | None]] = [(self._root, None)]
        while todo:
            node, begin = todo.pop()
            if begin is not None:  # all below it is there
                ends[begin : begin + len(node.tokens)] = [len(ids)] * len(node.tokens)
                continue
            todo.append((node, len(ids)))
            todo += [(child, None) for child in reversed(node.below)]
            ids += node.tokens
            target, before = IGNORED if node.target is None else node.target, len(node.tokens) - 1
            targets += [*[IGNORED] * before, target]
            inner += [*[target] * before, IGNORED]
            ends += [0] * len(node.tokens)
        learnt = np.array([targets, inner], np.float32)
        return Example(np.array(ids, np.int32), learnt[0], learnt[1], np.array(ends, np.int32))


def collate(examples: Sequence[Example], pad: int) -> dict[str, Any]:
    """Right-padded tensors: input_ids, attention_mask, targets and inner, [B, L].

    With a tree among them, position_ids [B, L], a token's place on its path, and an attention_mask of
    [B, 1, L, L]: whether the row's token sees the column's.
    Raises UsageError if the batch holds no label: its loss would be none.
    """
    import torch

    width = max(map(len, examples))
    ids = np.full((len(examples), width), pad, dtype=np.int64)
    mask = np.zeros((len(examples), width), dtype=np.int64)
    targets, inner = np.full((2, len(examples), width), IGNORED, dtype=np.float32)
    for row, example in enumerate(examples):
        ids[row, : len(example)] = example.token_ids
        mask[row, : len(example)] = 1
        targets[row, : len(example)] = example.targets
        inner[row, : len(example)] = example.inner
    if (targets == IGNORED).all():
        raise UsageError(f"a batch of {len(examples)} sequences holds no label")
    arrays = {"input_ids": ids, "attention_mask": mask, "targets": targets, "inner": inner}
    if any(example.ends is not None for example in examples):
        seen = np.stack([_seen(example, width) for example in examples])
        arrays["position_ids"] = seen.sum(-1) - 1
        arrays["attention_mask"] = seen[:, None]
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _seen(example: Example, width: int) -> NDArray[np.bool_]:
    """[width, width]: whether the row's token sees the column's. Padding sees itself."""
    n, at = len(example), np.arange(width)
    ends = np.append(np.full(n, n) if example.ends is None else example.ends, at[n:] + 1)
    return np.asarray((at[None, :] <= at[:, None]) & (at[:, None] < ends[None, :]))


def collate_pairs(pairs: Sequence[PairExample], pad: int) -> dict[str, Any]:
    """As `collate`: the chosen ones, then the rejected ones, [2B, L]; and direct, [B]."""
    import torch

    batch = collate([p.chosen for p in pairs] + [p.rejected for p in pairs], pad)
    return {**batch, "direct": torch.tensor([float(p.direct) for p in pairs])}
