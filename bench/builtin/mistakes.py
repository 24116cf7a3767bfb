"""Synthetic mistakes: solutions with an error in one step, as unlimited training data for reward models.

The policy's own samples contain too few errors of most kinds for a reward model to learn, from scratch, that
each part of a step must be compared with what it should be. Here every part is wrong often: the name, a
source, a value, a term, the sign, the result, its copy, and the form of the sentence. The exact checker
labels the outcome.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from bench.tasks.generated.checker import label_steps
from bench.tasks.generated.graph import Quantity, Relation, compute
from bench.tasks.generated.problems import WordProblem
from bench.tasks.generated.wording import SIGNS, THEMES, step_text

GOES_WRONG = 0.75
"""Share of the solutions in which a wrong step is attempted."""
ASIDE = 0.08
"""Probability of a correct but useless step before each step."""
IN_ANOTHER_ORDER = 0.3
"""Share of the solutions whose steps are in another order than the worked solution's."""
FOLLOWED_UP = 0.6
"""Share of the wrong steps whose remainder is consistent with the mistake."""
OPERATIONS = {sign: relation for relation, sign in SIGNS.items() if relation is not Relation.TOGETHER}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One step.

    right: the step that would have been correct here; the step itself if it is not wrong, "" if a correct
        step would not even begin in the same way.
    """

    text: str
    label: int
    right: str


@dataclass(slots=True)
class _Parts:
    """The parts of a step's text, each of which can be changed."""

    name: str
    owners: list[str]
    values: list[int]
    terms: list[int]
    sign: str
    result: int
    value: int
    verb: str
    unit: str

    def calculate(self) -> None:
        """Recompute the result from the terms and the sign."""
        relation, (left, right) = OPERATIONS[self.sign], self.terms
        self.result = self.value = abs(compute(relation, [left], right)) % 100

    def __str__(self) -> str:
        known = " and ".join(f"{o} {self.verb} {v}" for o, v in zip(self.owners, self.values, strict=True))
        left, right = self.terms
        return (
            f"For {self.name}: {known}, {left} {self.sign} {right} = {self.result}, "
            f"so {self.name} {self.verb} {self.value} {self.unit}."
        )


def attempt(problem: WordProblem, rng: random.Random) -> list[Attempt]:
    """A solution up to its first error, or a whole one without errors. Labels are the checker's."""
    writer = _Writer(problem, rng)
    wrong_at = rng.randrange(len(problem.steps)) if rng.random() < GOES_WRONG else None
    for number, right in enumerate(writer.plan()):
        writer.digress()
        if number == wrong_at and (wrong := writer.wrong()):
            return [*writer.done, wrong]
        writer.write(right, 1)
    return writer.done


