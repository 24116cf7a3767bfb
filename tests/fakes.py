"""Policies and reward models without a model. Their results depend on the arguments only, not on the
number of calls.

ScriptedPolicy, ScriptedScorer   results written out in a dict
RandomWorld                      both in one, results drawn from hashes of the arguments
FractionAnswers                  "= 1/2" and "= 0.5" are the same answer
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from search.limits import charge
from search.seeds import derive
from search.types import Address, Problem, Step, StepScore, Stop, Until

GOOD, MEH, BAD = StepScore(0.1, 0.1, 0.8), StepScore(0.2, 0.6, 0.2), StepScore(0.9, 0.05, 0.05)

STOPS = {".": Stop.END, "~": Stop.LENGTH, "!": Stop.REPETITION}


def step(text: str) -> Step:
    """A step in the notation of scripts: "a," continues, "a." ends the solution, "" ends it with a blank
    step, "a~" is cut at a limit, "a!" is a repetition. Each character is one token.
    """
    stop = STOPS.get(text[-1], Stop.STEP) if text else Stop.END
    return Step(text, tuple(map(ord, text)), -0.5 * len(text), stop)


def cut(text: str, max_tokens: int) -> Step:
    """The first `max_tokens` tokens of a step."""
    return Step(text[:max_tokens], tuple(map(ord, text[:max_tokens])), -0.5 * max_tokens, Stop.LENGTH)


@dataclass(frozen=True)
class PolicyCall:
    """A call of a scripted policy, for the continuation number `child` of `after`."""

    after: str
    child: int
    until: Until
    temperature: float | None


SCRATCH = (-1, -2)
"""The last parts of the addresses of scratch nodes."""


@dataclass
class ScriptedPolicy:
    """script: prefix -> the texts of its children.

    Seeds derive from addresses, so the seed of a call tells which child it is for. Neither the order of
    the calls nor a replay changes the result. A scratch node is a copy of the first child.
    """

    script: Mapping[str, Sequence[str]]
    seed: int = 0
    calls: list[PolicyCall] = field(default_factory=list)

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
        after = "".join(s.text for s in steps)
        child = self._child(problem, after, seed)
        self.calls.append(PolicyCall(after, child, until, temperature))
        sampled: list[Step] = []
        while True:
            scripted = self.script.get(after, ())
            if child >= len(scripted):
                raise AssertionError(f"child {child} of {after!r} was requested, the script has {scripted}")
            new = step(scripted[child])
            sampled.append(new if new.n_tokens <= max_tokens else cut(new.text, max_tokens))
            charge(policy_tokens=sampled[-1].n_tokens)
            max_tokens -= new.n_tokens
            if until is Until.STEP or sampled[-1].stop is not Stop.STEP:
                return sampled
            after, child = after + new.text, 0

    def _child(self, problem: Problem, text: str, seed: int) -> int:
        for address in self._addresses("", text, ()):
            for child in (*range(32), *SCRATCH):
                if derive(self.seed, problem.id, *address, child) == seed:
                    return max(child, 0)
        raise AssertionError(f"a child of {text!r} was requested with a seed that no child has")

    def _addresses(self, at: str, text: str, address: Address) -> Iterator[Address]:
        """Every address at which the script has `text`."""
        if at == text:
            yield address
            return
        for child, new in enumerate(self.script.get(at, ())):
            if new and text.startswith(at + new):
                for own in (child, *SCRATCH) if min(address, default=0) >= 0 else SCRATCH[:1]:
                    yield from self._addresses(at + new, text, (*address, own))


@dataclass
class ScriptedScorer:
    """scores: solution up to and including a step, or the step alone -> its score. The default is GOOD."""

    scores: Mapping[str, StepScore] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)  # "|" stands before the first step to be scored

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        texts = [s.text for s in steps]
        self.calls.append("".join(texts[:num_scored]) + "|" + "".join(texts[num_scored:]))
        upto = ["".join(texts[: i + 1]) for i in range(len(texts))]
        own = [self.scores.get(text, GOOD) for text in texts]
        return [self.scores.get(upto[i], own[i]) for i in range(num_scored, len(texts))]


class FractionAnswers:
    """Reads "a/b" or "a.b" from the last "=" to the end of its line."""

    def extract(self, text: str) -> str | None:
        answer = text.rpartition("=")[2].partition("\n")[0]
        return answer.strip(" .") or None if "=" in text else None

    def equal(self, a: str, b: str) -> bool:
        return Fraction(a) == Fraction(b)


WORDS = ["add\n", "double\n", "halve\n", "it is = 1/2\n"]
ENDS = ["so = 1/2\n", "so = 0.5\n", "so = 2\n", "so = 2.0\n", "who knows\n", ""]
END_OF_TURN = 0  # the token that ends a solution; it has no text


class RandomWorld:
    """A policy and a reward model whose results are drawn from hashes of the arguments.

    Every case occurs: solutions that end with an answer, without one, or with a blank step; steps cut at
    limits, repetitions, duplicates, ties, and discarded tokens. Each character is one token. At
    temperature 0 the result does not depend on the seed.

    jitter: seeds the order in which concurrent calls finish, and changes nothing else.
    pause_s: duration of each call.
    """

    def __init__(self, jitter: int | None = None, *, depth: int = 5, pause_s: float = 0.0):
        self._clock = None if jitter is None else random.Random(jitter)
        self._depth, self._pause_s = depth, pause_s
        self.calls = 0

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
        await self._wait()
        charge(prompt_tokens=len(problem.question), prompt_tokens_cached=sum(s.n_tokens for s in steps))
        sampled: list[Step] = []
        text, left = "".join(s.text for s in steps), max_tokens
        while True:
            luck = derive("greedy") if temperature == 0 else derive(seed, temperature)
            rng = random.Random(derive("policy", problem.id, text, luck))
            new = self._draw(rng, len(steps) + len(sampled))
            if new.n_tokens > left:
                new = cut(new.text, left)
            charge(policy_tokens=new.n_tokens)
            left -= new.n_tokens
            text += new.text
            if until is Until.STEP and rng.random() < 0.2:
                charge(policy_tokens=(extra := min(left, 3)))  # tokens past the end of the step, discarded
                left -= extra
            if until is Until.END and new.stop is Stop.STEP and left == 0:
                new = Step(new.text, new.token_ids, new.logprob, Stop.LENGTH)
            sampled.append(new)
            if until is Until.STEP or new.stop is not Stop.STEP:
                return sampled

    def _draw(self, rng: random.Random, depth: int) -> Step:
        luck = rng.random()
        if depth >= self._depth or luck < 0.2:
            text = rng.choice(ENDS)
            return Step(text, (*map(ord, text), END_OF_TURN), -rng.random(), Stop.END)
        text = rng.choice(WORDS)
        stop = Stop.LENGTH if luck < 0.25 else Stop.REPETITION if luck < 0.28 else Stop.STEP
        return Step(text, tuple(map(ord, text)), -rng.random(), stop)

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        await self._wait()
        tokens = [s.n_tokens for s in steps]
        charge(prm_tokens=sum(tokens[num_scored:]), prm_tokens_cached=sum(tokens[:num_scored]))
        texts = [s.text for s in steps]
        return [score(problem.id, *texts[: i + 1]) for i in range(num_scored, len(texts))]

    async def _wait(self) -> None:
        self.calls += 1
        if self._pause_s:
            await asyncio.sleep(self._pause_s)
        for _ in range(self._clock.randrange(5) if self._clock else 0):
            await asyncio.sleep(0)


def score(*parts: object) -> StepScore:
    """A score drawn from a hash of `parts`, coarse enough for ties."""
    rng = random.Random(derive("judgement", *parts))
    weights = [rng.choice((1, 2, 5)) for _ in range(3)]
    return StepScore(*(weight / sum(weights) for weight in weights))
