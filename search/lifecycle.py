"""How models are opened and closed: the one lifecycle of every policy and every reward model."""

from __future__ import annotations

from typing import Self


class ManagedModel:
    """An async context manager. Subclasses that hold an engine or connections override `open` and `close`.

        async with VLLMPolicy("Qwen/Qwen2.5-Math-1.5B-Instruct") as policy:
            ...
    """

    async def open(self) -> None:
        """Make the model ready for calls on the running event loop. Raises UsageError or PolicyError."""

    async def close(self) -> None:
        """Free what the model holds. May be called again, and without `open`."""

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
