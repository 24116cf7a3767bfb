"""A grid: strategies x budgets x seeds on the same problems, as `python -m bench.run` records it.

    grid.json                              what was asked
    problems.jsonl                         the problems, with their references
    cells/BUDGET-sSEED/STRATEGY.jsonl      the trace of a cell, as `search.run` writes it
    cells/BUDGET-sSEED/STRATEGY.results.json   its results by problem, once it is finished
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.report.results import read_results, results_path
from bench.report.summary import Summary
from search.errors import UsageError, reason
from search.types import Problem

ASKED, PROBLEMS, CELLS = "grid.json", "problems.jsonl", "cells"
DEFAULT = "default"
"""The budget of strategies that run with their own parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One strategy at one budget, with one seed.

    strategy: its name in the tables. budget: "default", or as on the command line, e.g. "4x", "tokens=900".
    trace: read it with `bench.report.recorded`. summary: graded problems, cost and events; the outcomes hold
        no steps. A problem's seconds count only if nothing of it was replayed (`events.replayed` is 0).
    machine: what it was run on: hardware, versions.
    """

    strategy: str
    budget: str
    seed: int
    trace: Path
    summary: Summary
    machine: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """All cells that are finished; with `missing`, a grid goes on.

    title: in words. command: that wrote it. baseline: the strategy that others are compared with.
    problems, references: by id; a reference is "" where tests decide. missing: cells that are not finished.
    asked: all of grid.json. hashes: of each problem, by id: doc_hash, prompt_hash, target_hash.
    """

    title: str
    command: str
    baseline: str
    task: str
    policy: str
    prm: str | None
    problems: Mapping[str, Problem]
    references: Mapping[str, str]
    cells: tuple[Cell, ...]
    missing: tuple[str, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def budgets(self) -> tuple[str, ...]:
        """In the order in which they were asked for."""
        return tuple(dict.fromkeys(cell.budget for cell in self.cells))

    @property
    def strategies(self) -> tuple[str, ...]:
        """In the order in which they were asked for."""
        return tuple(dict.fromkeys(cell.strategy for cell in self.cells))

    def of(self, strategy: str, budget: str) -> tuple[Cell, ...]:
        """The cells of a strategy at a budget: one for each seed."""
        return tuple(c for c in self.cells if (c.strategy, c.budget) == (strategy, budget))


def folder_of(out: Path, budget: str, seed: int) -> Path:
    """Where the traces of a budget and a seed are."""
    return out / CELLS / f"{budget}-s{seed}"


def read_grid(folder: Path) -> Grid:
    """A grid, finished or not, from its files; needs no model. Raises UsageError."""
    asked = read_asked(folder)
    try:
        with (folder / PROBLEMS).open(encoding="utf-8") as lines:  # splitlines() would cut within texts
            rows = [json.loads(line) for line in lines]
        problems = {row["id"]: Problem(row["id"], row["question"]) for row in rows}
        cells, missing = list[Cell](), list[str]()
        for budget in asked["budgets"]:
            for strategy in asked["strategies"]:
                for seed in asked["seeds"]:
                    trace = folder_of(folder, budget, seed) / f"{strategy}.jsonl"
                    results = results_path(trace)
                    if not results.exists():
                        missing.append(f"{strategy} at {budget}, seed {seed}")
                        continue
                    summary, machine = read_results(results, problems)
                    cells.append(Cell(
                        strategy=strategy, budget=budget, seed=seed, trace=trace, summary=summary,
                        machine=machine,
                    ))  # fmt: skip
        return Grid(
            title=asked["title"], command=asked["command"], baseline=asked["baseline"], task=asked["task"],
            policy=asked["policy"], prm=asked["prm"], problems=problems,
            references={row["id"]: row["reference"] for row in rows},
            cells=tuple(cells), missing=tuple(missing), asked=asked,
            hashes={row["id"]: {name: row[name] for name in row if name.endswith("_hash")} for row in rows},
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"cannot read the grid in {folder}: {reason(error)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} holds a damaged grid ({type(error).__name__}: {error})") from error


def read_asked(folder: Path) -> dict[str, Any]:
    """What was asked of the grid in a folder. Raises UsageError if there is none."""
    path = folder / ASKED
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"there is no grid in {folder}: cannot read {path.name}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not the record of a grid: {error}") from error
    if not isinstance(read, dict) or not isinstance(read.get("words"), list):
        raise UsageError(f"{path}: not the record of a grid")
    return read
