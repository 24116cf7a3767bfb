"""How engines that run side by side divide the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEAST = 0.1
"""Of the memory that is divided by sizes, what the smallest engine gets: it needs some beside its weights."""


@dataclass(frozen=True, slots=True)
class DeviceShare:
    """A share of a machine: one of `of` equal shares of a CPU's cores, and a part of a GPU's memory.

    index: starts at 0. part: of the memory, in (0, 1]; None is 1 / `of`.
    """

    index: int = 0
    of: int = 1
    part: float | None = None

    def cores(self, cores: Sequence[int]) -> Sequence[int]:
        """The contiguous cores of this share. With fewer cores than shares, shares overlap by one core."""
        first, end = (i * len(cores) // self.of for i in (self.index, self.index + 1))
        return cores[first : max(end, first + 1)]

    @property
    def memory(self) -> float:
        """The part of the memory, in (0, 1]."""
        return 1 / self.of if self.part is None else self.part

    @property
    def gpu_memory(self) -> float:
        """As a fraction of all memory. A tenth stays free for other processes: vLLM refuses to start without
        the memory that it is promised.
        """
        return round(0.9 * self.memory, 3)

    def split(self, among: int, sizes: Sequence[int | None] = ()) -> tuple[DeviceShare, ...]:
        """Divide this share into `among` ones: cores equally, memory by sizes.

        sizes: of the engines' weights, in bytes. Unless all are given and known, memory is divided equally.
        """
        known = [size for size in sizes if size]
        parts = _parts(known) if len(known) == among else [1 / among] * among
        equal = self.part is None and len(known) != among
        return tuple(
            DeviceShare(self.index * among + i, self.of * among, None if equal else self.memory * part)
            for i, part in enumerate(parts)
        )


def _parts(sizes: Sequence[int]) -> list[float]:
    """In proportion to the sizes, but at least `LEAST` for each (less if they are very many)."""
    least = min(LEAST, 0.5 / len(sizes))
    small: set[int] = set()
    while True:
        left = (1 - least * len(small)) / sum(size for i, size in enumerate(sizes) if i not in small)
        more = {i for i, size in enumerate(sizes) if left * size < least} - small
        if not more:
            return [least if i in small else left * size for i, size in enumerate(sizes)]
        small |= more


WHOLE = DeviceShare()
