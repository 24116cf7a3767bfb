"""Critiques: what a policy is told about a turn, beside what its code printed and whether it is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from search.prompts import Conversation, Prompt
from search.seeds import derive
from search.types import Policy, Problem, Step, Until


@dataclass(frozen=True, slots=True)
class Checked:
    """What a checker found. words: its own, e.g. why a program failed; "" if it has none."""

    correct: bool
    words: str = ""


class Critic(Protocol):
    """Says what is wrong with a turn. Safe to call concurrently."""

    async def critique(
        self, problem: Problem, turns: Sequence[Step], observation: str, checked: Checked | None
    ) -> str:
        """A critique of the last turn, "" for none; given what the policy is told of it so far.

        checked: None if the answer was not checked. Equal arguments give equal critiques. Tokens that it
        samples are counted by the observation, not as the policy's. Raises SearchError.
        """
        ...


class CheckerCritic:
    """The checker's own words, e.g. which kind of test a program failed."""

    async def critique(
        self, problem: Problem, turns: Sequence[Step], observation: str, checked: Checked | None
    ) -> str:
        return "" if checked is None else checked.words


REQUEST = """\
Here is a problem and an attempt to solve it.

Problem:
{problem}

Attempt:
{attempt}

{observation}
{reference}Say in at most three sentences what is wrong with the attempt, or what to do next. Do not solve \
the problem, and do not state its answer.
"""


class ModelCritic:
    """A model behind a policy of its own, or the one that is searched with.

    prompt: how it is asked; its template is filled with `REQUEST`. max_tokens: of a critique.
    reference: the reference answer to a problem, which Eurus shows its critic; None shows none.
    """

    def __init__(
        self,
        policy: Policy,
        prompt: Prompt,
        *,
        reference: Callable[[Problem], str] | None = None,
        max_tokens: int = 128,
        temperature: float = 0.0,
    ):
        self._policy, self._prompt, self._reference = policy, prompt, reference
        self._max_tokens, self._temperature = max_tokens, temperature

    async def critique(
        self, problem: Problem, turns: Sequence[Step], observation: str, checked: Checked | None
    ) -> str:
        known = "" if self._reference is None else f"The answer is {self._reference(problem)}.\n"
        text = REQUEST.format(
            problem=problem.question, attempt=turns[-1].text.strip(), observation=observation,
            reference=known,
        )  # fmt: skip
        asked = Conversation(problem.id, problem.question, prompt=self._prompt, text=text)
        steps = await self._policy.propose(
            asked, (), until=Until.END, max_tokens=self._max_tokens,
            seed=derive("critique", problem.id, text), temperature=self._temperature,
        )  # fmt: skip
        return "".join(step.text for step in steps)
