"""The built-in task: arithmetic word problems over a random dependency graph.

One problem and its worked solution:

    Ann has 7 marbles. Ben owns 12 more marbles than Ann. Dan has 5 marbles. Cat owns as many
    marbles as Ann and Ben together. How many marbles does Cat have?

    For Ben: Ann has 7, 7 + 12 = 19, so Ben has 19 marbles.
    For Cat: Ann has 7 and Ben has 19, 7 + 19 = 26, so Cat has 26 marbles.
    The answer is 26.

Every number, name and wording is drawn from a seed, so the task needs no data file. Which split
a problem belongs to is a property of the problem itself (`split_of`), so no two splits can share
one, whatever the seeds; names, units and wording do not count as a difference.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

SPLITS = {"validation": range(0, 3), "test": range(3, 6), "train": range(6, 100)}
"""Hundredths of all problems, by hash."""
JOIN = 0.35
"""How often a quantity is made of two others: what turns the chain into a graph."""
PROMPT = "Question: {question}\n"
"""What the models read before a solution. No name comes first in it, so each is one and the same token."""
MOST_CHANGE = 20
"""The largest n of "n more than" and "n fewer than"."""
MOST_NAMES = 20
"""Quantities that every theme has names for."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """steps: derivations in the worked solution, the answer line not counted.

    distractors: most quantities that the answer does not depend on.
    max_value: no quantity exceeds it; at least 40, so that every relation stays possible.
    Raises ValueError if no such problem can be drawn.
    """

    min_steps: int = 2
    max_steps: int = 8
    distractors: int = 3
    max_value: int = 60

    def __post_init__(self) -> None:
        if not 1 <= self.min_steps <= self.max_steps:
            raise ValueError(
                f"{self.min_steps} to {self.max_steps} steps: must be 1 or more, the least first"
            )
        if self.distractors < 0 or 2 * self.max_steps + self.distractors > MOST_NAMES:
            raise ValueError(
                f"{self.max_steps} steps and {self.distractors} distractors: a problem has names for "
                f"{MOST_NAMES} quantities, and each step takes up to two"
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
    """What one fact defines. `number` is the n of "n more than" (2 for half, 0 for together)."""

    name: str
    relation: Relation
    sources: tuple[str, ...]
    number: int
    value: int


@dataclass(frozen=True, slots=True)
class Theme:
    """How a kind of quantity is worded. {s} subject, {o} object, {p} second object, {n}, {u} unit."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    verb: str
    question: str
    facts: dict[Relation, tuple[str, ...]]


PEOPLE = tuple(
    "Ann Ben Cat Dan Eve Fay Gus Hal Ivy Jon Kim Leo Mia Ned Ola Pam Quin Ray Sue Tom Una Vic Wes Zoe".split()
)
THINGS = tuple(
    f"the {noun}"
    for noun in "kite drum lamp book vase desk tent bike coat mask ring bell rope sled toy clock chair "
    "brush plate stool".split()
)

