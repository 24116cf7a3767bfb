"""What the page knows before any tree is looked at: methods, comparisons, and the results by problem."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench.report.comparison import ALPHA
from bench.report.diagnosis import Diagnosis
from bench.report.grid import Cell, Grid
from bench.report.html.diagnoses import CAUSES, diagnosis_json
from bench.report.html.standings import Standings
from bench.report.html.trees import KINDS
from bench.report.html.words import by_budget, in_short, steps_up
from bench.report.methods import Method
from bench.report.summary import Ending

ANSWER = 80
"""Characters of an answer that lists show; trees have the whole text."""

SOLVED, MISSING = "1", "-"


def index(
    grid: Grid, found: Standings, diagnoses: Sequence[Diagnosis], blocks: Sequence[Sequence[int]], home: Path
) -> dict[str, Any]:
    """Everything but the trees, as JSON values.

    diagnoses: of the methods, in their order. blocks: by cell (those of the first method first) and problem,
        the block that holds the tree, -1 if there is none. home: the folder from which traces are named.
    """
    cells = [(number, cell) for number, method in enumerate(found.methods) for cell in method.cells]
    groups = {g.outcome.problem.id: g.group for _, cell in cells for g in cell.summary.graded}
    causes = [{(loss.problem, loss.seed): CAUSES[loss.cause][0] for loss in d.losses} for d in diagnoses]
    return {
        "title": grid.title, "command": grid.command, "task": grid.task, "policy": grid.policy,
        "prm": grid.prm, "revision": cells[0][1].summary.revision, "alpha": ALPHA, "kinds": KINDS,
        "weight": next((a.prm_weight for _, cell in cells if (a := cell.summary.allowance)), None),
        "missing": list(grid.missing), "best": found.best, "unit": found.unit,
        "causes": {letter: text for letter, text in CAUSES.values()},
        "short": in_short(found), "steps": steps_up(found), "budgets": by_budget(found),
        "problems": [
            {"id": name, "question": problem.question, "reference": grid.references.get(name, ""),
             "group": groups.get(name, "")}
            for name, problem in grid.problems.items()
        ],
        "methods": [
            _method(number, found) | {"diagnosis": diagnosis_json(diagnoses[number])}
            for number in range(len(found.methods))
        ],
        "pairs": [
            {"a": a, "b": b, "text": pair.sentence} for (a, b), pair in found.pairs.items()
        ],
        "cells": [
            {"method": number, "seed": cell.seed, "blocks": blocks[position],
             "trace": os.path.relpath(cell.trace, home)} | _results(grid, cell, causes[number])
            for position, (number, cell) in enumerate(cells)
        ],
    }  # fmt: skip


def _method(number: int, found: Standings) -> dict[str, Any]:
    method, versus = found.methods[number], found.versus.get(number)
    cost, events, n = method.cost, method.events, max(1, method.answers)
    graded = [g for cell in method.cells for g in cell.summary.graded]
    times = None if versus is None else method.tokens / max(1.0, versus.base.tokens)
    return {
        "name": method.name, "strategy": method.strategy, "budget": method.budget, "bound": method.is_bound,
        "seeds": [cell.seed for cell in method.cells], "n": len(method.side.problems),
        "params": method.cells[0].summary.params, "accuracy": method.accuracy, "ci": method.interval,
        "tokens": method.tokens, "times": times, "policy": cost.policy_tokens / n,
        "prm": cost.prm_tokens / n, "total": method.total_tokens, "samples": cost.samples / n,
        "discarded": cost.policy_tokens_discarded / max(1, cost.policy_tokens),
        "backtracks": events.backtracks / n, "duplicates": events.duplicates / n,
        "limits": sum(g.outcome.events.exhausted > 0 for g in graded) / n,
        "unfinished": sum(g.ending in (Ending.UNFINISHED, Ending.WITHOUT_ANSWER) for g in graded) / n,
        "failed": sum(g.ending is Ending.FAILED for g in graded), "seconds": _seconds(method),
        "turns": method.right_by_turn,
        "versus": None if versus is None else {
            "base": found.base(number), "points": versus.comparison.difference,
            "bounds": versus.comparison.interval, "p": versus.p,
        },
        "is_base": method.strategy == found.baseline,
    }  # fmt: skip


def _seconds(method: Method) -> tuple[float, float] | None:
    """The median and the 95th percentile of a problem's seconds; None if they were not measured."""
    outcomes = [g.outcome for cell in method.cells for g in cell.summary.graded]
    seconds = [outcome.seconds for outcome in outcomes if outcome.seconds and not outcome.events.replayed]
    if len(seconds) < 2:
        return None
    return median(seconds), quantiles(seconds, n=20, method="inclusive")[-1]


def _results(grid: Grid, cell: Cell, causes: Mapping[tuple[str, int], str]) -> dict[str, Any]:
    """A cell's results by problem: one letter, the beginning of the answer, and policy tokens for each."""
    graded = {g.outcome.problem.id: g for g in cell.summary.graded}

    def letter(problem: str) -> str:
        if problem not in graded:
            return MISSING
        return SOLVED if graded[problem].correct else causes[problem, cell.seed]

    outcomes = [graded[problem].outcome if problem in graded else None for problem in grid.problems]
    answers = [None if o is None or o.answer is None else " ".join(o.answer.split()) for o in outcomes]
    return {
        "results": "".join(map(letter, grid.problems)),
        "answers": [a if a is None or len(a) <= ANSWER else f"{a[:ANSWER]}…" for a in answers],
        "tokens": [0 if o is None else o.cost.policy_tokens for o in outcomes],
    }
