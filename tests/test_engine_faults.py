"""Errors of models: each stays with its candidate, or with its problem, and never becomes a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from search.errors import PolicyError, ScorerError, UsageError
from search.seeds import derive
from search.strategies.best_of_n import BestOfN
from search.strategies.cot import ChainOfThought
from search.strategies.hgs import HGS
from search.tree import Strategy, Unguided
from search.types import Problem, Step, StepScore, Stop
from tests.fakes import RandomWorld, step
from tests.test_engine import PROBLEMS, QUIET, SMALL, run, timeless


class Faulty(RandomWorld):
    """The random world, but for one problem."""

    def __init__(self, fault: str, jitter: int | None = None):
        super().__init__(jitter)
        self.fault = fault

    async def propose(self, problem: Problem, steps: Sequence[Step], **asked: Any) -> list[Step]:
        said = await super().propose(problem, steps, **asked)
        if problem.id != "p3":
            return said
        match self.fault:
            case "policy":
                raise PolicyError("the server is gone")
            case "bug":
                raise KeyError("oops")
            case "no steps":
                return []
            case "goes on after the end":
                return [replace(s, stop=Stop.END) for s in [*said, *said]]
            case "two steps":
                return [step("a,"), step("b,")]
            case "never ends":
                return [replace(s, stop=Stop.STEP) for s in said]
        return said

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        said = await super().score(problem, steps, num_scored=num_scored)
        if problem.id != "p3":
            return said
        match self.fault:
            case "scorer":
                raise ScorerError("the reward model is gone")
            case "too few":
                return said[:-1]
            case "too many":
                return [*said, *said]
            case "nan":
                return [StepScore(float("nan"), 0.5, 0.5) for _ in said]
            case "no distribution":
                return [StepScore(0.9, 0.9, 0.9) for _ in said]
        return said


FAULTS = {
    "policy": "PolicyError: the server is gone",
    "bug": "KeyError: 'oops'",
    "no steps": "PolicyError: p3: the policy returned 0 steps",
    "goes on after the end": "only the last may end the solution",
    "scorer": "ScorerError: the reward model is gone",
    "too few": "ScorerError: p3: the reward model returned ",
    "too many": "ScorerError: p3: the reward model returned ",
    "nan": "ScorerError: the reward model returned (nan, 0.5, 0.5), which are not probabilities",
    "no distribution": "ScorerError: the reward model returned (0.9, 0.9, 0.9), which are not probabilities",
}


@pytest.mark.parametrize(("fault", "name"), [*product(FAULTS, ["hgs", "best_of_n", "mcts"])])
def test_an_error_in_one_problem_is_its_outcome_and_the_others_go_on(fault: str, name: str) -> None:
    outcomes = timeless(run(SMALL[name], Faulty(fault, jitter=1), concurrency=3))
    failed = outcomes[3]
    assert failed.error is not None and FAULTS[fault] in failed.error
    assert (failed.steps, failed.answer, failed.value) == ((), None, None)
    assert outcomes[:3] + outcomes[4:] == QUIET[name][:3] + QUIET[name][4:]


@pytest.mark.parametrize(
    ("fault", "strategy", "error"),
    [
        ("two steps", HGS(), "one was asked for"),
        ("never ends", ChainOfThought(), "the last step does not end it"),
    ],
)
def test_steps_that_were_not_asked_for_are_an_error(fault: str, strategy: Strategy, error: str) -> None:
    outcome = run(strategy, Faulty(fault))[3]
    assert outcome.error is not None and error in outcome.error


class Flaky(RandomWorld):
    """Fails for one sample, or one score, in so many: by its seed, or by the text."""

    def __init__(self, *, policy: int = 0, scorer: int = 0):
        super().__init__()
        self.policy, self.scorer = policy, scorer

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        if self.policy and how["seed"] % self.policy == 0:
            raise PolicyError("this sample was lost")
        return await super().propose(problem, steps, **how)

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        if self.scorer and derive("".join(s.text for s in steps)) % self.scorer == 0:
            raise ScorerError("this score was lost")
        return await super().score(problem, steps, num_scored=num_scored)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("flaky", [{"policy": 7}, {"scorer": 7}], ids=["policy", "scorer"])
def test_a_failed_candidate_loses_no_problem(name: str, flaky: dict[str, int]) -> None:
    problems = [Problem(f"p{i}", f"question {i}") for i in range(40)]
    outcomes = run(SMALL[name], Flaky(**flaky), problems)
    alone = name in ("cot",) and "policy" in flaky  # a strategy with one candidate has nothing else
    assert alone or [o.error for o in outcomes if o.error] == []
    unguided = isinstance(SMALL[name], Unguided)
    if not unguided or "policy" in flaky:
        assert sum(o.events.failed for o in outcomes) > 0


def test_best_of_n_with_one_sample_in_64_failing_loses_no_problem() -> None:
    problems = [Problem(f"p{i}", f"question {i}") for i in range(60)]
    outcomes = run(BestOfN(n=64), Flaky(policy=64), problems)
    assert sum(o.events.failed for o in outcomes) > 20 and not any(o.error for o in outcomes)


def test_problems_of_the_same_id_are_refused_before_anything_is_spent() -> None:
    world = RandomWorld()
    with pytest.raises(UsageError, match="p1"):
        run(ChainOfThought(), world, [*PROBLEMS, Problem("p1", "another question")])
    assert world.calls == 0


def test_no_concurrency_is_refused() -> None:
    with pytest.raises(UsageError, match="concurrency=0"):
        run(ChainOfThought(), RandomWorld(), concurrency=0)


def test_the_tokens_of_a_failed_problem_are_all_discarded() -> None:
    outcome = run(BestOfN(), Faulty("scorer"))[3]
    assert outcome.error and outcome.cost.policy_tokens == outcome.cost.policy_tokens_discarded > 0
