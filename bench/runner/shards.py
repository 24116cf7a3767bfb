"""A deterministic share of a run's problems, for machines that know nothing of each other (Slurm arrays)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from search.errors import UsageError

T = TypeVar("T")

FOLDERS = "shard-*-of-*"
"""The folders of shards, in the folder of their run."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Share number `index` of `count`, counted from 1. Raises UsageError."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UsageError(f"--shard {self}: shards are counted from 1/{max(1, self.count)} on")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def share(self, items: Sequence[T]) -> list[T]:
        """Every `count`-th item, from number `index` on, so that the shares are alike if the order is by
        difficulty.
        """
        return list(items[self.index - 1 :: self.count])

    def folder(self, out: Path) -> Path:
        """Where the shard of the run in `out` is recorded. Names sort in the order of the shards."""
        return out / f"shard-{self.index:0{len(str(self.count))}}-of-{self.count}"


def parse_shard(text: str) -> Shard:
    """A shard such as 3/8. Raises UsageError."""
    if not (found := re.fullmatch(r"(\d+)/(\d+)", text)):
        raise UsageError(f"--shard takes I/N, such as 3/8, not {text!r}")
    return Shard(int(found[1]), int(found[2]))


def folder_of(out: Path, shard: Shard | None) -> Path:
    """Where a run, or its shard, is recorded."""
    return out if shard is None else shard.folder(out)
