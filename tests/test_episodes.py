"""Searches over turns: every strategy, killed and resumed, replayed, and shown."""

from __future__ import annotations

import asyncio
import io
import itertools
import random
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from bench.report.recorded import read_trace
from bench.runner.cli.display import Transcript
from search.engine import Outcome, solve
from search.environments.episode import EpisodePolicy
from search.errors import PolicyError
from search.limits import CostLimits, LengthLimits, charge
from search.node import Node
from search.seeds import derive
from search.strategies import STRATEGIES
from search.strategies.best_of_n import BestOfN
from search.strategies.cot import ChainOfThought
from search.strategies.hgs import HGS
from search.trace import Trace, read_steps
from search.tree import Strategy, Tree
from search.types import Observation, Problem, Step, StepScore, Stop, Until, texts_read
from tests.fakes import BAD, GOOD, MEH, FractionAnswers, RandomWorld, step

Q = Problem("q", "1 + 1?")
LENGTHS = LengthLimits(step_tokens=30, solution_tokens=90)


# -- pictures --------------------------------------------------------------------------------------


@dataclass
class Messenger:
    """script: turns so far -> the messages that may follow. asked: what it was to continue."""

    script: Mapping[str, Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, max_tokens: int, seed: int,
        temperature: float | None = None,
    ) -> list[Step]:  # fmt: skip
        assert until is Until.END, "a turn is a whole message"
        self.asked.append("".join(s.text + (s.observation.rendered if s.observation else "") for s in steps))
        addresses = itertools.product(range(4), repeat=len(steps) + 1)
        seeds = {derive(0, problem.id, *address): address[-1] for address in addresses}
        said = self.script["".join(s.text for s in steps)][seeds.get(seed, 0)]
        charge(policy_tokens=len(said))
        lines = [step(line) for line in said.splitlines(keepends=True)]
        return [*lines[:-1], Step(lines[-1].text, lines[-1].token_ids, 0.0, Stop.END)]


@dataclass
class Answering:
    """answers: to a message, what is observed; to others the episode ends, and they are its answer."""

    answers: Mapping[str, str]

    async def step(self, problem: Problem, turns: Sequence[Step]) -> Observation:
        said = turns[-1].text
        return Observation(self.answers.get(said, ""), read=f"read: {said}", ends=said not in self.answers)


@dataclass
class Reader:
    """scores: of what is read of a turn. read: all that was."""

    scores: Mapping[str, StepScore]
    read: list[str] = field(default_factory=list)

    async def score(
        self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0
    ) -> list[StepScore]:
        new = texts_read(steps)[num_scored:]
        self.read += new
        return [self.scores.get(text, GOOD) for text in new]


class Picture:
    """A strategy over scripted turns: what was chosen, and what was asked for it."""

    def __init__(
        self, strategy: Strategy, script: Mapping[str, Sequence[str]], answers: Mapping[str, str],
        scores: Mapping[str, StepScore] | None = None, limits: CostLimits = CostLimits(),
    ):  # fmt: skip
        self.policy, self.scorer = Messenger(script), Reader(scores or {})
        episodes = EpisodePolicy(self.policy, Answering(answers), 99)
        self.tree = Tree(Q, episodes, self.scorer, lengths=LengthLimits(99, 999), limits=limits)
        self.chosen = asyncio.run(strategy(self.tree))
        assert not self.tree.events.failed, self.tree.broken
        self.text, self.answer = self.chosen.text, self.tree.answer(self.chosen)


def test_hgs_goes_back_over_turns() -> None:
    """A wrong turn is left, and so is a right one after which all turns are wrong."""
    picture = Picture(
        HGS(width=2, escalation=0.0),
        {"": ["try\nx", "dead", ], "try\nx": ["no", "nay"], "dead": ["7"]},
        {"try\nx": "Out: 1", "dead": "Out: 2", "no": "Out: 3", "nay": "Out: 4"},
        {"\nOut: 1\nno": BAD, "\nOut: 1\nnay": BAD, "dead": MEH},
    )
    assert picture.text == "dead7" and picture.answer == "read: 7"
    assert picture.policy.asked == ["", "try\nx\nOut: 1\n", "try\nx\nOut: 1\n", "", "dead\nOut: 2\n"]
    assert picture.tree.events.backtracks == 1


