"""Steps made wrong by rule, to learn what an error looks like from more problems than people labelled.

As FactCC (Kryściński et al. 2020, arXiv:1910.12840) corrupts claims: a number, an operator or a variable
is exchanged. What was said before, said again, stands for a step that makes no progress.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random

from prm.labels import LabelledSolution

NUMBER = re.compile(r"\d+(?:\.\d+)?")
OPERATOR = re.compile(r"(?<=[\w)} ])[-+*/<>](?=[\w({\\ $])")
FORMULA = re.compile(r"\$[^$]+\$")
VARIABLE = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z$])")

EXCHANGED = {"+": "-", "-": "+", "*": "+", "/": "*", "<": ">", ">": "<"}
REPEATED = 0.4
"""Share of the right steps that have beside them what was said before."""


def corrupted(solution: LabelledSolution) -> Iterator[LabelledSolution]:
    """A right solution, cut into sentences, and beginnings of it whose last step is none of its own.

    Each step that can be is made wrong, and only such steps count as right ones: what tells the two apart
    is what was exchanged. The same solution gives the same records.
    """
    steps = tuple(s for step in solution.steps for s in SENTENCE_END.split(step) if s.strip())
    whole = replace(solution, steps=steps, labels=tuple(1 for _ in steps), values=(), context=())
    beside = list(_beside(whole, 1.0))
    wrong = {len(s.steps) - 1 for s in beside if s.labels[-1] == -1}
    yield replace(whole, context=tuple(i for i in range(len(steps)) if i not in wrong))
    yield from beside


def augmented(solution: LabelledSolution, share: float) -> Iterator[LabelledSolution]:
    """A labelled solution, and beginnings of it that end beside a right step of its own, at this share."""
    yield solution
    yield from _beside(solution, share)


def _beside(solution: LabelledSolution, share: float) -> Iterator[LabelledSolution]:
    """Beginnings whose last step stands beside a right one of the solution, at this share of these.

    It is the step made wrong (-1), or what was said before, a sentence of the question or a step (0).
    """
    text = "\n".join((solution.question, *solution.steps))
    which, rng = Random(f"which {text}"), Random(text)
    asked = [s for s in SENTENCE_END.split(solution.question) if s.strip()]

    def ending(before: Sequence[str], last: str, label: int) -> LabelledSolution:
        labels = (*(1 for _ in before), label)
        return LabelledSolution(
            solution.question, (*before, last), labels, solution.source, solution.split, "corruption",
            context=tuple(range(len(before))),
        )  # fmt: skip

    for i in solution.counted:
        if solution.labels[i] != 1 or which.random() >= share:
            continue
        before = solution.steps[:i]
        said = " ".join((solution.question, *before))
        if (wrong := made_wrong(solution.steps[i], said, rng)) is not None:
            yield ending(before, wrong, -1)
        if rng.random() < REPEATED and (earlier := [*asked, *before]):
            yield ending(before, rng.choice(earlier), 0)


def made_wrong(step: str, before: str, rng: Random) -> str | None:
    """The step with a number (most often), an operator or a variable exchanged; None if it has none.

    before: all that was said until then, whose numbers are the likeliest to be mistaken for one another.
    """
    ways: list[Callable[[], str | None]] = [
        *3 * (lambda: _number(step, before, rng),), lambda: _operator(step, rng), lambda: _variable(step, rng)
    ]  # fmt: skip
    rng.shuffle(ways)
    return next((wrong for way in ways if (wrong := way()) is not None and wrong != step), None)


def _number(step: str, before: str, rng: Random) -> str | None:
    if not (found := list(NUMBER.finditer(step))):
        return None
    at = rng.choice((found[-1], rng.choice(found)))  # the last one is often the result
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
    if not (found := list(OPERATOR.finditer(step))):
        return None
    at = rng.choice(found)
    return _with(step, at, EXCHANGED[at.group()])


def _variable(step: str, rng: Random) -> str | None:
    found = [v for f in FORMULA.finditer(step) for v in VARIABLE.finditer(step, f.start(), f.end())]
    names = sorted({v.group() for v in found})
    if len(names) < 2:
        return None
    at = rng.choice(found)
    return _with(step, at, rng.choice([name for name in names if name != at.group()]))


def _with(step: str, at: re.Match[str], new: str) -> str:
    return step[: at.start()] + new + step[at.end() :]
