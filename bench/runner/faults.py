"""Collects everything that is wrong with a request, so that it is said at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from search.errors import UsageError


class Faults:
    """What is wrong, in the order in which it was noticed; each fault once."""

    def __init__(self) -> None:
        self._messages: dict[str, None] = {}

    def add(self, message: str) -> None:
        self._messages[message] = None

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Note a UsageError of the block and go on after it."""
        try:
            yield
        except UsageError as error:
            for message in error.args:
                self.add(str(message))

    def raise_if_any(self) -> None:
        """Raise UsageError with one message per fault, if there are any."""
        if self._messages:
            raise UsageError(*self._messages)
