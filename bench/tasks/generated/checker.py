"""The exact checker of the built-in task: the label of any step of any solution."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.tasks.generated.problems import SIGNS, Relation, WordProblem

VERB = r"(?:has|costs|weighs|walks)"
DERIVATION = re.compile(
    r"For (?P<name>[A-Za-z ]+?): "
    rf"(?P<owner1>[A-Za-z ]+?) (?P<verb>{VERB}) (?P<known1>\d+)"
    rf"(?: and (?P<owner2>[A-Za-z ]+?) (?P=verb) (?P<known2>\d+))?, "
    r"(?P<term1>\d+) (?P<sign>[-+*/]) (?P<term2>\d+) = (?P<result>\d+), "
    r"so (?P=name) (?P=verb) (?P<value>\d+) (?P<unit>[a-z]+)\."
)
ANSWER = re.compile(r"The answer is (\d+)\.")


def label_steps(problem: WordProblem, steps: Sequence[str]) -> list[int]:
    """Label every step, as PRM800K means its labels. Returns [len(steps)] of -1, 0, +1.

    +1: correct and needed. 0: correct, but no progress: derived before, given in the question,
    or not needed for the answer. -1: wrong: another relation, source, value or unit than the
    facts say, a source not derived yet, an answer before the target is known, no known form.
    """
    needed = problem.needed()
    known = {q.name for q in problem.quantities if q.relation is Relation.GIVEN}
    answered = False
    labels = []
    for step in steps:
        label = -1
        if said := ANSWER.fullmatch(step.strip()):
            if int(said[1]) == problem.answer and problem.target in known:
                label, answered = (0 if answered else 1), True
        elif (parsed := DERIVATION.fullmatch(step.strip())) and _derives(problem, known, parsed):
            name = parsed["name"]
            label = 1 if name in needed and name not in known and not answered else 0
            known.add(name)
        labels.append(label)
    return labels


def _derives(problem: WordProblem, known: set[str], said: re.Match[str]) -> bool:
    """True if the parsed step is what the facts say, from quantities already known."""
    by_name = {q.name: q for q in problem.quantities}
    quantity = by_name.get(said["name"])
    if quantity is None or quantity.relation is Relation.GIVEN:
        return False
    stated = {said["owner1"]: int(said["known1"])}
    if said["owner2"] is not None:
        stated[said["owner2"]] = int(said["known2"])
    terms = (
        [*stated.values()] if quantity.relation is Relation.TOGETHER else [*stated.values(), quantity.number]
    )
    said_terms = [int(said["term1"]), int(said["term2"])]
    if said["sign"] in "+*":  # the order of the terms does not matter
        terms.sort()
        said_terms.sort()
    return (
        (said["verb"], said["unit"], said["sign"]) == (problem.verb, problem.unit, SIGNS[quantity.relation])
        and stated == {name: by_name[name].value for name in quantity.sources}
        and said_terms == terms
        and int(said["result"]) == int(said["value"]) == quantity.value
        and known.issuperset(quantity.sources)
    )
