"""Tests that every Policy and every StepScorer must pass, fake or real.

Inherit from one of the classes below and define the model as a fixture:

    class TestMyPolicy(PolicyContract):
        @pytest.fixture
        def policy(self) -> Policy: ...

or await `check_policy` or `check_scorer`, which run all of the tests.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence

from search.limits import metered
from search.types import Policy, Problem, Step, StepScore, StepScorer, Stop, Until

MAX_TOKENS = 200


class PolicyContract:
    """problem: one that the policy solves in more than one step. seeds: enough for samples to differ."""

    problem = Problem("contract", "What is 2 + 3 * 4?")
    others = tuple(Problem(f"contract/{i}", f"What is {i} + 3 * {i}?") for i in range(4))
    max_tokens = MAX_TOKENS
    seeds: Sequence[int] = range(8)

    async def test_the_same_seed_gives_the_same_sample_whatever_is_in_flight(self, policy: Policy) -> None:
        for temperature in (None, 0.7):
            alone = await self._solution(policy, 0, temperature)
            crowd = (self._solution(policy, seed, temperature) for seed in self.seeds)
            elsewhere = (
                policy.propose(other, [], until=Until.END, max_tokens=self.max_tokens, seed=0)
                for other in self.others
            )
            crowded, *_ = await asyncio.gather(*crowd, *elsewhere)
            assert tokens(crowded) == tokens(alone)
            assert [s.stop for s in crowded] == [s.stop for s in alone]

    async def test_different_seeds_differ(self, policy: Policy) -> None:
        samples = await asyncio.gather(*(self._solution(policy, seed, 1.0) for seed in self.seeds))
        assert len({text(sample) for sample in samples}) > 1, "the seed is ignored"

    async def test_at_temperature_0_the_seed_has_no_effect(self, policy: Policy) -> None:
        samples = [await self._solution(policy, seed, 0.0) for seed in range(2)]
        assert tokens(samples[0]) == tokens(samples[1])

    async def test_stepping_gives_the_tokens_of_one_greedy_decode(self, policy: Policy) -> None:
        for problem in (self.problem, *self.others):
            whole = await policy.propose(
                problem, [], until=Until.END, max_tokens=self.max_tokens, seed=0, temperature=0.0
            )
            steps: list[Step] = []
            while not steps or steps[-1].stop is Stop.STEP:
                left = self.max_tokens - sum(s.n_tokens for s in steps)
                if left < 1:
                    break
                steps += await policy.propose(
                    problem, steps, until=Until.STEP, max_tokens=left, seed=len(steps), temperature=0.0
                )
            assert tokens(steps) == tokens(whole)
            assert text(steps) == text(whole)
            texts = [s.text for s in steps if not s.is_blank]
            assert texts == [s.text for s in whole if not s.is_blank]
            if whole[-1].stop is not Stop.LENGTH:
                assert steps[-1].stop is whole[-1].stop

    async def test_a_step_is_the_first_of_the_solution_with_the_same_seed(self, policy: Policy) -> None:
        whole = await self._solution(policy, 3, None)
        [first] = await policy.propose(
            self.problem, [], until=Until.STEP, max_tokens=self.max_tokens, seed=3
        )
        assert first.text == whole[0].text

    async def test_no_call_exceeds_its_token_limit(self, policy: Policy) -> None:
        whole = await self._solution(policy, 0, 0.0)
        for until in Until:
            for most in (1, 2, 3, 5, 8, self.max_tokens):
                steps = await policy.propose(
                    self.problem, [], until=until, max_tokens=most, seed=0, temperature=0.0
                )
                assert 0 < sum(s.n_tokens for s in steps) <= most
                assert tokens(steps) == tokens(whole)[: len(tokens(steps))]
                if until is Until.END and sum(s.n_tokens for s in whole) > most:
                    assert steps[-1].stop is Stop.LENGTH

    async def test_every_sampled_token_is_charged(self, policy: Policy) -> None:
        for until in Until:
            for most in (3, self.max_tokens):
                with metered() as spent:
                    steps = await policy.propose(self.problem, [], until=until, max_tokens=most, seed=1)
                assert sum(step.n_tokens for step in steps) <= spent.policy_tokens <= most

    async def test_only_the_last_step_ends_the_solution(self, policy: Policy) -> None:
        for sample in await asyncio.gather(*(self._solution(policy, s, 0.7) for s in self.seeds)):
            assert all(s.stop is Stop.STEP for s in sample[:-1])
            assert sample[-1].stop is not Stop.STEP
            assert not any(s.is_blank for s in sample[:-1])

    async def test_until_step_returns_one_step(self, policy: Policy) -> None:
        whole = await self._solution(policy, 0, 0.0)
        for k in range(len(whole)):
            next_ = await policy.propose(
                self.problem, whole[:k], until=Until.STEP, max_tokens=self.max_tokens, seed=0,
                temperature=0.0,
            )
            assert len(next_) == 1
            assert next_[0].stop is not Stop.STEP or not next_[0].is_blank

    async def test_a_cancelled_call_does_not_affect_later_ones(self, policy: Policy) -> None:
        want = await self._solution(policy, 0, 0.0)
        doomed = asyncio.ensure_future(self._solution(policy, 1, 1.0))
        await asyncio.sleep(0)
        doomed.cancel()
        await asyncio.gather(doomed, return_exceptions=True)
        assert tokens(await self._solution(policy, 0, 0.0)) == tokens(want)

    async def test_a_cancelled_call_is_charged_what_it_may_have_sampled(self, policy: Policy) -> None:
        with metered() as whole:
            await self._solution(policy, 2, 1.0)
        for pause_s in (0.0, 0.02, 0.2):
            with metered() as spent:
                doomed = asyncio.ensure_future(self._solution(policy, 2, 1.0))
                await asyncio.sleep(pause_s)
                doomed.cancel()
                [ended] = await asyncio.gather(doomed, return_exceptions=True)
            if isinstance(ended, asyncio.CancelledError):
                assert spent.policy_tokens <= self.max_tokens
            else:
                assert spent.policy_tokens == whole.policy_tokens

    async def _solution(self, policy: Policy, seed: int, temperature: float | None) -> list[Step]:
        return await policy.propose(
            self.problem, [], until=Until.END, max_tokens=self.max_tokens, seed=seed,
            temperature=temperature,
        )


class ScorerContract:
    """solutions: the texts of the steps of each. atol: tolerance on probabilities; 0 is exact.

    Override `steps` for a scorer that reads token ids.
    """

    problem = Problem("contract", "What is 2 + 3 * 4?")
    solutions: Sequence[Sequence[str]] = (
        ("3 * 4 = 12\n", "2 + 12 = 14\n", "The answer is 14.\n"),
        ("3 * 4 = 12\n", "2 + 12 = 15\n", "The answer is 15.\n"),
        ("3 * 4 = 12\n", "2 + 3 = 5\n", "5 * 4 = 20\n", "Wait.\n", "2 + 12 = 14\n", "14\n"),
        ("The answer is 7.\n",),
    )
    atol = 0.0

    def steps(self, texts: Sequence[str]) -> list[Step]:
        last = len(texts) - 1
        return [
            Step(text, tuple(map(ord, text)), 0.0, Stop.END if i == last else Stop.STEP)
            for i, text in enumerate(texts)
        ]

    async def test_each_step_gets_one_score_of_probabilities(self, scorer: StepScorer) -> None:
        for solution in self._solutions():
            whole = await scorer.score(self.problem, solution)
            assert len(whole) == len(solution)
            for score in whole:
                assert abs(score.negative + score.neutral + score.positive - 1) < 1e-3
                assert 0 <= score.value <= 1

    async def test_a_score_does_not_depend_on_later_steps(self, scorer: StepScorer) -> None:
        for solution in self._solutions():
            whole = await scorer.score(self.problem, solution)
            for k in range(1, len(solution)):
                self._same(await scorer.score(self.problem, solution[:k]), whole[:k])

    async def test_incremental_scores_equal_those_of_one_call(self, scorer: StepScorer) -> None:
        for solution in self._solutions():
            whole = await scorer.score(self.problem, solution)
            for k in range(len(solution)):
                self._same(await scorer.score(self.problem, solution, num_scored=k), whole[k:])
            for upto in range(1, len(solution) + 1):  # step by step, as a search does
                self._same(
                    await scorer.score(self.problem, solution[:upto], num_scored=upto - 1), [whole[upto - 1]]
                )

    async def test_the_same_call_gives_the_same_scores(self, scorer: StepScorer) -> None:
        for solution in self._solutions():
            num_scored = len(solution) - 1
            first = await scorer.score(self.problem, solution, num_scored=num_scored)
            self._same(await scorer.score(self.problem, solution, num_scored=num_scored), first)

    async def test_concurrent_calls_give_the_scores_of_single_ones(self, scorer: StepScorer) -> None:
        calls = [(s, k) for s in self._solutions() for k in range(len(s))]
        alone = [await scorer.score(self.problem, s, num_scored=k) for s, k in calls]
        batch = await asyncio.gather(*(scorer.score(self.problem, s, num_scored=k) for s, k in calls))
        for one, other in zip(alone, batch, strict=True):
            self._same(other, one)

    def _solutions(self) -> list[list[Step]]:
        return [self.steps(texts) for texts in self.solutions]

    def _same(self, got: Sequence[StepScore], want: Sequence[StepScore]) -> None:
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            off = max(abs(a.negative - b.negative), abs(a.neutral - b.neutral), abs(a.positive - b.positive))
            assert off <= self.atol, f"{a} is not {b} within {self.atol}"


async def check_policy(policy: Policy, contract: PolicyContract | None = None) -> None:
    """Run all tests of the contract; `contract` sets the problems and the limits."""
    await _check(contract or PolicyContract(), policy)


async def check_scorer(scorer: StepScorer, contract: ScorerContract | None = None) -> None:
    """Run all tests of the contract; `contract` sets the solutions and the tolerance."""
    await _check(contract or ScorerContract(), scorer)


async def _check(contract: object, model: Policy | StepScorer) -> None:
    for name, test in inspect.getmembers(contract, inspect.iscoroutinefunction):
        if name.startswith("test_"):
            await test(model)


def tokens(steps: Sequence[Step]) -> list[int]:
    return [token for step in steps for token in step.token_ids]


def text(steps: Sequence[Step]) -> str:
    return "".join(step.text for step in steps)