def test_a_turn_is_scored_before_its_observation_is_read() -> None:
    picture = Picture(HGS(), {"": ["a"], "a": ["b"], "ab": ["c"]}, {"a": "yes", "b": "no"})
    assert picture.scorer.read == ["a", "\nyes\nb", "\nno\nc"]


def test_best_of_n_chooses_among_episodes() -> None:
    script = {"": ["a", "z", "b"], "a": ["1"], "b": ["2"]}
    picture = Picture(BestOfN(n=3), script, {"a": "Out: a", "b": "Out: b"}, {"\nOut: a\n1": BAD, "z": MEH})
    assert picture.text == "b2" and picture.answer == "read: 2"
    assert picture.chosen.steps[0].observation == Observation("Out: b", read="read: b", rendered="\nOut: b\n")


def test_observations_cost_no_tokens_and_a_limit_leaves_the_turns_so_far() -> None:
    script = {"": ["aaaa"], "aaaa": ["bbbb"], "aaaabbbb": ["cccc"]}
    answers = {"aaaa": "o" * 50, "bbbb": "o" * 50}
    whole = Picture(ChainOfThought(), script, answers)
    assert (whole.text, whole.tree.cost.policy_tokens) == ("aaaabbbbcccc", 12)
    cut = Picture(ChainOfThought(), script, answers, limits=CostLimits(policy_tokens=8))
    assert (cut.text, cut.answer, cut.tree.events.exhausted) == ("aaaabbbb", None, 1)
    assert cut.chosen.step is not None and cut.chosen.step.stop is Stop.LENGTH


def test_a_message_that_is_cut_is_not_answered() -> None:
    world = RandomWorld()
    episodes = EpisodePolicy(world, Answering({}), turn_tokens=3)
    [turn] = asyncio.run(episodes.propose(Q, [], until=Until.END, max_tokens=99, seed=3))
    assert (turn.stop, turn.n_tokens, turn.observation) == (Stop.LENGTH, 3, None)


# -- a random world ----------------------------------------------------------------------------------


class Weather:
    """Answers that are drawn from hashes of the turns. calls: how many were asked for."""

    def __init__(self, jitter: int = 0):
        self._clock, self.calls = random.Random(jitter), 0

    async def step(self, problem: Problem, turns: Sequence[Step]) -> Observation:
        self.calls += 1
        for _ in range(self._clock.randrange(4)):
            await asyncio.sleep(0)
        luck = random.Random(derive("weather", problem.id, *(turn.text for turn in turns)))
        said, ends = turns[-1].text, len(turns) >= 4 or luck.random() < 0.4
        return Observation(f"Out: {luck.randrange(3)}", said, ends or not said.strip(), kept=len(turns))


class Nothing:
    """In place of the models and the environment, where all is recorded."""

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        raise PolicyError("not recorded")

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        raise PolicyError("not recorded")

    async def step(self, problem: Problem, turns: Sequence[Step]) -> Observation:
        raise PolicyError("not recorded")


async def solved(
    strategy: Strategy, world: Any, weather: Any, trace: Trace | None = None, deadline: float | None = None
) -> Outcome:
    outcomes = solve(
        [Q], strategy, world, world, seed=9, lengths=LENGTHS, answers=FractionAnswers(),
        environment=weather, trace=trace,
    )
    [outcome] = [outcome async for outcome in outcomes]
    assert outcome.error is None, outcome.error
    return outcome


