"""The dependency graph of a word problem: quantities, and how each is calculated from others."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

JOIN = 0.35
"""Probability that a quantity combines two others, which makes the chain a graph."""
MAX_CHANGE = 20
"""The largest n of "n more than" and "n fewer than"."""
MAX_QUANTITIES = 20
"""Quantities of a problem: every theme has at least this many names."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard a problem is.

    min_steps, max_steps: derivations in the worked solution, not counting the line with the answer.
    distractors: the largest number of quantities that the answer does not depend on.
    max_value: no quantity exceeds it; at least 40, so that every relation remains possible.
    Raises ValueError if no such problem exists.
    """

    min_steps: int = 2
    max_steps: int = 8
    distractors: int = 3
    max_value: int = 60

    def __post_init__(self) -> None:
        if not 1 <= self.min_steps <= self.max_steps:
            raise ValueError(
                f"{self.min_steps} to {self.max_steps} steps: min_steps must be at least 1 and must not "
                "exceed max_steps"
            )
        if self.distractors < 0 or 2 * self.max_steps + self.distractors > MAX_QUANTITIES:
            raise ValueError(
                f"{self.max_steps} steps and {self.distractors} distractors: a problem has names for "
                f"{MAX_QUANTITIES} quantities, and each step needs up to two"
            )
        if self.max_value < 40:
            raise ValueError(f"max_value={self.max_value}: it must be at least 40")


class Relation(StrEnum):
    GIVEN = "given"
    MORE = "more"
    FEWER = "fewer"
    TIMES = "times"
    HALF = "half"
    TOGETHER = "together"


@dataclass(frozen=True, slots=True)
class Quantity:
    """What one fact defines. number: the n of "n more than" (2 for half, 0 for together)."""

    name: str
    relation: Relation
    sources: tuple[str, ...]
    number: int
    value: int


def compute(relation: Relation, sources: list[int], number: int) -> int:
    """The value that a relation gives: the arithmetic of the task, in one place."""
    match relation:
        case Relation.GIVEN:
            return number
        case Relation.MORE:
            return sources[0] + number
        case Relation.FEWER:
            return sources[0] - number
        case Relation.TIMES:
            return sources[0] * number
        case Relation.HALF:
            return sources[0] // 2
        case Relation.TOGETHER:
            return sum(sources)


def ancestors(by_name: dict[str, Quantity], target: str) -> frozenset[str]:
    """Names of the quantities that `target` depends on, `target` included."""
    reached, todo = set[str](), [target]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo.extend(by_name[name].sources)
    return frozenset(reached)


def draw_graph(rng: random.Random, n_steps: int, difficulty: Difficulty) -> tuple[tuple[Quantity, ...], str]:
    """A graph whose target takes exactly `n_steps` derivations. Quantities are named "0", "1", ...

    Returns the quantities, each after its sources, and the target's name.
    """
    while True:
        drawn: list[Quantity] = []
        try:
            target = _derive(rng, drawn, n_steps, difficulty.max_value)
        except _DeadEnd:
            continue
        _distract(rng, drawn, rng.randint(0, difficulty.distractors), difficulty.max_value)
        return _shuffle(rng, drawn), target.name


class _DeadEnd(Exception):
    """No relation fits the values drawn so far: draw again."""


def _derive(rng: random.Random, drawn: list[Quantity], n_steps: int, max_value: int) -> Quantity:
    """Append a quantity that takes `n_steps` derivations, after everything it depends on."""
    if n_steps == 0:
        return _append(rng, drawn, Relation.GIVEN, (), rng.randint(2, max_value // 3), max_value)
    if n_steps > 1 and rng.random() < JOIN:
        left = rng.randint(0, n_steps - 1)
        a = _derive(rng, drawn, left, max_value)
        b = _derive(rng, drawn, n_steps - 1 - left, max_value)
        return _append(rng, drawn, Relation.TOGETHER, (a, b), 0, max_value)
    source = _derive(rng, drawn, n_steps - 1, max_value)
    return _relate(rng, drawn, source, drawn, max_value)


def _relate(
    rng: random.Random, drawn: list[Quantity], source: Quantity, others: list[Quantity], max_value: int
) -> Quantity:
    """Append a quantity defined by `source`, and possibly also by one of `others`, within the bounds."""
    options = {
        Relation.MORE: range(2, min(MAX_CHANGE, max_value - source.value) + 1),
        Relation.FEWER: range(2, min(MAX_CHANGE, source.value - 2) + 1),
        Relation.TIMES: range(2, min(6, max_value // source.value) + 1),
        Relation.HALF: range(2, 3) if source.value % 2 == 0 and source.value >= 4 else range(0),
    }
    earlier = [q for q in others if q is not source and q.value + source.value <= max_value]
    relation = rng.choice([relation for relation, numbers in options.items() if numbers])
    if earlier and rng.random() < JOIN:
        relation = Relation.TOGETHER
        return _append(rng, drawn, relation, (rng.choice(earlier), source), 0, max_value)
    return _append(rng, drawn, relation, (source,), rng.choice(options[relation]), max_value)


def _append(
    rng: random.Random,
    drawn: list[Quantity],
    relation: Relation,
    sources: tuple[Quantity, ...],
    number: int,
    max_value: int,
) -> Quantity:
    value = compute(relation, [s.value for s in sources], number)
    if not 2 <= value <= max_value or len({s.name for s in sources}) < len(sources):
        raise _DeadEnd
    quantity = Quantity(str(len(drawn)), relation, tuple(s.name for s in sources), number, value)
    drawn.append(quantity)
    return quantity


def _distract(rng: random.Random, drawn: list[Quantity], distractors: int, max_value: int) -> None:
    """Append quantities that nothing depends on, given or derived."""
    needed = list(drawn)
    for _ in range(distractors):
        if rng.random() < 0.3:
            _append(rng, drawn, Relation.GIVEN, (), rng.randint(2, max_value // 3), max_value)
        else:
            _relate(rng, drawn, rng.choice(needed), needed, max_value)


def _shuffle(rng: random.Random, drawn: list[Quantity]) -> tuple[Quantity, ...]:
    """Reorder at random, each quantity after its sources.

    As a result, the value that a step needs is often not the one calculated last and must be looked up.
    """
    left, order, placed = list(drawn), list[Quantity](), set[str]()
    while left:
        ready = [q for q in left if placed.issuperset(q.sources)]
        left.remove(chosen := rng.choice(ready))
        order.append(chosen)
        placed.add(chosen.name)
    return tuple(order)
