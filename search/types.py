"""The nouns of the engine and the protocols it is built on. Standard library only.

Problem     a question, without its reference answer
Step        one reasoning step, as the policy emitted it
Observation what an environment answered to a step that is a whole message
StepScore   a reward model's probabilities for one step
Ahead       what a strategy may ask for next
Policy      proposes steps
StepScorer  scores steps
Answers     reads the final answer in a solution's text
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from math import isfinite, log
from typing import Protocol, runtime_checkable

from search.errors import ScorerError

Address = tuple[int, ...]
"""A node's place in the tree: the child index at each level. () is the root, (0, 2) its first child's
third."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A question. It holds no reference answer, so no strategy can see one.

    id: unique in a run, e.g. "gsm8k/test/17"; seeds, traces and resuming are keyed by it.
    question: the text of the task, before any prompt template.
    """

    id: str
    question: str


class Stop(StrEnum):
    """Why a step ends where it does. Only END finishes a solution."""

    STEP = "step"
    """At the step delimiter; the solution continues."""
    END = "end"
    """The model ended its turn, or a stop string of the prompt was reached."""
    LENGTH = "length"
    """Cut at a token limit; the text may be incomplete."""
    REPETITION = "repetition"
    """The same step several times in a row; cut."""


class Until(StrEnum):
    """How far one proposal goes."""

    STEP = "step"
    END = "end"


class Label(IntEnum):
    """PRM800K's step labels (Lightman et al. 2023, arXiv:2305.20050)."""

    NEGATIVE = -1
    NEUTRAL = 0
    POSITIVE = 1


@dataclass(frozen=True, slots=True)
class Observation:
    """What an environment answered to a turn: a step that is one whole message of the policy.

    text: what the policy reads before its next turn; it never counts as sampled.
    read: the text that the answer of an episode that ends with this turn is read from.
    ends: whether the episode ends with this turn.
    output: what the turn's last code block printed; "" if it failed, or if there is none.
    kept: how many of the turn's code blocks left a state; they are run again before those of later turns.
    critic_tokens: tokens that a critic sampled for it, which are not in the problem's `Cost`.
    rendered, token_ids: `text` as it stands between this turn and the next, with the markers of a chat
        template. Set by the policy; token_ids is empty if it works on text only.
    """

    text: str
    read: str = ""
    ends: bool = False
    output: str = ""
    kept: int = 0
    critic_tokens: int = 0
    rendered: str = ""
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One reasoning step, exactly as the policy emitted it.

    text: includes its delimiter, so "".join(s.text for s in steps) is the completion.
    token_ids: the policy's own tokens; prefixes are re-sent as tokens, never re-tokenised.
        Empty if the policy has none to show (a server that only speaks text). The last one of a solution
        may reach beyond its text, into a stop string.
    logprob: sum over the tokens, in nats, at temperature 1; 0.0 if the policy does not report it.
    n_tokens: tokens of the step; needed only if `token_ids` is empty.
    observation: of a turn, the environment's answer; None for steps of one message. If a turn follows,
        `token_ids` are without the token that ended the message: it is in the observation's.
    """

    text: str
    token_ids: tuple[int, ...]
    logprob: float
    stop: Stop
    n_tokens: int = -1
    observation: Observation | None = None

    def __post_init__(self) -> None:
        if self.n_tokens < 0:
            object.__setattr__(self, "n_tokens", len(self.token_ids))

    @property
    def is_blank(self) -> bool:
        """True if there is no text: the model ended the solution right after the previous step."""
        return not self.text.strip()


def since_observation(steps: Sequence[Step]) -> Sequence[Step]:
    """The steps after the last observation: all of them, unless they are turns."""
    return steps[next((i for i in range(len(steps), 0, -1) if steps[i - 1].observation is not None), 0) :]


def texts_read(steps: Sequence[Step]) -> list[str]:
    """The steps as a reward model reads them: each after the observation that stands before it, if any.

    Returns [len(steps)]. So a turn is scored without its own observation, which may hold a verdict on it.
    """
    texts, before = list[str](), ""
    for step in steps:
        texts.append(before + step.text)
        before = "" if step.observation is None else f"\n{step.observation.text}\n"
    return texts


def answer_text(steps: Sequence[Step]) -> str:
    """What the answer of a solution is read from: its text, or what the last turn leaves to read."""
    if steps and (observation := steps[-1].observation) is not None:
        return observation.read
    return "".join(step.text for step in steps)


@dataclass(frozen=True, slots=True)
class StepScore:
    """A reward model's probabilities for one step. Raises ScorerError if they do not sum to 1.

    Two-class models have neutral = 0.
    """

    negative: float
    neutral: float
    positive: float

    def __post_init__(self) -> None:
        parts = (self.negative, self.neutral, self.positive)
        if not all(isfinite(p) and p >= 0 for p in parts) or abs(sum(parts) - 1) > 1e-3:
            raise ScorerError(
                f"the reward model returned {parts}, which are not probabilities; "
                "check its weights, its precision and its prm.json"
            )

    @property
    def label(self) -> Label:
        """The most probable label; a tie goes to the lower one."""
        by_label = {
            Label.NEGATIVE: self.negative, Label.NEUTRAL: self.neutral, Label.POSITIVE: self.positive,
        }
        return max(by_label, key=by_label.__getitem__)

    @property
    def value(self) -> float:
        """P(step is not wrong), in [0, 1]."""
        return min(1.0, self.positive + self.neutral)

    @property
    def logit(self) -> float:
        """ln(P(not wrong) / P(wrong)), within +-708.4: a probability of 0 counts as the smallest float.

        It tells sure steps apart where `value` is 1.0 for all: P(wrong) is as small as 1e-38 in float32.
        """
        least = sys.float_info.min
        return log(max(self.positive + self.neutral, least)) - log(max(self.negative, least))


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a strategy may ask for next, by temperature.

    siblings: further children of the same node, in order. children: the first children of each new node.
    """

    siblings: Sequence[float | None] = ()
    children: Sequence[float | None] = ()


