"""Strategies that are guided by the references: upper bounds, marked as such."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.runner.execute import RunWatch, execute
from bench.runner.models import Models, NoScorer
from bench.runner.request import RunRequest
from bench.tasks.builtin import Builtin
from bench.tasks.oracle import OracleScorer
from search.errors import UsageError
from search.limits import charge
from search.strategies.best_of_n import BestOfN
from search.strategies.cot import ChainOfThought
from search.strategies.hgs import HGS
from search.types import Label, Problem, Step, StepScorer, Stop, Until
from tests.fakes import step

GSM8K = '{"question": "What is 2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\\n#### 5"}\n'


class Guesses:
    """Every third whole solution is right."""

    def __init__(self) -> None:
        self.drawn = 0

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, **how: object
    ) -> list[Step]:
        self.drawn += 1
        text = "#### 5" if self.drawn % 3 == 0 else "#### 4"
        charge(policy_tokens=len(text))
        return [Step(text, tuple(map(ord, text)), 0.0, Stop.END)]


def request(tmp_path: Path, **fields: object) -> RunRequest:
    path = tmp_path / "test.jsonl"
    path.write_text(GSM8K)
    return RunRequest(**{"task": "gsm8k", "data": path, "out": tmp_path / "run", **fields})  # type: ignore[arg-type]


def test_oracle_best_of_n_is_pass_at_n(tmp_path: Path) -> None:
    strategies = {"cot": ChainOfThought(), "oracle_best_of_n": BestOfN(n=2)}
    run = request(tmp_path, strategies=strategies).validate()
    assert run.prm is None, "no reward model is looked at"
    assert run.identity("oracle_best_of_n")["prm"] == "the references"
    pass_at = {}
    for n in (1, 2, 3):
        run = request(
            tmp_path, strategies={"oracle_best_of_n": BestOfN(n=n)}, out=tmp_path / str(n)
        ).validate()
        [summary] = asyncio.run(execute(run, Models(Guesses(), NoScorer()), RunWatch()))
        pass_at[n] = summary.correct
        assert summary.prm == "the references"
    assert pass_at == {1: 0, 2: 0, 3: 1}


def test_an_oracle_beside_a_reward_model_is_resumed(tmp_path: Path) -> None:
    strategies = {"best_of_n": BestOfN(n=2), "oracle_best_of_n": BestOfN(n=2)}
    run = request(tmp_path, strategies=strategies).validate()
    assert run.prm is not None
    run.trace("oracle_best_of_n").close()
    again = request(tmp_path, strategies=strategies, resume=True).validate()
    again.trace("oracle_best_of_n").close()


def test_the_checker_of_the_built_in_task_guides_steps() -> None:
    task = Builtin()
    [example] = task.load(None, 1)
    scorer: StepScorer = OracleScorer(task)
    texts = ["It is unclear.\n", f"The answer is {example.reference}."]
    scores = asyncio.run(scorer.score(example.problem, [step(text) for text in texts]))
    assert [score.label for score in scores] == [Label(n) for n in task.step_labels(example.problem, texts)]
    assert scores[0].label is Label.NEGATIVE


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"strategies": {"oracle_cot": ChainOfThought()}}, "oracle_cot: nothing guides cot"),
        ({"strategies": {"oracle_hgs": HGS()}}, "oracle_hgs: the task gsm8k can tell whether"),
        (
            {"strategies": {"oracle_best_of_n": BestOfN()}, "question": "?", "data": None},
            "one question has no reference",
        ),
    ],
)
def test_what_the_references_cannot_guide_is_refused(
    tmp_path: Path, fields: dict[str, object], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        request(tmp_path, **fields).validate()