def facts(outcome: Outcome) -> tuple[Any, ...]:
    cost = outcome.cost
    return outcome.steps, outcome.answer, outcome.value, cost.policy_tokens, cost.samples, cost.scores


@settings(max_examples=20)
@given(name=st.sampled_from(list(STRATEGIES)), cut=st.floats(0, 1), jitter=st.integers(0, 99))
@example("hgs", 0.5, 1)
@example("mcts", 0.7, 2)
@example("beam", 0.9, 3)
def test_same_episode_whatever_the_timing_killed_anywhere_and_replayed(
    name: str, cut: float, jitter: int
) -> None:
    strategy = STRATEGIES[name]()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.jsonl"

        async def run(world: Any, weather: Any) -> tuple[Any, ...]:
            with closing(Trace(path, {"strategy": name})) as trace:
                return facts(await solved(strategy, world, weather, trace))

        whole = asyncio.run(run(RandomWorld(jitter), Weather(jitter)))
        assert asyncio.run(solved_facts(strategy, jitter + 1)) == whole
        content = path.read_bytes()
        assert b'"observe"' in content
        path.write_bytes(content[: int(cut * len(content))])
        assert asyncio.run(run(RandomWorld(jitter + 2), Weather(jitter + 2))) == whole
        assert asyncio.run(run(Nothing(), Nothing())) == whole, "a replay needs no environment"
        tree = read_trace(path).trees[Q.id]
        assert tree.chosen is not None and tuple(tree.chosen.steps) == whole[0]
        assert all(is_whole_turn(node) for node in tree.nodes)


async def solved_facts(strategy: Strategy, jitter: int) -> tuple[Any, ...]:
    return facts(await solved(strategy, RandomWorld(jitter), Weather(jitter)))


def is_whole_turn(node: Node) -> bool:
    """Whether the recorded turn has an observation, or was cut and can have none."""
    assert node.step is not None
    return (node.step.observation is not None) == (node.step.stop in (Stop.STEP, Stop.END))


def test_an_observation_without_its_turn_is_no_ones() -> None:
    """A kill parted them, and when it was sampled again, by an engine without seeds, the turn was cut."""
    event = {"at": [0], "steps": [["so", [], 0.0, "step", 1], ["on", [], 0.0, "length", 1]]}
    left = {(0,): Observation("a"), (0, 0): Observation("b"), (1,): Observation("c")}
    assert [turn.observation for turn in read_steps(event, left)] == [Observation("a"), None]
    assert left == {(1,): Observation("c")}


# -- what is shown -------------------------------------------------------------------------------------


def test_a_transcript_shows_turns_code_and_output() -> None:
    code = "```python\nprint(1)\n```"
    episodes = EpisodePolicy(Messenger({"": [code], code: ["It is 1."]}), Answering({code: "Out: 1"}), 99)
    console = Console(file=io.StringIO(), width=100)
    shown = Transcript(console)
    tree = Tree(
        Q, episodes, Reader({}), lengths=LengthLimits(99, 999),
        watch=lambda event, node: shown.event(Q, event, node),
    )  # fmt: skip
    chosen = asyncio.run(HGS()(tree))
    shown.end(Outcome(Q, tuple(chosen.steps), "1", None, tree.cost, tree.events, 0.0))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "\n  ```  (0.90)\n    Out: 1\n" in text
    assert text.partition("solution:\n")[2].startswith("```python\nprint(1)\n```\nOut: 1\nIt is 1.")


@pytest.mark.parametrize("strategy", [BestOfN(n=2), HGS()], ids=["best_of_n", "hgs"])
async def test_without_an_environment_nothing_is_observed(strategy: Strategy, tmp_path: Path) -> None:
    with closing(Trace(tmp_path / "trace.jsonl")) as trace:
        outcome = await solved(strategy, RandomWorld(), None, trace)
    assert all(s.observation is None for s in outcome.steps)
    assert "observe" not in (tmp_path / "trace.jsonl").read_text()
