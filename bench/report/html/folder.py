"""What a folder holds: a grid of `bench.run`, or the traces of one run of `search.run --out`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from bench.report.grid import ASKED, DEFAULT, Cell, Grid, read_grid
from bench.report.recorded import RecordedRun, RecordedTree, is_trace, read_trace
from bench.report.sides import BASELINE, Graders
from bench.report.summary import Graded, Summary
from bench.report.turns import right_turns
from search.engine import Outcome
from search.errors import UsageError
from search.limits import Events
from search.types import Stop

COMMAND = "command.json"


def read_folder(folder: Path) -> Grid:
    """A grid from either kind of folder, without a model. Raises UsageError."""
    return read_grid(folder) if (folder / ASKED).exists() else _run_grid(folder)


def _run_grid(folder: Path) -> Grid:
    """The strategies of one run as a grid of one budget and one seed, graded anew."""
    traces = [path for path in sorted(folder.glob("*.jsonl")) if is_trace(path)]
    if not traces:
        raise UsageError(f"{folder} holds neither a grid of bench.run nor traces of search.run --out")
    runs = [read_trace(path) for path in traces]
    runs.sort(key=lambda run: run.path.stem != BASELINE)
    longest = max(runs, key=lambda run: len(run.trees))
    graders = Graders(longest)
    _check_alike(runs, graders)
    cells = tuple(
        Cell(
            strategy=run.path.stem, budget=DEFAULT, seed=int(run.config.get("seed") or 0), trace=run.path,
            summary=summarize(run, graders),
        )
        for run in runs
    )
    first, names = runs[0].config, list(longest.trees)
    task, policy = str(first.get("task")), str(first.get("policy"))
    prm = next((str(name) for run in runs if (name := run.config.get("prm"))), None)
    return Grid(
        title=f"{task}, {len(names):,} problem{'' if len(names) == 1 else 's'}", command=_command(folder),
        baseline=BASELINE if runs[0].path.stem == BASELINE else cells[0].strategy,
        task=task, policy=policy, prm=prm, cells=cells,
        problems={name: graders.examples[name].problem for name in names},
        references={name: graders.examples[name].reference for name in names},
        missing=tuple(
            f"{run.path.stem}: {left:,} without an answer in its trace"
            for run in runs
            if (left := sum(tree.chosen is None for tree in run.trees.values()))
        ),
    )  # fmt: skip


def _check_alike(runs: Sequence[RecordedRun], graders: Graders) -> None:
    for run in runs:
        if any(run.config.get(name) != runs[0].config.get(name) for name in ("task", "data")):
            raise UsageError(f"{run.path} is of another task, or other data, than {runs[0].path}")
        if missing := [problem for problem in run.trees if problem not in graders.examples]:
            raise UsageError(f"{run.path}: the other traces have no problem {missing[0]!r}")


def _command(folder: Path) -> str:
    """The command line that wrote the folder; "" if it is not recorded."""
    try:
        kept = json.loads((folder / COMMAND).read_text(encoding="utf-8"))
        return shlex.join([*kept["command"].split(), *kept["words"]])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def summarize(run: RecordedRun, graders: Graders) -> Summary:
    """The results of a trace, without the problems that it does not end.

    A trace tells neither times nor whether a limit was reached.
    """
    config = run.config
    ended = [tree for tree in run.trees.values() if tree.chosen is not None]
    return Summary(
        run.path.stem, dict(config.get("params", {})), str(config.get("task")), int(config.get("seed") or 0),
        str(config.get("policy")), config.get("prm"), "", 0.0, [_graded(tree, graders) for tree in ended],
    )  # fmt: skip


def _graded(tree: RecordedTree, graders: Graders) -> Graded:
    example, leaf = graders.examples[tree.problem], tree.chosen
    assert leaf is not None
    nodes = list(tree.nodes)
    events = Events(
        duplicates=sum(node.duplicate_of is not None for node in nodes), backtracks=sum(tree.left.values()),
        repetitions=sum(node.step is not None and node.step.stop is Stop.REPETITION for node in nodes),
        failed=sum(node.failed is not None for node in nodes), late=int(tree.late),
        replayed=max(1, tree.cost.samples),
    )  # fmt: skip
    outcome = Outcome(
        example.problem, (), tree.answer, None if leaf.score is None else leaf.score.value, tree.cost, events,
        0.0, None, leaf.is_finished,
    )
    fallback = tree.answer is not None and graders.task.falls_back(leaf.answer_text)
    correct = graders.grade(tree.problem, tree.answer)
    turns = right_turns(graders.task, example.problem, leaf.steps, tree.answer, correct)
    return Graded(outcome, correct, example.group, fallback, turns)