THEMES = (
    Theme(
        PEOPLE,
        ("marbles", "coins", "cards", "shells", "stamps", "pens"),
        "has",
        "How many {u} does {s} have?",
        {
            Relation.GIVEN: ("{s} has {n} {u}.",),
            Relation.MORE: ("{s} owns {n} more {u} than {o}.", "Compared with {o}, {s} owns {n} more {u}."),
            Relation.FEWER: (
                "{s} owns {n} fewer {u} than {o}.",
                "Compared with {o}, {s} owns {n} fewer {u}.",
            ),
            Relation.TIMES: ("{s} owns {n} times as many {u} as {o}.",),
            Relation.HALF: ("{s} owns half as many {u} as {o}.", "{s} owns half of what {o} owns."),
            Relation.TOGETHER: ("{s} owns as many {u} as {o} and {p} together.",),
        },
    ),
    Theme(
        THINGS,
        ("dollars", "cents"),
        "costs",
        "How many {u} does {s} cost?",
        {
            Relation.GIVEN: ("{s} costs {n} {u}.",),
            Relation.MORE: ("{s} is {n} {u} dearer than {o}.", "Compared with {o}, {s} is {n} {u} dearer."),
            Relation.FEWER: (
                "{s} is {n} {u} cheaper than {o}.",
                "Compared with {o}, {s} is {n} {u} cheaper.",
            ),
            Relation.TIMES: ("{s} is {n} times as dear as {o}.",),
            Relation.HALF: ("{s} is half as dear as {o}.", "{s} is half the price of {o}."),
            Relation.TOGETHER: ("{s} is as dear as {o} and {p} together.",),
        },
    ),
    Theme(
        THINGS,
        ("grams", "pounds"),
        "weighs",
        "How many {u} does {s} weigh?",
        {
            Relation.GIVEN: ("{s} weighs {n} {u}.",),
            Relation.MORE: ("{s} is {n} {u} heavier than {o}.", "Compared with {o}, {s} is {n} {u} heavier."),
            Relation.FEWER: (
                "{s} is {n} {u} lighter than {o}.",
                "Compared with {o}, {s} is {n} {u} lighter.",
            ),
            Relation.TIMES: ("{s} is {n} times as heavy as {o}.",),
            Relation.HALF: ("{s} is half as heavy as {o}.", "{s} is half the weight of {o}."),
            Relation.TOGETHER: ("{s} is as heavy as {o} and {p} together.",),
        },
    ),
    Theme(
        PEOPLE,
        ("minutes", "hours"),
        "walks",
        "How many {u} does {s} walk?",
        {
            Relation.GIVEN: ("{s} walks {n} {u}.",),
            Relation.MORE: (
                "{s} goes {n} {u} longer than {o}.",
                "Compared with {o}, {s} goes {n} {u} longer.",
            ),
            Relation.FEWER: ("{s} goes {n} {u} less than {o}.", "Compared with {o}, {s} goes {n} {u} less."),
            Relation.TIMES: ("{s} goes {n} times as long as {o}.",),
            Relation.HALF: ("{s} goes half as long as {o}.",),
            Relation.TOGETHER: ("{s} goes as long as {o} and {p} together.",),
        },
    ),
)


@dataclass(frozen=True, slots=True)
class WordProblem:
    """A problem with all that is true about it.

    quantities: in the order of the facts; a fact only names quantities of earlier facts.
    steps: the worked solution, one line each, the last one "The answer is N.".
    """

    id: str
    question: str
    verb: str
    unit: str
    quantities: tuple[Quantity, ...]
    target: str
    steps: tuple[str, ...]
    answer: int

    @property
    def n_steps(self) -> int:
        """Derivations in the worked solution; `Difficulty.min_steps` to `max_steps`."""
        return len(self.steps) - 1

    def needed(self) -> frozenset[str]:
        """Names of the quantities that the answer depends on, the target included."""
        return _ancestors({q.name: q for q in self.quantities}, self.target)


