"""A reward model on transformers that computes each token of the trees once.

Keys and values are cached per piece (a question, or one step after its prefix). The pieces that a batch of
calls lacks are merged into a forest: a shared prefix is computed once, a run of pieces without a fork in a
single forward pass, and the pieces after a fork in the next pass.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from transformers import DynamicCache, PreTrainedModel

from prm.scoring.model import Read

Key = tuple[int, ...]
"""A prefix, as the token ids of all its pieces."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A computed piece. keys, values: [layers, heads, len(piece), head size]. probabilities: [labels]."""

    parent: _Entry | None
    keys: torch.Tensor
    values: torch.Tensor
    probabilities: list[float]

    @property
    def n_bytes(self) -> int:
        """Memory of the tensors."""
        return self.keys.nbytes + self.values.nbytes

    def chain(self) -> list[_Entry]:
        """The pieces from the question to this one."""
        entry, chain = self, [self]
        while entry.parent is not None:
            chain.append(entry := entry.parent)
        return chain[::-1]


@dataclass(slots=True)
class _Missing:
    """A piece to compute, for the call `caller`: its tokens, after the prefix `before`."""

    key: Key
    before: Key
    piece: list[int]
    caller: int
    forks: list[_Missing] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scored:
    """probabilities: of each step, [pieces - 1][labels]. computed, cached: numbers of tokens of this call."""

    probabilities: list[list[float]]
    computed: int
    cached: int


