"""Turns in place of steps: a policy that samples whole messages and has an environment answer them.

A turn is a `Step` that carries the environment's answer. So trees, strategies, traces and scorers work over
turns as they do over steps of one message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Protocol, runtime_checkable

from search.limits import Cost, charge, metered
from search.policies.turns import plain_between
from search.seeds import derive
from search.types import Observation, Policy, Problem, Step, Stop, Until


class Environment(Protocol):
    """What a message is sent to. Safe to call concurrently; it keeps nothing of a branch between calls."""

    async def step(self, problem: Problem, turns: Sequence[Step]) -> Observation:
        """Answer the last turn of a branch, given those before it with their observations.

        Equal turns should get equal answers. Raises SearchError if it cannot answer.
        """
        ...


@runtime_checkable
class Conversing(Protocol):
    """A policy that says how it reads an environment's answer, as those of `search.policies` do."""

    def answered(self, problem: Problem, turn: Step, observation: Observation) -> Step:
        """The message as a turn after which the next can follow. See `SteppingPolicy.answered`."""
        ...


def answered(policy: Policy, problem: Problem, turn: Step, observation: Observation) -> Step:
    """The message as a turn, as this policy reads the observation: in plain text if it does not say how."""
    if isinstance(policy, Conversing):
        return policy.answered(problem, turn, observation)
    rendered = plain_between(turn.text, observation.text)
    return replace(turn, stop=Stop.STEP, observation=replace(observation, rendered=rendered))


class EpisodePolicy:
    """A `Policy` whose steps are turns: messages of `policy`, each with the answer of `environment`.

    A turn that a token limit or a repetition cuts ends the episode without an answer of the environment.
    turn_tokens: the most that one message may take.
    """

    def __init__(self, policy: Policy, environment: Environment, turn_tokens: int):
        self._policy, self._environment, self._turn_tokens = policy, environment, turn_tokens

    async def propose(
        self,
        problem: Problem,
        steps: Sequence[Step],
        *,
        until: Until,
        max_tokens: int,
        seed: int,
        temperature: float | None = None,
    ) -> list[Step]:
        """Sample the next turn, or all turns to the end of the episode. See `Policy.propose`."""
        turns: list[Step] = []
        left = max_tokens
        while True:
            before = [*steps, *turns]
            spent = Cost()
            try:
                with metered(spent):
                    message = await self._policy.propose(
                        problem, before, until=Until.END, max_tokens=min(left, self._turn_tokens),
                        seed=derive(seed, "turn", len(turns)) if turns else seed, temperature=temperature,
                    )
            finally:
                charge(**asdict(spent))
            left -= spent.policy_tokens
            turns.append(await self._answered(problem, before, _as_one(message)))
            if until is Until.STEP or turns[-1].stop is not Stop.STEP:
                return turns
            if left < 1:
                return [*turns[:-1], replace(turns[-1], stop=Stop.LENGTH)]

    async def _answered(self, problem: Problem, before: Sequence[Step], turn: Step) -> Step:
        if turn.stop is not Stop.END:
            return turn
        observation = await self._environment.step(problem, [*before, turn])
        if observation.ends:
            return replace(turn, observation=observation)
        return answered(self._policy, problem, turn, observation)


def _as_one(message: Sequence[Step]) -> Step:
    """The steps of a message as one."""
    return Step(
        "".join(step.text for step in message),
        tuple(token for step in message for token in step.token_ids),
        sum(step.logprob for step in message),
        message[-1].stop,
        sum(step.n_tokens for step in message),
    )
