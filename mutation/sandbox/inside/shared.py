"""Containers that a program and its tests both have.

Each process has a copy of its own. Whenever one of them has the other do something, it also sends the
content of those copies that it has changed since, and the other changes its own copies in place. A list that
the program sorts, keeps or returns is therefore the same list on both sides for as long as both refer to it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from operator import is_
from sys import getrefcount
from typing import Any

MUTABLE = frozenset({list, dict, set, bytearray, deque, OrderedDict, Counter, defaultdict})
"""The types of containers, by exact type."""


class Shared:
    """Numbered objects: one number stands for the same object in both processes.

    objects: by number. numbers: by id. first: the first number of this side's own objects; one side has the
    odd numbers, the other the even ones.
    """

    def __init__(self, first: int) -> None:
        self.objects: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}
        self._next = first
        self._marked: dict[int, list[Any]] = {}
        self._unmarked: dict[int, None] = {}
        self._lasting: set[int] = set()

    def add(self, container: Any, number: int = 0, *, lasting: bool = False) -> int:
        """Share a container, under a number of this side unless it has one of the other side.

        lasting: it is never released.
        """
        if not number:
            number, self._next = self._next, self._next + 2
        self.objects[number] = container
        self.numbers[id(container)] = number
        self._unmarked[number] = None
        if lasting:
            self._lasting.add(number)
        return number

    def keep(self, value: Any, number: int = 0) -> int:
        """Number an object without content."""
        if not number:
            number, self._next = self._next, self._next + 2
        self.objects[number] = value
        self.numbers[id(value)] = number
        return number

    def mark(self) -> None:
        """Take note of what the containers hold, before this side goes on."""
        for number in self._unmarked:
            self._marked[number] = contents(self.objects[number])
        self._unmarked.clear()

    def changed(self) -> list[tuple[int, list[Any]]]:
        """The containers that this side has changed since `mark`: number and content."""
        changed = []
        for number, before in self._marked.items():
            now = contents(self.objects[number])
            if len(now) != len(before) or not all(map(is_, now, before)):
                changed.append((number, now))
        return changed

    def change(self, number: int, parts: list[Any]) -> None:
        """Take over the content that a container has on the other side. Raises KeyError, ValueError."""
        if self._marked.pop(number, None) is None and number not in self._unmarked:
            raise KeyError(number)
        refill(self.objects[number], parts)
        self._unmarked[number] = None

    def release(self) -> list[int]:
        """Let go of the containers to which nothing else on this side refers. Returns their numbers.

        `mark` must follow before this side changes anything.
        """
        return self._release(_ALONE)

    def _release(self, alone: int) -> list[int]:
        """alone: the reference count, in this method, of what only `objects` refers to."""
        released = []
        numbers, self._unmarked = [*self._marked, *self._unmarked], {}
        self._marked.clear()
        for number in numbers:  # what contains another container usually comes first
            value = self.objects[number]
            if getrefcount(value) == alone and number not in self._lasting:
                del self.objects[number], self.numbers[id(value)]
                released.append(number)
            else:
                self._unmarked[number] = None
            value = None
        return released

    def forget(self, numbers: list[int]) -> None:
        """Let go of containers that the other side has released."""
        for number in numbers:
            del self.numbers[id(self.objects.pop(number))]
            if self._marked.pop(number, None) is None:
                del self._unmarked[number]


def _count_alone() -> int:
    for alone in range(10):
        shared = Shared(1)
        shared.add([])
        if shared._release(alone):
            return alone
    raise AssertionError("references are not counted")


_ALONE = _count_alone()


def kind_of(value: Any) -> type | None:
    """The type of container that a value is, or that its class is derived from. None if it is none."""
    return next((kind for kind in type(value).__mro__ if kind in MUTABLE), None)


def contents(value: Any) -> list[Any]:
    """All that a container holds, read with the methods of its built-in type."""
    kind: Any = type(value)
    if kind is list:
        return list(value)
    if kind not in MUTABLE and (kind := kind_of(value)) is list:
        return list(list.__iter__(value))
    if kind is set:
        return list(set.__iter__(value))
    if kind is OrderedDict:
        return [*OrderedDict.keys(value), *OrderedDict.values(value)]
    if kind is deque:
        return [value.maxlen, *deque.__iter__(value)]
    if kind is bytearray:
        return [bytes(value)]
    pairs = [*dict.keys(value), *dict.values(value)]
    return [value.default_factory, *pairs] if kind is defaultdict else pairs


def refill(value: Any, parts: list[Any]) -> None:
    """Give a container what `contents` has returned for its copy, in place."""
    kind = type(value) if type(value) in MUTABLE else kind_of(value)
    if kind is list:
        list.__setitem__(value, slice(None), parts)
    elif kind is set:
        set.clear(value)
        set.update(value, parts)
    elif kind is deque:
        _refill_deque(value, parts)
    elif kind is bytearray:
        value[:] = parts[0]
    else:
        if kind is defaultdict:
            value.default_factory, parts = parts[0], parts[1:]
        half = len(parts) // 2
        base: Any = OrderedDict if kind is OrderedDict else dict
        base.clear(value)
        for key, item in zip(parts[:half], parts[half:], strict=True):
            base.__setitem__(value, key, item)


def _refill_deque(value: deque[Any], parts: list[Any]) -> None:
    if value.maxlen != parts[0]:  # it is only known when the content arrives
        if len(value):
            raise ValueError("the size of a deque cannot change")
        deque.__init__(value, (), parts[0])
    deque.clear(value)
    deque.extend(value, parts[1:])
