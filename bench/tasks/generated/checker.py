"""The exact checker of the built-in task: labels every step of any solution."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.tasks.generated.graph import Relation
from bench.tasks.generated.problems import WordProblem
from bench.tasks.generated.wording import SIGNS

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
    """Label every step, with the meaning that labels have in PRM800K. Returns [len(steps)] of -1, 0, +1.

    +1: correct and needed for the answer.
    0: correct, but no progress: already derived, given in the question, or not needed for the answer.
    -1: wrong: the relation, a source, a value or the unit contradicts the facts, a source has not been
        derived yet, the answer is stated before the target is known, or the step cannot be parsed.
    """
    needed = problem.needed()
    known = {q.name for q in problem.quantities if q.relation is Relation.GIVEN}
    answered = False
    labels = []
    for step in steps:
        label = -1
        if stated := ANSWER.fullmatch(step.strip()):
            if int(stated[1]) == problem.answer and problem.target in known:
                label, answered = (0 if answered else 1), True
        elif (parsed := DERIVATION.fullmatch(step.strip())) and _derives(problem, known, parsed):
            name = parsed["name"]
            label = 1 if name in needed and name not in known and not answered else 0
            known.add(name)
        labels.append(label)
    return labels


def _derives(problem: WordProblem, known: set[str], step: re.Match[str]) -> bool:
    """Whether the parsed step agrees with the facts and uses only known quantities."""
    by_name = {q.name: q for q in problem.quantities}
    quantity = by_name.get(step["name"])
    if quantity is None or quantity.relation is Relation.GIVEN:
        return False
    stated = {step["owner1"]: int(step["known1"])}
    if step["owner2"] is not None:
        stated[step["owner2"]] = int(step["known2"])
    terms = (
        [*stated.values()] if quantity.relation is Relation.TOGETHER else [*stated.values(), quantity.number]
    )
    step_terms = [int(step["term1"]), int(step["term2"])]
    if step["sign"] in "+*":  # the order of the terms does not matter
        terms.sort()
        step_terms.sort()
    return (
        (step["verb"], step["unit"], step["sign"]) == (problem.verb, problem.unit, SIGNS[quantity.relation])
        and stated == {name: by_name[name].value for name in quantity.sources}
        and step_terms == terms
        and int(step["result"]) == int(step["value"]) == quantity.value
        and known.issuperset(quantity.sources)
    )
