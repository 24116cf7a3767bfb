"""The built-in task: arithmetic word problems over a random dependency graph.

A problem and its worked solution:

    Ann has 7 marbles. Ben owns 12 more marbles than Ann. Dan has 5 marbles. Cat owns as many
    marbles as Ann and Ben together. How many marbles does Cat have?

    For Ben: Ann has 7, 7 + 12 = 19, so Ben has 19 marbles.
    For Cat: Ann has 7 and Ben has 19, 7 + 19 = 26, so Cat has 26 marbles.
    The answer is 26.

All numbers, names and wordings are drawn from a seed, so the task needs no data file. The split of a
problem is determined by the problem itself (`split_of`), so two splits never share a problem, whatever
the seeds. Problems that differ only in names, units or wording count as the same problem.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from bench.tasks.generated.graph import Difficulty, Quantity, Relation, ancestors, draw_graph
from bench.tasks.generated.wording import THEMES, step_text

SPLITS = {"validation": range(0, 3), "test": range(3, 6), "train": range(6, 100)}
"""Hundredths of all problems, by hash."""
PROMPT = "Question: {question}\n"
"""What the models read before a solution. It never begins with a name, so each name is always one token."""


@dataclass(frozen=True, slots=True)
class WordProblem:
    """A problem and everything that is true about it.

    quantities: in the order of the facts; a fact refers only to quantities of earlier facts.
    steps: the worked solution, one line each; the last is "The answer is N.".
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
        """Names of the quantities that the answer depends on, including the target."""
        return ancestors({q.name: q for q in self.quantities}, self.target)


def generate(split: str, seed: int, n: int, difficulty: Difficulty = Difficulty()) -> Iterator[WordProblem]:
    """Yield `n` different problems of a split: a pure function of its arguments.

    Raises ValueError if there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: the splits are {', '.join(SPLITS)}")
    rng = random.Random(f"{split}/{seed}/{difficulty}")
    seen: set[str] = set()
    while len(seen) < n:
        n_steps = rng.randint(difficulty.min_steps, difficulty.max_steps)
        quantities, target = draw_graph(rng, n_steps, difficulty)
        if split_of(quantities, target) != split:
            continue
        problem = _phrase(rng, f"{split}/{seed}/{len(seen)}", quantities, target)
        if problem.question not in seen:
            seen.add(problem.question)
            yield problem


def split_of(quantities: tuple[Quantity, ...], target: str) -> str:
    """The split of a problem: a hash of its calculation, whatever the names and the order of the facts."""
    by_name = {q.name: q for q in quantities}

    def expression(name: str) -> str:
        q = by_name[name]
        return f"{q.relation}({q.number}, {', '.join(sorted(map(expression, q.sources)))})"

    digest = blake2b(expression(target).encode(), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def _phrase(rng: random.Random, id: str, quantities: tuple[Quantity, ...], target: str) -> WordProblem:
    """Give a graph its names, unit and wording, and write its solution."""
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
    needed = ancestors(by_name, names[target])
    steps = [
        step_text(theme.verb, unit, q, by_name)
        for q in named
        if q.name in needed and q.relation is not Relation.GIVEN
    ]
    answer = by_name[names[target]].value
    return WordProblem(
        id, question, theme.verb, unit, named, names[target], (*steps, f"The answer is {answer}."), answer
    )


def _capitalise(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