class _Writer:
    """Writes a solution step by step and keeps track of the quantities that are known."""

    def __init__(self, problem: WordProblem, rng: random.Random) -> None:
        self.problem, self.rng = problem, rng
        self.by_name = {q.name: q for q in problem.quantities}
        self.derived = [q for q in problem.quantities if q.relation is not Relation.GIVEN]
        self.needed = problem.needed()
        self.known = {q.name for q in problem.quantities if q.relation is Relation.GIVEN}
        self.given = sorted(self.known)
        self.done: list[Attempt] = []

    def plan(self) -> Iterator[Quantity | None]:
        """The quantities to derive, in a possible order, then None for the answer."""
        left = [q for q in self.derived if q.name in self.needed]
        shuffled = self.rng.random() < IN_ANOTHER_ORDER
        while left:
            ready = [q for q in left if self.known.issuperset(q.sources)]
            left.remove(quantity := self.rng.choice(ready) if shuffled else ready[0])
            yield quantity
        yield None

    def write(self, quantity: Quantity | None, label: int) -> None:
        text = self.problem.steps[-1]
        if quantity is not None:
            text = step_text(self.problem.verb, self.problem.unit, quantity, self.by_name)
            self.known.add(quantity.name)
        self.done.append(Attempt(text, label, text))

    def digress(self) -> None:
        """Occasionally derive a quantity that is not needed or already known."""
        while self.rng.random() < ASIDE:
            useless = [
                q for q in self.derived
                if self.known.issuperset(q.sources) and (q.name not in self.needed or q.name in self.known)
            ]  # fmt: skip
            if not useless:
                return
            self.write(self.rng.choice(useless), 0)

    def wrong(self) -> Attempt | None:
        """A wrong step. None if the drawn kind is impossible here, or if the step happens to be right."""
        ready = [q for q in self.derived if self.known.issuperset(q.sources) and q.name not in self.known]
        unready = [q for q in self.derived if not self.known.issuperset(q.sources)]
        kind = self.rng.random()
        right = ""
        if kind < 0.1:
            text = f"The answer is {self.rng.choice([self.number(), self.problem.answer])}."
            if self.problem.target in self.known:
                right = self.problem.steps[-1]
        elif kind < 0.22 and unready:
            text = str(self.guessed(self.rng.choice(unready)))
        elif kind < 0.28:
            text = str(self.renamed(self.rng.choice(self.derived)))
        elif ready:
            candidates = [q for q in ready if q.name in self.needed and self.rng.random() < 0.8] or ready
            parts = self.parts(self.rng.choice(candidates))
            right = str(parts)
            text = self.corrupted(parts)
        else:
            return None
        if label_steps(self.problem, [*(step.text for step in self.done), text])[-1] != -1:
            return None
        return Attempt(text, -1, right)

    def number(self) -> int:
        """A number of the problem, or a random one."""
        quantity = self.rng.choice(self.problem.quantities)
        return self.rng.choice([self.rng.randint(2, 60), quantity.value, quantity.number or 2])

    def parts(self, quantity: Quantity) -> _Parts:
        values = [self.by_name[name].value for name in quantity.sources]
        terms = [*values, quantity.number][:2]
        return _Parts(
            quantity.name, list(quantity.sources), values, terms, SIGNS[quantity.relation],
            quantity.value, quantity.value, self.problem.verb, self.problem.unit,
        )  # fmt: skip

    def guessed(self, quantity: Quantity) -> _Parts:
        """A step whose sources are not known yet, with true values, wrong values or other sources."""
        parts = self.parts(quantity)
        if self.rng.random() < 0.7:
            parts.values = [self.number() for _ in parts.values]
            parts.terms = [*parts.values, parts.terms[-1]][:2]
            parts.calculate()
        if self.rng.random() < 0.3:
            parts.owners = [self.rng.choice(sorted(self.known)) for _ in parts.owners]
        return parts

    def renamed(self, quantity: Quantity) -> _Parts:
        """A step about a given quantity, or about one that the problem does not mention."""
        others = {n for theme in THEMES if theme.verb == self.problem.verb for n in theme.names}
        parts = self.parts(quantity)
        parts.name = self.rng.choice([self.rng.choice(self.given), self.rng.choice(sorted(others))])
        if self.rng.random() < 0.5:
            parts.owners = [self.rng.choice(sorted(self.known)) for _ in parts.owners]
            parts.values = [self.by_name[name].value for name in parts.owners]
        return parts

    def corrupted(self, parts: _Parts) -> str:
        """The text of a step with one mistake in it."""
        rng = self.rng
        kinds = {"owner": 28, "value": 10, "term": 12, "sign": 20, "result": 18, "copy": 5, "form": 7}
        [kind] = rng.choices([*kinds], [*kinds.values()])
        followed, at = rng.random() < FOLLOWED_UP, rng.randrange(len(parts.owners))
        match kind:
            case "form":
                return _garbled(str(parts), rng)
            case "owner":
                self.other_owner(parts, at)
            case "value":
                parts.values[at] = self.number()
                if followed:
                    parts.terms[at] = parts.values[at]
            case "term":
                parts.terms[rng.randrange(2)] = self.number()
            case "sign":
                parts.sign = rng.choice([sign for sign in OPERATIONS if sign != parts.sign])
            case "result":
                near = parts.result + rng.choice([-10, -2, -1, 1, 2, 10])
                parts.result = rng.choice([self.number(), abs(near), *parts.terms])
                if followed:
                    parts.value = parts.result
                return str(parts)
            case _:
                parts.value = self.number()
                return str(parts)
        if followed:
            parts.calculate()
        return str(parts)

    def other_owner(self, parts: _Parts, at: int) -> None:
        """Replace, remove or add a source, mostly with the true value of the new one."""
        rng = self.rng
        others = [name for name in self.by_name if name != parts.owners[at]]
        known = [name for name in others if name in self.known and rng.random() < 0.8]
        other = rng.choice(known or others)
        value = self.by_name[other].value
        if len(parts.owners) == 2 and rng.random() < 0.3:
            del parts.owners[at], parts.values[at]
            parts.sign, parts.terms = rng.choice([*OPERATIONS]), [parts.values[0], self.number()]
        elif len(parts.owners) == 1 and rng.random() < 0.15:
            parts.owners.append(other)
            parts.values.append(value)
            parts.sign, parts.terms = "+", list(parts.values)
        else:
            parts.owners[at] = other
            if rng.random() < 0.8:
                parts.values[at] = parts.terms[at] = value


def _garbled(text: str, rng: random.Random) -> str:
    """The text with words deleted, inserted or replaced, or cut off."""
    words = text.split(" ")
    at = rng.randrange(1, len(words))
    match rng.randrange(4):
        case 0:
            del words[at : at + rng.randint(1, 6)]
        case 1:
            words.insert(at, rng.choice(words))
        case 2:
            words = words[:at]
        case _:
            words[at] = rng.choice(words)
    return " ".join(words)
