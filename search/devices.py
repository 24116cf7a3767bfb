"""How engines that run side by side divide the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceShare:
    """One of `of` equal shares of a machine: of a CPU's cores, or of a GPU's memory. `index` starts at 0."""

    index: int = 0
    of: int = 1

    def cores(self, cores: Sequence[int]) -> Sequence[int]:
        """The contiguous cores of this share. With fewer cores than shares, shares overlap by one core."""
        first, end = (i * len(cores) // self.of for i in (self.index, self.index + 1))
        return cores[first : max(end, first + 1)]

    @property
    def gpu_memory(self) -> float:
        """As a fraction of all memory. A tenth stays free for other processes: vLLM refuses to start without
        the memory that it is promised.
        """
        return round(0.9 / self.of, 3)

    def split(self, among: int) -> tuple[DeviceShare, ...]:
        """Divide this share into `among` equal ones."""
        return tuple(DeviceShare(self.index * among + i, self.of * among) for i in range(among))


WHOLE = DeviceShare()
