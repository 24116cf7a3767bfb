"""Answers that a solution does not state, only ends on, are marked in a run's results."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console

from bench.report.summary import Summary
from bench.report.tables import closing_tables
from bench.runner.execute import RunWatch, execute, replay
from bench.runner.models import Models, NoScorer
from bench.runner.request import RunRequest
from search.limits import charge
from search.strategies.cot import ChainOfThought
from search.types import Problem, Step, Stop, Until


class Repeats:
    """Its solution is the question."""

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, **how: object
    ) -> list[Step]:
        charge(policy_tokens=len(problem.question))
        return [Step(problem.question, tuple(map(ord, problem.question)), 0.0, Stop.END)]


def summaries(here: Path, texts: Sequence[str], *, strict: bool = False) -> list[Summary]:
    """A run over these solutions; the answers are 5. The second summary is of its replay."""
    data = here / "test.jsonl"
    data.write_text("".join(json.dumps({"question": text, "answer": "#### 5"}) + "\n" for text in texts))
    request = RunRequest(
        task="gsm8k", data=data, out=here / "run", strategies={"cot": ChainOfThought()}, prm=None,
        strict=strict,
    )
    [run] = asyncio.run(execute(request.validate(), Models(Repeats(), NoScorer()), RunWatch()))
    again = asyncio.run(replay(dataclasses.replace(request, resume=True).validate()))
    assert again is not None
    return [run, *again]


def shown(summary: Summary) -> str:
    console = Console(width=200, file=StringIO(), record=True)
    console.print(*closing_tables([summary], None, 200))
    return console.export_text()


def test_what_a_solution_only_ends_on_is_counted_and_marked(tmp_path: Path) -> None:
    for summary in summaries(tmp_path, ["#### 5", "So there are 5.", "I do not know."]):
        row = summary.as_json()
        assert (row["correct"], row["fallback"], row["without_answer"]) == (2, 1, 1)
        assert [problem["id"] for problem in row["problems"] if problem["fallback"]] == ["gsm8k/test/2"]
        assert "by fallback: the solution states no answer" in shown(summary)


def test_a_run_without_them_is_silent(tmp_path: Path) -> None:
    for summary in summaries(tmp_path, ["#### 5", "The answer is 6."]):
        assert summary.as_json()["fallback"] == 0 and "fallback" not in shown(summary)


def test_where_it_is_strict_there_are_none(tmp_path: Path) -> None:
    for summary in summaries(tmp_path, ["#### 5", "So there are 5."], strict=True):
        row = summary.as_json()
        assert (row["correct"], row["fallback"], row["without_answer"]) == (1, 0, 1)
    trace = (tmp_path / "run" / "cot.jsonl").read_text().splitlines()[0]
    assert json.loads(trace)["config"]["strict"] is True, "so it is resumed as the same run"
