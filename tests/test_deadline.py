"""A problem that runs out of time answers with the best it has, and is replayed as it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from search import speculation
from search.engine import Outcome, solve
from search.errors import UsageError
from search.limits import charge
from search.node import Node
from search.seeds import derive
from search.strategies.hgs import HGS
from search.strategies.self_consistency import SelfConsistency
from search.trace import Trace
from search.tree import Strategy, Tree
from search.types import Policy, Problem, Step, StepScore, Until
from tests.fakes import BAD, GOOD, FractionAnswers, RandomWorld, ScriptedScorer, step

Q = Problem("q", "?")


class Ticking:
    """Draws these solutions, one after the other; each takes as long as is said, in seconds."""

    def __init__(self, *solutions: tuple[str, float]):
        self._solutions = iter(solutions)
        self.stopped = 0

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, **how: object
    ) -> list[Step]:
        text, seconds = next(self._solutions)
        charge(policy_tokens=len(text))
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return [step(text)]


class NoPolicy:
    async def propose(self, problem: Problem, steps: Sequence[Step], **how: object) -> list[Step]:
        raise AssertionError("a replay calls no model")


def solved(
    strategy: Strategy, policy: Policy, *, deadline: float | None, path: Path | None = None,
    scores: dict[str, StepScore] | None = None,
) -> Outcome:  # fmt: skip
    async def run() -> Outcome:
        with closing(Trace(path, {})) as trace:
            outcomes = solve(
                [Q], strategy, policy, ScriptedScorer(scores or {}), answers=FractionAnswers(),
                deadline=deadline, trace=trace,
            )
            [outcome] = [outcome async for outcome in outcomes]
            return outcome

    return asyncio.run(run())


def test_what_is_there_at_the_deadline_is_voted_on() -> None:
    policy = Ticking(("= 1.", 0), ("= 2.", 0), ("= 2.", 0), ("= 1.", 60), ("= 1.", 60))
    outcome = solved(SelfConsistency(n=5), policy, deadline=0.2)
    assert outcome.answer == "2" and outcome.events.late == 1 and policy.stopped == 2
    assert outcome.seconds < 5
    assert outcome.cost.policy_tokens == 5 * len("= 1."), "what was stopped is counted"


def test_a_prefix_is_an_unfinished_answer() -> None:
    outcome = solved(HGS(), Ticking(("a,", 0), ("b,", 0), ("= 1.", 60)), deadline=0.2)
    assert outcome.text == "a,b," and outcome.answer is None and not outcome.finished and not outcome.error


def test_in_time_nothing_changes() -> None:
    in_time = solved(HGS(), Ticking(("a,", 0), ("= 1.", 0)), deadline=60)
    assert in_time.answer == "1" and in_time.events.late == 0


@pytest.mark.parametrize("deadline", [0.0, -1.0, float("nan")])
def test_a_deadline_is_above_zero(deadline: float) -> None:
    with pytest.raises(UsageError, match="deadline"):
        solved(HGS(), NoPolicy(), deadline=deadline)


def test_a_problem_that_was_late_is_replayed_as_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    policy = Ticking(("a,", 0), ("b,", 0), ("= 1.", 60))
    late = solved(HGS(), policy, deadline=0.2, path=path)
    again = solved(HGS(), NoPolicy(), deadline=0.2, path=path)
    assert (again.text, again.answer, again.value) == (late.text, late.answer, late.value)
    assert again.cost == late.cost and again.events == late.events
    assert path.read_text().count('"deadline"') == 1


class HalfDone:
    """Scores a solution that ends with a blank step, and never returns."""

    async def __call__(self, tree: Tree) -> Node:
        await tree.score(await tree.complete([tree.root]))
        await asyncio.Event().wait()
        raise AssertionError


class Blank:
    async def propose(self, problem: Problem, steps: Sequence[Step], **how: object) -> list[Step]:
        charge(policy_tokens=len("= 1\n"))
        return [step("= 1\n"), step("")]


def test_a_blank_last_step_keeps_its_value(tmp_path: Path) -> None:
    path, scores = tmp_path / "trace.jsonl", {"= 1\n": StepScore(0.1, 0.0, 0.9)}
    for policy in (Blank(), NoPolicy()):
        outcome = solved(HalfDone(), policy, deadline=0.5, path=path, scores=scores)
        assert (outcome.answer, outcome.value) == ("1", pytest.approx(0.9))


class Stuck:
    """A scorer that never returns after its first score."""

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        if steps[-1].text != "0,":
            await asyncio.Event().wait()
        return [BAD]


class Counted:
    """The children of the root are "0,", "1,", ..."""

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, seed: int, **how: object
    ) -> list[Step]:
        child = next((i for i in range(16) if derive(0, problem.id, i) == seed), 99)
        charge(policy_tokens=len(f"{child},"))
        return [step(f"{child},")]


def test_scores_that_were_drawn_ahead_do_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculation, "SOON_S", 0.01)

    async def run() -> Outcome:
        outcomes = solve([Q], HGS(), Counted(), Stuck(), deadline=0.1, speculate=4)
        [outcome] = [outcome async for outcome in outcomes]
        return outcome

    outcome = asyncio.run(run())
    assert outcome.events.late == 1 and outcome.error is None


def test_in_the_random_world_late_problems_are_replayed(tmp_path: Path) -> None:
    problems = [Problem(f"p{n}", "Which way?") for n in range(12)]

    async def run(world: Policy) -> dict[str, Outcome]:
        with closing(Trace(tmp_path / "trace.jsonl", {})) as trace:
            outcomes = solve(
                problems, HGS(width=3), world, RandomWorld(), answers=FractionAnswers(), deadline=0.03,
                trace=trace, speculate=4,
            )
            return {outcome.problem.id: outcome async for outcome in outcomes}

    first = asyncio.run(run(RandomWorld(1, pause_s=0.004)))
    assert sum(outcome.events.late for outcome in first.values()) > 0
    for name, again in asyncio.run(run(NoPolicy())).items():
        assert again.text == first[name].text and again.cost == first[name].cost, name


def test_the_scores_of_a_late_solution_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    late = solved(HGS(), Ticking(("a,", 0), ("= 1.", 60)), deadline=0.2, path=path, scores={"a,": GOOD})
    again = solved(HGS(), NoPolicy(), deadline=0.2, path=path)
    assert again.value == late.value == GOOD.value
