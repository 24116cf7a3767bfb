"""The exact checker of the built-in task: the label of any step of any solution."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.builtin.problems import SIGNS, Quantity, Relation, WordProblem

TERM = r"(?:(?P<{owner}>[A-Za-z ]+)'s )?(?P<{number}>\d+)"
DERIVATION = re.compile(
    r"(?P<name>[A-Za-z ]+?) (?P<verb>has|costs|weighs|walks) "
    + TERM.format(owner="owner1", number="number1")
    + r" (?P<sign>[-+*/]) "
    + TERM.format(owner="owner2", number="number2")
    + r" = (?P<value>\d+) (?P<unit>[a-z]+)\."
)
ANSWER = re.compile(r"The answer is (\d+)\.")


def label_steps(problem: WordProblem, steps: Sequence[str]) -> list[int]:
    """Label every step, as PRM800K means its labels. Returns [len(steps)] of -1, 0, +1.

    +1: correct and needed. 0: correct, but no progress: derived before, given in the question,
    or not needed for the answer. -1: wrong: another relation, source, value or unit than the
    facts say, a source not derived yet, an answer before the target is known, no known form.
    """
    by_name = {_fold(q.name): q for q in problem.quantities}
    needed = {_fold(name) for name in problem.needed()}
    known = {name for name, q in by_name.items() if q.relation is Relation.GIVEN}
    answered = False
    labels = []
    for step in steps:
        label = -1
        if said := ANSWER.fullmatch(step.strip()):
            if int(said[1]) == problem.answer and _fold(problem.target) in known:
                label, answered = (0 if answered else 1), True
        elif (parsed := DERIVATION.fullmatch(step.strip())) and _derives(problem, by_name, known, parsed):
            name = _fold(parsed["name"])
            label = 1 if name in needed and name not in known and not answered else 0
            known.add(name)
        labels.append(label)
    return labels


def _derives(problem: WordProblem, by_name: dict[str, Quantity], known: set[str], said: re.Match[str]) -> bool:
    """True if the parsed step is what the facts say, from quantities already known."""
    quantity = by_name.get(_fold(said["name"]))
    if quantity is None or quantity.relation is Relation.GIVEN:
        return False
    sources = [(_fold(s), by_name[_fold(s)].value) for s in quantity.sources]
    expected: list[tuple[str, int]] = list(sources)
    if quantity.relation is not Relation.TOGETHER:
        expected.append(("", quantity.number))
    stated = [(_fold(said[f"owner{i}"] or ""), int(said[f"number{i}"])) for i in (1, 2)]
    if said["sign"] in "+*":  # the order of the terms does not matter
        expected.sort()
        stated.sort()
    return (
        (said["verb"], said["unit"], said["sign"]) == (problem.verb, problem.unit, SIGNS[quantity.relation])
        and stated == expected
        and int(said["value"]) == quantity.value
        and all(name in known for name, _ in sources)
    )


def _fold(name: str) -> str:
    return name[:1].lower() + name[1:]