class TreeCache:
    """model: a decoder without a head. read: the head, applied to its last hidden states.

    max_bytes: bound on the memory of the keys and values that are kept between calls of `score`; the least
        recently used are evicted first. One call of `score` computes up to as much again, and more only if
        a single solution takes more.
    batch_tokens: bound on the padded tokens of one forward pass; a single run of pieces may exceed it.
    """

    def __init__(self, model: PreTrainedModel, read: Read, *, max_bytes: int, batch_tokens: int = 8192):
        self._model, self._read = model, read
        self._max_bytes, self._batch_tokens = max_bytes, batch_tokens
        # From the least to the most recently used. A piece comes after all that follow it in their paths, so
        # that the first is never one that another entry continues, and evicting it frees its memory.
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._kept = 0
        self._token_bytes = 0.0  # measured by the first pass

    def score(self, calls: Sequence[list[list[int]]]) -> list[Scored]:
        """Score calls, each given as pieces: the question, then one piece per step."""
        return [scored for group in self._groups(calls) for scored in self._score_group(group)]

    def _groups(self, calls: Sequence[list[list[int]]]) -> Iterator[list[list[list[int]]]]:
        """The calls, in groups whose new pieces take at most `max_bytes` together."""
        group: list[list[list[int]]] = []
        new: set[Key] = set()
        tokens = 0
        for pieces in calls:
            own = {k: len(p) for k, p in zip(_keys(pieces), pieces, strict=True) if k not in self._entries}
            more = sum(length for key, length in own.items() if key not in new)
            if group and (not self._token_bytes or (tokens + more) * self._token_bytes > self._max_bytes):
                yield group
                group, new, tokens, more = [], set(), 0, sum(own.values())
            group.append(pieces)
            new |= own.keys()
            tokens += more
        if group:
            yield group

    @torch.inference_mode()
    def _score_group(self, calls: Sequence[list[list[int]]]) -> list[Scored]:
        missing: dict[Key, _Missing] = {}
        in_use: dict[Key, _Entry] = {}  # nothing of this batch is evicted while it runs
        paths: list[list[Key]] = []
        for caller, pieces in enumerate(calls):
            path = _keys(pieces)
            for before, key, piece in zip([(), *path], path, pieces, strict=False):
                if (entry := self._entries.get(key)) is not None:
                    in_use[key] = entry
                elif key not in missing:
                    missing[key] = _Missing(key, before, piece, caller)
                    if before in missing:
                        missing[before].forks.append(missing[key])
            paths.append(path)
        wave = [m for m in missing.values() if m.before not in missing]
        while wave:
            runs = []
            for first in wave:
                run = [first]
                while len(run[-1].forks) == 1:
                    run.append(run[-1].forks[0])
                runs.append(run)
            for batch in self._batches(runs):
                self._forward(batch, in_use)
            wave = [fork for run in runs for fork in run[-1].forks]
        computed = [0] * len(calls)
        for m in missing.values():
            computed[m.caller] += len(m.piece)
        results = [
            Scored([in_use[key].probabilities for key in path[1:]], spent, len(path[-1]) - spent)
            for path, spent in zip(paths, computed, strict=True)
        ]
        self._keep({m.key: in_use[m.key] for m in missing.values()}, paths)
        return results

    def _batches(self, runs: list[list[_Missing]]) -> list[list[list[_Missing]]]:
        """Runs grouped by similar length, each group within `batch_tokens`."""
        batches: list[list[list[_Missing]]] = [[]]
        for run in sorted(runs, key=lambda run: len(run[-1].key)):
            if batches[-1] and (len(batches[-1]) + 1) * len(run[-1].key) > self._batch_tokens:
                batches.append([])
            batches[-1].append(run)
        return batches

    def _forward(self, runs: Sequence[list[_Missing]], entries: dict[Key, _Entry]) -> None:
        """One pass over the runs' tokens, after their prefixes in `entries`, which are padded on the left.

        The new pieces are added to `entries`.
        """
        device = self._model.device
        parents = [entries.get(run[0].before) for run in runs]
        news = [[token for m in run for token in m.piece] for run in runs]
        past = [len(run[0].before) for run in runs]
        width, old = max(map(len, news)), max(past)
        ids = torch.zeros(len(runs), width, dtype=torch.long)
        mask = torch.zeros(len(runs), old + width, dtype=torch.long)
        positions = torch.zeros(len(runs), width, dtype=torch.long)
        for row, new in enumerate(news):
            ids[row, : len(new)] = torch.tensor(new)
            mask[row, old - past[row] : old + len(new)] = 1
            positions[row] = torch.arange(past[row], past[row] + width)
        out = self._model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            past_key_values=self._past(parents, past, old),
            use_cache=True,
        )
        layers = out.past_key_values.layers
        ends = [list(accumulate(len(m.piece) for m in run)) for run in runs]
        hidden = torch.cat([out.last_hidden_state[row, [e - 1 for e in end]] for row, end in enumerate(ends)])
        probabilities = iter(self._read(hidden).tolist())
        for row, run in enumerate(runs):
            entry, at = parents[row], 0
            for m in run:
                span = slice(old + at, old + at + len(m.piece))
                keys = torch.stack([layer.keys[row, :, span] for layer in layers])
                values = torch.stack([layer.values[row, :, span] for layer in layers])
                at += len(m.piece)
                entry = _Entry(entry, keys, values, next(probabilities))
                entries[m.key] = entry

    def _past(self, parents: Sequence[_Entry | None], lengths: Sequence[int], old: int) -> DynamicCache:
        """The cached prefixes as one batch, [batch, heads, old, head size] per layer."""
        cache = DynamicCache()
        if old == 0:
            return cache
        like = next(parent for parent in parents if parent is not None).keys
        shape = (like.shape[0], len(parents), like.shape[1], old, like.shape[3])
        keys, values = like.new_zeros(shape), like.new_zeros(shape)
        for row, parent in enumerate(parents):
            at = old - lengths[row]
            for entry in parent.chain() if parent is not None else ():
                end = at + entry.keys.shape[2]
                keys[:, row, :, at:end], values[:, row, :, at:end] = entry.keys, entry.values
                at = end
        for layer in range(shape[0]):
            cache.update(keys[layer], values[layer], layer)
        return cache

    def _keep(self, new: dict[Key, _Entry], paths: Sequence[Sequence[Key]]) -> None:
        """Add entries, mark the paths as used, and evict what is too much."""
        for key, entry in new.items():
            self._entries[key] = entry
            self._kept += entry.n_bytes
            self._token_bytes = entry.n_bytes / entry.keys.shape[2]
        for path in paths:
            for key in reversed(path):
                self._entries.move_to_end(key)
        while self._kept > self._max_bytes and self._entries:
            _, entry = self._entries.popitem(last=False)
            self._kept -= entry.n_bytes


def _keys(pieces: Sequence[Sequence[int]]) -> list[Key]:
    """The prefix that ends with each piece."""
    keys: list[Key] = []
    for piece in pieces:
        keys.append((*(keys[-1] if keys else ()), *piece))
    return keys
