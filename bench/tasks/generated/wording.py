"""How word problems and their worked solutions are phrased: themes, facts and steps."""

from __future__ import annotations

from dataclasses import dataclass

from bench.tasks.generated.graph import Quantity, Relation


@dataclass(frozen=True, slots=True)
class Theme:
    """The wording of one kind of quantity, with placeholders.

    {s} is the subject, {o} the object, {p} a second object, {n} the number, and {u} the unit.
    """

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
    known = " and ".join(
        f"{name} {verb} {value}" for name, value in zip(quantity.sources, values, strict=True)
    )
    terms = values if quantity.relation is Relation.TOGETHER else [*values, quantity.number]
    expression = f" {SIGNS[quantity.relation]} ".join(map(str, terms))
    return (
        f"For {quantity.name}: {known}, {expression} = {quantity.value}, "
        f"so {quantity.name} {verb} {quantity.value} {unit}."
    )
