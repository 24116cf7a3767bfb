"""The fakes pass the contract tests, and the contract tests catch models that break the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from search.limits import metered
from search.types import Policy, Problem, Step, StepScore, StepScorer, Until
from tests.contracts import PolicyContract, ScorerContract, check_policy, check_scorer
from tests.fakes import RandomWorld, ScriptedPolicy, ScriptedScorer, score

Q = Problem("q", "?")


class TestRandomPolicy(PolicyContract):
    @pytest.fixture(params=[None, 1])
    def policy(self, request: pytest.FixtureRequest) -> Policy:
        return RandomWorld(jitter=request.param)


class TestRandomScorer(ScorerContract):
    @pytest.fixture(params=[None, 1])
    def scorer(self, request: pytest.FixtureRequest) -> StepScorer:
        return RandomWorld(jitter=request.param)


class TestScriptedScorer(ScorerContract):
    @pytest.fixture
    def scorer(self) -> StepScorer:
        return ScriptedScorer({"2 + 12 = 15\n": StepScore(1.0, 0.0, 0.0)})


async def test_one_call_runs_a_whole_contract() -> None:
    await check_policy(RandomWorld(2))
    await check_scorer(RandomWorld(2))


class Forgetful(RandomWorld):
    """Its samples depend on the number of calls so far."""

    async def propose(self, *args: Any, seed: int, **options: Any) -> list[Step]:
        return await super().propose(*args, seed=seed + self.calls, **{**options, "temperature": 1.0})


class Seedless(RandomWorld):
    async def propose(self, *args: Any, seed: int, **options: Any) -> list[Step]:
        return await super().propose(*args, seed=0, **options)


class Wordy(RandomWorld):
    async def propose(self, *args: Any, max_tokens: int, **options: Any) -> list[Step]:
        return await super().propose(*args, max_tokens=max_tokens + 1, **options)


class Thrifty(RandomWorld):
    """Does not charge what it samples."""

    async def propose(self, *args: Any, **options: Any) -> list[Step]:
        with metered():
            return await super().propose(*args, **options)


class Hasty(RandomWorld):
    """Returns all the rest when one step is requested."""

    async def propose(self, *args: Any, until: Until, **options: Any) -> list[Step]:
        return await super().propose(*args, until=Until.END, **options)


@pytest.mark.parametrize(
    "policy", [Forgetful(), Seedless(), Wordy(), Thrifty(), Hasty()], ids=lambda p: type(p).__name__
)
async def test_the_contract_catches_a_bad_policy(policy: Policy) -> None:
    with pytest.raises((AssertionError, ValueError)):
        await check_policy(policy)


class Clairvoyant(RandomWorld):
    """A score depends on later steps."""

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        return [score(i, *(s.text for s in steps)) for i in range(num_scored, len(steps))]


class ShortSighted(RandomWorld):
    """A score depends on `num_scored`."""

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        return [score(num_scored, steps[i].text) for i in range(num_scored, len(steps))]


class Repetitive(RandomWorld):
    """Scores again what is scored already."""

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        return await super().score(problem, steps)


@pytest.mark.parametrize(
    "scorer", [Clairvoyant(), ShortSighted(), Repetitive()], ids=lambda s: type(s).__name__
)
async def test_the_contract_catches_a_bad_scorer(scorer: StepScorer) -> None:
    with pytest.raises(AssertionError):
        await check_scorer(scorer)


async def test_a_script_is_followed_by_address() -> None:
    from search.tree import Tree

    policy = ScriptedPolicy({"": ["a,", "a,", "b."], "a,": ["x.", "y."]})
    tree = Tree(Q, policy, ScriptedScorer())
    first, second, _ = await tree.expand([tree.root], 3)
    texts = [leaf.text for leaf in await tree.complete([second, first], 2)]
    assert texts == ["a,x.", "a,y.", "a,x.", "a,y."]
    [missing] = await tree.expand([first])
    assert missing.failed is not None and "child 2 of 'a,' was requested" in missing.failed
