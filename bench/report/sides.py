"""What is compared: a method's results by problem, read from traces or from result files of search.run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.report.recorded import RecordedRun, RecordedTree, is_trace, read_trace
from bench.report.solutions import Solutions
from bench.tasks import TASKS
from bench.tasks.base import Example, Task
from search.errors import UsageError
from search.limits import Cost
from search.params import nearest

BASELINE = "cot"


@dataclass(frozen=True, slots=True)
class Seed:
    """One run of a method.

    correct: by problem id. cost: by problem id. unfinished: problems that the run began and did not end.
    digests: of the questions, by problem id; empty if the file does not hold them.
    """

    seed: int | None
    correct: Mapping[str, bool]
    cost: Mapping[str, Cost]
    unfinished: int = 0
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Side:
    """A method, run with one seed or several."""

    name: str
    seeds: Sequence[Seed]

    @property
    def problems(self) -> list[str]:
        """Those that every seed has, in order."""
        first, *rest = self.seeds
        return [name for name in first.correct if all(name in seed.correct for seed in rest)]

    def solved(self, problem: str) -> int:
        """How many seeds solve a problem."""
        return sum(seed.correct[problem] for seed in self.seeds)

    def share(self, problem: str) -> float:
        """The share of seeds that solve a problem."""
        return self.solved(problem) / len(self.seeds)

    def cost(self, problems: Sequence[str]) -> dict[str, float]:
        """The mean cost of a problem, over these problems and all seeds."""
        costs = [seed.cost[name] for seed in self.seeds for name in problems]
        names = ("policy_tokens", "prm_tokens", "samples")
        return {name: fmean(getattr(cost, name) for cost in costs) if costs else 0.0 for name in names}


def read_side(spec: str) -> Side:
    """A method's results.

    spec: FILE[:STRATEGY], or several joined by commas, one for each seed. FILE is a trace, a result file of
        search.run (--json), or the folder of a run. STRATEGY is needed if it holds several beside `cot`.
    Raises UsageError.
    """
    parts = [_read_part(part) for part in spec.split(",")]
    names = dict.fromkeys(name for name, _ in parts)
    if len(names) > 1:
        raise UsageError(f"{spec}: seeds of one strategy, not of {', '.join(names)}")
    seeds = [seed for _, seed in parts]
    known = [seed.seed for seed in seeds if seed.seed is not None]
    if len(set(known)) < len(known):
        raise UsageError(f"{spec}: the same seed twice ({', '.join(map(str, known))}): it would count double")
    return Side(next(iter(names)), seeds)


def _read_part(part: str) -> tuple[str, Seed]:
    path, strategy = Path(part), ""
    if not path.exists() and ":" in part:
        before, _, strategy = part.rpartition(":")
        path = Path(before)
    if path.is_dir():
        traces = {trace.stem: trace for trace in sorted(path.glob("*.jsonl")) if is_trace(trace)}
        name = _chosen(part, strategy, list(traces))
        return name, from_trace(read_trace(traces[name]))
    if is_trace(path):
        run = read_trace(path)
        return _chosen(part, strategy, [run.strategy]), from_trace(run)
    rows = _result_rows(path)
    name = _chosen(part, strategy, list(rows))
    return name, _from_results(path, rows[name])


def _chosen(part: str, strategy: str, names: Sequence[str]) -> str:
    """The strategy that is meant. Raises UsageError if it is not there, or not clear."""
    if strategy:
        if strategy not in names:
            raise UsageError(f"{part}: no results of {strategy!r}{nearest(strategy, names)}")
        return strategy
    others = [name for name in names if name != BASELINE] or list(names)
    if len(others) != 1:
        what = f"say which, e.g. {part}:{others[0]}" if others else "there is no trace in it"
        raise UsageError(f"{part}: holds {', '.join(names) or 'nothing'}; {what}")
    return others[0]


def _result_rows(path: Path) -> dict[str, Mapping[str, Any]]:
    """The results in a file that search.run --json wrote, by strategy."""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        rows = [written, written.get("baseline")] if isinstance(written, dict) else list(written)
        return {row["strategy"]: row for row in rows if row is not None and row["problems"] is not None}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is neither a trace nor a result file of search.run --json "
            f"({type(error).__name__}: {error})"
        ) from error


def _from_results(path: Path, row: Mapping[str, Any]) -> Seed:
    try:
        problems = {problem["id"]: problem for problem in row["problems"]}
        costs = {
            name: Cost(
                samples=problem["samples"], policy_tokens=problem["policy_tokens"],
                prm_tokens=problem["prm_tokens"],
            )
            for name, problem in problems.items()
        }  # fmt: skip
        return Seed(row.get("seed"), {name: bool(p["correct"]) for name, p in problems.items()}, costs)
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a result file of search.run --json (no {error})") from error


def from_trace(run: RecordedRun) -> Seed:
    """The results of a trace, graded by its task. Raises UsageError if its problems cannot be loaded."""
    ended = {name: tree for name, tree in run.trees.items() if tree.chosen is not None}
    graded = Graders(run)
    with ThreadPoolExecutor() as threads:
        correct = threads.map(lambda name: graded.grade(name, ended[name].answer), ended)
        return Seed(
            run.config.get("seed"),
            dict(zip(ended, correct, strict=True)),
            {name: tree.cost for name, tree in ended.items()},
            len(run.trees) - len(ended),
            {name: tree.digest for name, tree in ended.items()},
        )


def _examples(task: Task, data: Path | None, wanted: Sequence[str], least: int) -> dict[str, Example]:
    """The first problems of a task, by id: at least so many, and enough for those wanted, where it has them.

    Raises UsageError if they cannot be loaded.
    """
    # A run takes the first problems of its task and begins them in order, but a shard has gaps, and so has
    # what is merged of some shards. Generated problems, which have no end, are numbered from 0.
    few = max(least, len(wanted))
    numbers = [int(found[0]) for name in wanted if (found := re.search(r"[0-9]{1,9}$", name))]
    for limit in (few, max([few, *(number + 1 for number in numbers)]), None):
        examples = {example.problem.id: example for example in task.load(data, limit)}
        if all(name in examples for name in wanted):
            break
    return examples


class Graders:
    """The task of a recorded run, with its problems.

    least: so many problems at least, for other runs of the task; those that the run has begun are always
        there. Raises UsageError if they cannot be loaded.
    """

    def __init__(self, run: RecordedRun, *, least: int = 1):
        name, data = str(run.config.get("task")), str(run.config.get("data") or "")
        if name not in TASKS:
            raise UsageError(f"{run.path}: unknown task {name!r}{nearest(name, TASKS)}")
        self.task: Task = TASKS[name]()
        self.task.strict = bool(run.config.get("strict"))
        self._known: dict[tuple[str, str], bool] = {}
        try:
            self.examples = _examples(self.task, Path(data) if data else None, list(run.trees), least)
        except UsageError as error:
            raise UsageError(
                f"{run.path}: the problems of the task {name}, which its answers are graded by, cannot be "
                f"loaded: {error}"
            ) from error
        if missing := [problem for problem in run.trees if problem not in self.examples]:
            where = f"the task {name}" + (f" with the data {data}" if data else "")
            raise UsageError(f"{run.path}: {where} has no problem {missing[0]!r} (any more)")

    def grade(self, problem: str, answer: str | None) -> bool:
        """Whether the answer is right; each is graded once."""
        if answer is None:
            return False
        if (problem, answer) not in self._known:
            graded = self.task.grade(self.examples[problem].problem, answer)
            self._known[problem, answer] = graded.correct
        return self._known[problem, answer]

    def solutions(self, tree: RecordedTree) -> Solutions:
        """The finished solutions of a problem."""
        problem = self.examples[tree.problem].problem
        return Solutions(tree, problem, self.task.answers(problem))
