"""How engines that run side by side divide the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceShare:
    """Which of how many equal parts is an engine's: of a CPU's cores, or of a GPU's memory."""

    index: int = 0
    of: int = 1

    def cores(self, cores: Sequence[int]) -> Sequence[int]:
        """Neighbours; one that it shares, if there are fewer cores than parts."""
        first, end = (i * len(cores) // self.of for i in (self.index, self.index + 1))
        return cores[first : max(end, first + 1)]

    @property
    def gpu_memory(self) -> float:
        """Of the whole: vLLM refuses what is not free, and a tenth is left to others."""
        return round(0.9 / self.of, 3)

    def split(self, among: int) -> tuple[DeviceShare, ...]:
        return tuple(DeviceShare(self.index * among + i, self.of * among) for i in range(among))


WHOLE = DeviceShare()
