"""The tree cache's memory: what it keeps, what it computes at once, and how much of a machine it takes."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from prm.scoring import memory
from prm.scoring.tree_cache import TreeCache, _Entry

pytestmark = [pytest.mark.slow]

TOKEN_BYTES = 2 * 2 * 2 * 8 * 4
"""Of the decoder below: keys and values, layers, heads, head size, float32."""


@pytest.fixture(scope="module")
def decoder() -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=512,
    )  # fmt: skip
    return LlamaModel(config).eval()


def cache_of(decoder: torch.nn.Module, max_bytes: int) -> TreeCache:
    return TreeCache(decoder, lambda hidden: hidden[..., :1].sigmoid(), max_bytes=max_bytes)  # type: ignore[arg-type]


@pytest.fixture(scope="module", autouse=True)
def other_tests_objects_are_not_looked_at() -> Iterator[None]:
    """`kept_bytes` looks at all objects, which are millions after hundreds of other tests."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def kept_bytes() -> int:
    """Memory of all entries that are alive, whoever refers to them."""
    gc.collect()
    entries = [entry for entry in gc.get_objects() if type(entry) is _Entry]
    return sum(entry.keys.nbytes + entry.values.nbytes for entry in entries)


def solution(*steps: Sequence[int]) -> list[list[int]]:
    return [[1, 2, 3], *map(list, steps)]


def tree(depth: int, at: int = 0) -> list[list[list[int]]]:
    """Solutions that share their beginnings, each step of 5 tokens."""
    steps = [[10 + at + i, 4, 5, 6, 7] for i in range(depth)]
    return [solution(*steps[: k + 1], [40 + k, 8, 8, 8, 8]) for k in range(depth)]


def test_what_is_kept_is_within_its_bound_in_bytes(decoder: torch.nn.Module) -> None:
    assert kept_bytes() == 0
    for bound in (0, 40 * TOKEN_BYTES, 1 << 30):
        cache = cache_of(decoder, bound)
        for at in range(8):
            cache.score(tree(6, at))
            assert kept_bytes() <= bound
    assert kept_bytes() >= 8 * 30 * TOKEN_BYTES, "with room for all of it, it keeps all of it"
    del cache


def test_a_prefix_is_kept_as_long_as_anything_that_continues_it(decoder: torch.nn.Module) -> None:
    cache = cache_of(decoder, 13 * TOKEN_BYTES)  # the question and two steps
    cache.score([solution([4] * 5), solution([5] * 5)])
    [again] = cache.score([solution([6] * 5)])
    assert (again.computed, again.cached) == (5, 3), "the question was evicted before its continuations"
    del cache


def test_a_batch_larger_than_the_bound_is_scored_in_parts(
    decoder: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    solutions = [solution(*([n, m, 4, 5] for m in range(10))) for n in range(5, 25)]
    whole = cache_of(decoder, 1 << 30).score(solutions)
    small = cache_of(decoder, 100 * TOKEN_BYTES)
    most, forward = 0, TreeCache._forward

    def watched(cache: TreeCache, *args: object) -> None:
        nonlocal most
        forward(cache, *args)  # type: ignore[arg-type]
        most = max(most, kept_bytes())

    monkeypatch.setattr(TreeCache, "_forward", watched)
    parts = small.score(solutions)
    assert most <= 2 * 100 * TOKEN_BYTES, "the kept, and as much again"
    for one, other in zip(whole, parts, strict=True):
        flat = [[p for step in scored.probabilities for p in step] for scored in (one, other)]
        assert flat[0] == pytest.approx(flat[1], abs=1e-5)
        assert one.computed + one.cached == other.computed + other.cached


def test_free_memory_is_that_of_the_machine_or_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 32 kB\nMemAvailable:   20 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP_ROOT", tmp_path)
    assert memory.free_memory() == 20 * 1024
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() == 20 * 1024
    (tmp_path / "memory.max").write_text("10000\n")
    assert memory.free_memory() == 7000
    (tmp_path / "meminfo").unlink()
    (tmp_path / "memory.max").unlink()
    assert memory.free_memory() == memory.UNKNOWN
