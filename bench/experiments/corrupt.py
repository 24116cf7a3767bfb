"""Steps corrupted by rule, which teach what an error looks like on more problems than people labelled.

A number, an operator or a variable is replaced by another, as FactCC does for claims (Kryściński et al. 2020,
arXiv:1910.12840). A repetition of an earlier step is an example of a step that makes no progress.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from random import Random

from prm.data.labels import LabelledSolution

NUMBER = re.compile(r"\d+(?:\.\d+)?")
OPERATOR = re.compile(r"(?<=[\w)} ])[-+*/<>](?=[\w({\\ $])")
FORMULA = re.compile(r"\$[^$]+\$")
VARIABLE = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z$])")

REPLACED = {"+": "-", "-": "+", "*": "+", "/": "*", "<": ">", ">": "<"}
REPEATED = 0.4
"""Share of the drawn steps that are followed by a repetition of an earlier step."""


def corrupted(solution: LabelledSolution, share: float) -> Iterator[LabelledSolution]:
    """A right solution, split into sentences, and prefixes of it that end in a corrupted step.

    For a random share of its steps, a prefix ends in a corrupted version of the step (-1), and for some of
    these another prefix ends in a repetition of an earlier step (0). The same solution always gives the
    same records.
    """
    steps = [s for step in solution.steps for s in SENTENCE_END.split(step) if s.strip()]

    def record(*texts: str, label: int) -> LabelledSolution:
        before = tuple(range(len(texts) - 1))
        return LabelledSolution(
            solution.question, texts, (*(1 for _ in before), label), solution.source, solution.split,
            "corruption", context=before,
        )  # fmt: skip

    yield LabelledSolution(
        solution.question, tuple(steps), tuple(1 for _ in steps), solution.source, solution.split,
        solution.produced_by,
    )  # fmt: skip
    rng = Random("\n".join((solution.question, *steps)))
    for i in range(len(steps)):
        if rng.random() >= share:
            continue
        before = steps[:i]
        if (wrong := made_wrong(steps[i], " ".join((solution.question, *before)), rng)) is not None:
            yield record(*before, wrong, label=-1)
        if before and rng.random() < REPEATED:
            yield record(*before, rng.choice(before), label=0)


def made_wrong(step: str, before: str, rng: Random) -> str | None:
    """The step with a number (most often), an operator or a variable replaced; None if it has none.

    before: the text up to the step; its numbers are likely to be confused with each other.
    """
    ways: list[Callable[[], str | None]] = [
        *3 * (lambda: _number(step, before, rng),), lambda: _operator(step, rng), lambda: _variable(step, rng)
    ]  # fmt: skip
    rng.shuffle(ways)
    return next((wrong for way in ways if (wrong := way()) is not None and wrong != step), None)


def _number(step: str, before: str, rng: Random) -> str | None:
    if not (matches := list(NUMBER.finditer(step))):
        return None
    at = rng.choice((matches[-1], rng.choice(matches)))  # the last one is often the result
    old, kind = at.group(), rng.random()
    if kind < 0.35 and (others := [n for n in NUMBER.findall(before) if n != old]):
        return _with(step, at, rng.choice(others))
    if "." in old:
        return _with(step, at, f"{float(old) * rng.choice((0.1, 0.5, 2, 10)):.6g}")
    if kind < 0.7:
        return _with(step, at, str(abs(int(old) + rng.choice((-2, -1, 1, 2, 10)))))
    digit = rng.randrange(len(old))
    return _with(step, at, old[:digit] + rng.choice("0123456789") + old[digit + 1 :])


def _operator(step: str, rng: Random) -> str | None:
    if not (matches := list(OPERATOR.finditer(step))):
        return None
    at = rng.choice(matches)
    return _with(step, at, REPLACED[at.group()])


def _variable(step: str, rng: Random) -> str | None:
    matches = [v for f in FORMULA.finditer(step) for v in VARIABLE.finditer(step, f.start(), f.end())]
    names = sorted({v.group() for v in matches})
    if len(names) < 2:
        return None
    at = rng.choice(matches)
    return _with(step, at, rng.choice([name for name in names if name != at.group()]))


def _with(step: str, at: re.Match[str], new: str) -> str:
    return step[: at.start()] + new + step[at.end() :]
