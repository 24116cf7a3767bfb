"""A grid with the diagnosis of each of its methods, made once for all reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from bench.report.diagnosis import Diagnosis, diagnose
from bench.report.grid import Grid
from bench.report.recorded import read_trace
from bench.report.sides import BASELINE, Graders
from search.errors import UsageError

Watch = Callable[[str], None]
"""Told what is worked on now."""
Diagnoses = Mapping[tuple[str, str], Diagnosis]
"""By strategy and budget."""


@dataclass(frozen=True, slots=True)
class DiagnosedGrid:
    """What reports are written from. graders: of all problems of the grid."""

    grid: Grid
    graders: Graders
    diagnoses: Diagnoses


def diagnosed(grid: Grid, watch: Watch = lambda what: None) -> DiagnosedGrid:
    """Diagnose all methods. Raises UsageError if no cell is finished, or if a trace cannot be read."""
    graders = graders_of(grid)
    return DiagnosedGrid(grid, graders, dict(diagnoses(grid, graders, watch)))


def graders_of(grid: Grid) -> Graders:
    """The graders of all problems of a grid. Raises UsageError if no cell is finished."""
    if not grid.cells:
        raise UsageError("there is nothing to report: no strategy is finished")
    return Graders(read_trace(grid.cells[0].trace), least=len(grid.problems))


def diagnoses(
    grid: Grid, graders: Graders, watch: Watch = lambda what: None
) -> Iterator[tuple[tuple[str, str], Diagnosis]]:
    """Diagnose one method after the other. Greedy chain of thought tells which problems are hard."""
    for strategy, budget in dict.fromkeys((cell.strategy, cell.budget) for cell in grid.cells):
        watch(f"{strategy} at {budget}")
        greedy = grid.of(BASELINE, budget)
        found = diagnose(grid.of(strategy, budget), baseline=greedy, graders=graders)
        yield (strategy, budget), found