def generate(split: str, seed: int, n: int, difficulty: Difficulty = Difficulty()) -> Iterator[WordProblem]:
    """Yield `n` different problems of a split: a pure function of its arguments.

    Raises ValueError if there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: there is {', '.join(SPLITS)}")
    rng = random.Random(f"{split}/{seed}/{difficulty}")
    seen: set[str] = set()
    while len(seen) < n:
        n_steps = rng.randint(difficulty.min_steps, difficulty.max_steps)
        quantities, target = _draw_graph(rng, n_steps, difficulty)
        if split_of(quantities, target) != split:
            continue
        problem = _word(rng, f"{split}/{seed}/{len(seen)}", quantities, target)
        if problem.question not in seen:
            seen.add(problem.question)
            yield problem


def split_of(quantities: tuple[Quantity, ...], target: str) -> str:
    """The split of a problem: a hash of what is to be calculated, whatever the names and the order."""
    by_name = {q.name: q for q in quantities}

    def expression(name: str) -> str:
        q = by_name[name]
        return f"{q.relation}({q.number}, {', '.join(sorted(map(expression, q.sources)))})"

    digest = blake2b(expression(target).encode(), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def _ancestors(by_name: dict[str, Quantity], target: str) -> frozenset[str]:
    found, todo = set[str](), [target]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(by_name[name].sources)
    return frozenset(found)


def _draw_graph(rng: random.Random, n_steps: int, difficulty: Difficulty) -> tuple[tuple[Quantity, ...], str]:
    """A graph whose target needs exactly `n_steps` derivations, names being "0", "1", ..."""
    while True:
        drawn: list[Quantity] = []
        try:
            target = _derive(rng, drawn, n_steps, difficulty.max_value)
        except _DeadEnd:
            continue
        _distract(rng, drawn, rng.randint(0, difficulty.distractors), difficulty.max_value)
        return _shuffle(rng, drawn), target.name


class _DeadEnd(Exception):
    """No relation fits the values drawn so far; draw again."""


def _derive(rng: random.Random, drawn: list[Quantity], n_steps: int, max_value: int) -> Quantity:
    """Append a quantity that needs `n_steps` derivations, after all it depends on."""
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
    """Append a quantity defined by `source`, and maybe one of `others`, that keeps within bounds."""
    options = {
        Relation.MORE: range(2, min(MOST_CHANGE, max_value - source.value) + 1),
        Relation.FEWER: range(2, min(MOST_CHANGE, source.value - 2) + 1),
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


def _distract(rng: random.Random, drawn: list[Quantity], distractors: int, max_value: int) -> None:
    """Append quantities that nothing depends on, given or derived."""
    wanted = list(drawn)
    for _ in range(distractors):
        if rng.random() < 0.3:
            _append(rng, drawn, Relation.GIVEN, (), rng.randint(2, max_value // 3), max_value)
        else:
            _relate(rng, drawn, rng.choice(wanted), wanted, max_value)


def _shuffle(rng: random.Random, drawn: list[Quantity]) -> tuple[Quantity, ...]:
    """In any order in which each comes after its sources.

    So the value that a step needs is often not the last one found, and has to be looked up.
    """
    left, order, placed = list(drawn), list[Quantity](), set[str]()
    while left:
        ready = [q for q in left if placed.issuperset(q.sources)]
        left.remove(chosen := rng.choice(ready))
        order.append(chosen)
        placed.add(chosen.name)
    return tuple(order)


def _word(rng: random.Random, id: str, quantities: tuple[Quantity, ...], target: str) -> WordProblem:
    """Give a graph its names, unit and wording, and work out its solution."""
    theme = rng.choice(THEMES)
    unit = rng.choice(theme.units)
    names = dict(zip((q.name for q in quantities), rng.sample(theme.names, len(quantities)), strict=True))
    named = tuple(
        Quantity(names[q.name], q.relation, tuple(names[s] for s in q.sources), q.number, q.value)
        for q in quantities
    )
    facts = [
        _capitalise(
            rng.choice(theme.facts[q.relation]).format(
                s=q.name,
                n=q.number,
                u=unit,
                o=(*q.sources, "")[0],
                p=q.sources[-1] if q.sources else "",
            )
        )
        for q in named
    ]
    question = " ".join([*facts, theme.question.format(s=names[target], u=unit)])
    by_name = {q.name: q for q in named}
    needed = _ancestors(by_name, names[target])
    steps = [
        step_text(theme.verb, unit, q, by_name)
        for q in named
        if q.name in needed and q.relation is not Relation.GIVEN
    ]
    answer = by_name[names[target]].value
    return WordProblem(
        id, question, theme.verb, unit, named, names[target], (*steps, f"The answer is {answer}."), answer
    )


SIGNS = {
    Relation.MORE: "+",
    Relation.FEWER: "-",
    Relation.TIMES: "*",
    Relation.HALF: "/",
    Relation.TOGETHER: "+",
}


def step_text(verb: str, unit: str, quantity: Quantity, by_name: dict[str, Quantity]) -> str:
    """The worked step that derives `quantity`: "For Ben: Ann has 7, 7 + 12 = 19, so Ben has 19 marbles."."""
    values = [by_name[name].value for name in quantity.sources]
    said = " and ".join(
        f"{name} {verb} {value}" for name, value in zip(quantity.sources, values, strict=True)
    )
    terms = values if quantity.relation is Relation.TOGETHER else [*values, quantity.number]
    sum_ = f" {SIGNS[quantity.relation]} ".join(map(str, terms))
    return (
        f"For {quantity.name}: {said}, {sum_} = {quantity.value}, "
        f"so {quantity.name} {verb} {quantity.value} {unit}."
    )


def _capitalise(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