class Policy(Protocol):
    """A language model that continues partial solutions. Safe to call concurrently."""

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
        """Sample one continuation of `steps`: the next step, or all the rest (`Until.END`).

        Calls `search.charge(policy_tokens=...)` for every token it samples, kept or not, and
        `prompt_tokens` and `prompt_tokens_cached` if it can tell.

        max_tokens: the most that this call may sample. temperature: None is the policy's own, 0 is greedy.
        seed: equal arguments give equal samples, whatever else is in flight.
        Returns at least one step; only the last may have a `stop` other than STEP.
        Raises PolicyError, or ContextError if the prefix does not fit the context window.
        """
        ...


class StepScorer(Protocol):
    """A process reward model (PRM). Safe to call concurrently: it does its own batching."""

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        """Score every step after the first `num_scored`, given the steps before it.

        Calls `search.charge(prm_tokens=..., prm_tokens_cached=...)`.

        Returns [len(steps) - num_scored]. A score does not depend on later steps.
        Raises ScorerError, or ContextError if the steps do not fit the context window.
        """
        ...


@runtime_checkable
class BoundedScorer(Protocol):
    """A scorer that can say beforehand what a call may cost, as limits on `prm_tokens` need."""

    def max_tokens(self, problem: Problem, steps: Sequence[Step]) -> int:
        """The most tokens that scoring these steps may compute."""
        ...


class Answers(Protocol):
    """How a task reads answers."""

    def extract(self, text: str) -> str | None:
        """The final answer in a solution's text, None if there is none."""
        ...

    def equal(self, a: str, b: str) -> bool:
        """True if two extracted answers are the same answer ("1/2" and "0.5"). May block; never raises."""
        ...


@runtime_checkable
class AnswersByProblem(Protocol):
    """How a task reads answers where that depends on the problem, e.g. programs with tests of their own."""

    def answers(self, problem: Problem) -> Answers:
        """How the answers to this problem are read; called once, before it is worked on."""
        ...
