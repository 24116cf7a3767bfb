"""Adaptive consistency: when the vote is settled, and what the solutions in flight cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction
from math import factorial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.engine import Outcome, solve_all
from search.limits import CostLimits, charge
from search.seeds import derive
from search.strategies.adaptive_vote import AdaptiveVote, lead_stays
from search.strategies.self_consistency import SelfConsistency
from search.trace import Trace
from search.tree import Tree
from search.types import Problem, Step, Until
from tests.fakes import FractionAnswers, RandomWorld, step
from tests.pictures import Picture, Q


def picture(answers: str, **params: Any) -> Picture:
    """A vote on solutions that each give one answer; "?" gives none."""
    texts = ["who knows." if answer == "?" else f"= {answer}." for answer in answers]
    return Picture(AdaptiveVote(**params), {"": texts}, fractions=True)


# -- the criterion ---------------------------------------------------------------------------------


def slow_lead_stays(first: int, second: int) -> Fraction:
    """The integral of x^a (1 - x)^b over (1/2, 1), divided by that over (0, 1): term by term, exactly."""
    whole = Fraction(factorial(first) * factorial(second), factorial(first + second + 1))
    half = Fraction(0)
    for k in range(second + 1):  # (1 - x)^b by the binomial theorem
        choose = factorial(second) // (factorial(k) * factorial(second - k))
        power = first + k + 1
        half += (-1) ** k * choose * (1 - Fraction(1, 2**power)) / power
    return half / whole


@given(first=st.integers(0, 60), second=st.integers(0, 60))
def test_the_criterion_is_the_integral_of_the_paper(first: int, second: int) -> None:
    assert lead_stays(first, second) == pytest.approx(float(slow_lead_stays(first, second)), rel=1e-14)


def test_the_criterion_is_exact_where_quadrature_is_not() -> None:
    """The authors integrate numerically; with many votes x^a (1 - x)^b underflows to 0 / 0."""
    assert lead_stays(0, 0) == 0.5 and lead_stays(1, 0) == 0.75 and lead_stays(4, 0) == 0.96875
    assert lead_stays(600, 600) == 0.5
    assert 0.99 < lead_stays(600, 500) < 1.0


# -- pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "n_samples", "answer"),
    [
        ("11112222", 4, "1"),  # 1 - 2^-5 = 0.969
        ("12111111", 7, "1"),  # 6 to 1 is 0.965; 5 to 1 is 0.938
        ("12121212", 8, "1"),  # never settled: the first of the most frequent
        ("2?1??1?1", 8, "1"),  # 3 to 1 is 0.813: those without an answer have no vote
        ("????", 4, None),
        ("1234111111", 9, "1"),  # the runner-up counts, not all the others together: 6 to 1
    ],
)
def test_when_the_vote_is_settled(answers: str, n_samples: int, answer: str | None) -> None:
    seen = picture(answers, n=len(answers))
    assert len(seen.policy.calls) == n_samples
    assert seen.tree.answer(seen.chosen) == answer
    assert seen.scorer.calls == []


def test_it_asks_for_less_than_self_consistency_and_says_the_same() -> None:
    script = {"": [f"= {answer}." for answer in "1211111222"]}
    full = Picture(SelfConsistency(n=10), script, fractions=True)
    seen = Picture(AdaptiveVote(n=10), script, fractions=True)
    assert (seen.text, len(seen.policy.calls), len(full.policy.calls)) == (full.text, 7, 10)


def test_equal_answers_vote_together_however_they_are_written() -> None:
    seen = Picture(
        AdaptiveVote(n=8), {"": ["= 1/2.", "= 0.5.", "= 2/4.", "= 0.50."] + ["= 3."] * 4}, fractions=True
    )
    assert len(seen.policy.calls) == 4


def test_the_threshold() -> None:
    assert len(picture("11111111", n=8, threshold=0.7).policy.calls) == 1
    assert len(picture("11111111", n=8, threshold=0.75).policy.calls) == 2, "it must be exceeded"
    assert len(picture("11111111", n=8, threshold=1.0).policy.calls) == 8


# -- several in flight -----------------------------------------------------------------------------


class Racing:
    """Solutions that end in any order. A call charges a token a tick, and never ends after 99 of them."""

    def __init__(self, answers: str, ticks: Sequence[int]):
        self.answers, self.ticks = answers, ticks
        self.calls, self.stopped = 0, 0

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, seed: int, **how: object
    ) -> list[Step]:
        self.calls += 1
        child = next(i for i in range(99) if derive(0, problem.id, i) == seed)
        try:
            for _ in range(self.ticks[child]):
                charge(policy_tokens=1)
                await asyncio.sleep(0)
            if self.ticks[child] == 99:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        new = step(f"= {self.answers[child]}.")
        charge(policy_tokens=new.n_tokens)
        return [new]

    async def score(self, *args: object, **how: object) -> list[Any]:
        raise AssertionError("a vote needs no reward model")


@given(
    answers=st.text("123", min_size=12, max_size=12),
    ticks=st.lists(st.integers(0, 20), min_size=12, max_size=12),
    at_once=st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_what_ends_first_has_no_say(answers: str, ticks: list[int], at_once: int) -> None:
    """its_hub decides on whatever came back by then; here the decision follows the addresses."""
    alone = picture(answers, n=12)
    racing = Racing(answers, ticks)
    tree = Tree(Q, racing, racing, answers=FractionAnswers())
    chosen = asyncio.run(AdaptiveVote(n=12, at_once=at_once)(tree))
    assert (chosen.address, chosen.text) == (alone.chosen.address, alone.text)
    n_used = len(alone.policy.calls)
    assert n_used <= racing.calls <= min(12, n_used + at_once - 1)


def test_stragglers_are_stopped_and_charged() -> None:
    racing = Racing("1" * 8, [1, 1, 1, 9, 99, 99, 99, 99])
    tree = Tree(Q, racing, racing, answers=FractionAnswers())
    asyncio.run(AdaptiveVote(n=8, at_once=4)(tree))
    assert racing.stopped == racing.calls - 4 > 0
    used = sum(racing.ticks[:4]) + 4 * len("= 1.")
    assert used < tree.cost.policy_tokens <= used + 99 * racing.stopped


def run(policy: Any, path: Path, at_once: int) -> Outcome:
    with closing(Trace(path, {})) as trace:
        [outcome] = solve_all(
            [Q], AdaptiveVote(n=8, at_once=at_once), policy, policy, trace=trace, answers=FractionAnswers()
        )
    return outcome


def test_a_resumed_run_does_not_sample_stragglers_again(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    first = run(Racing("1" * 8, [1, 1, 1, 9, 99, 99, 99, 99]), path, 4)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(event["at"] for event in events if event["event"] == "unused") == [[4], [5], [6]]
    again = Racing("1" * 8, [0] * 8)
    second = run(again, path, 4)
    assert again.calls == 0
    assert (second.cost, second.answer) == (first.cost, "1")


def test_a_straggler_does_not_hide_what_ended_after_it(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    first = run(Racing("1" * 8, [1, 1, 1, 9, 99, 2, 99, 99]), path, 4)
    again = Racing("1" * 8, [0] * 8)
    second = run(again, path, 4)
    assert again.calls == 0 and first.cost.samples == 7
    assert (second.cost, second.events.duplicates) == (first.cost, first.events.duplicates)


@pytest.mark.parametrize("at_once", [1, 3])
def test_where_a_limit_ends_the_sampling_those_before_it_vote(at_once: int) -> None:
    world = RandomWorld()
    for samples in (0, 1, 3):
        [outcome] = solve_all(
            [Problem("p1", "?")], AdaptiveVote(threshold=1.0, at_once=at_once), world, world,
            limits=CostLimits(samples=samples), answers=FractionAnswers(),
        )  # fmt: skip
        assert outcome.error is None and outcome.cost.samples == samples and outcome.events.exhausted == 1
        assert bool(outcome.steps) == bool(samples)
