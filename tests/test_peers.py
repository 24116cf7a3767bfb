"""Comparisons with other packages, without them: what is compared, and that a difference is seen."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import peers
from bench.experiments.peers import reasoners, treequest
from bench.experiments.peers.its_hub import END, Adapter
from bench.experiments.peers.scripted import RandomTree
from search.command import Exit
from search.types import Problem, Step, StepScore, Stop
from search.values import Prior
from tests.fakes import GOOD, MEH, RandomWorld, step

# -- LLM Reasoners ---------------------------------------------------------------------------------


@given(
    number=st.integers(0, 10_000), width=st.integers(1, 6), depth=st.integers(1, 7),
    exploration=st.sampled_from([0.0, 0.2, 1.0, 3.0]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_mcts_expands_the_nodes_that_a_plain_reference_of_llm_reasoners_expands(
    number: int, width: int, depth: int, exploration: float
) -> None:
    """`python -m bench.peers reasoners` checks the reference against the package itself."""
    tree = RandomTree(number, width, depth)
    assert reasoners.ours(tree, exploration) == reasoners.plain(tree, exploration, whole_paths=False)


def test_where_paths_have_one_step_it_makes_no_difference_how_far_a_simulation_goes() -> None:
    """Beyond, it does: LLM Reasoners goes on to the end of a solution and expands all on the way."""
    same = {
        depth: [
            reasoners.plain(RandomTree(number, 3, depth), 1.0, whole_paths=True)
            == reasoners.plain(RandomTree(number, 3, depth), 1.0, whole_paths=False)
            for number in range(12)
        ]
        for depth in (1, 5)
    }
    assert all(same[1]) and not any(same[5])


@pytest.mark.parametrize(("off", "code"), [(0.0, Exit.DONE), (0.5, Exit.FAILED)])
def test_a_difference_from_the_package_is_seen(
    off: float, code: Exit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def theirs(tree: RandomTree, exploration: float, *, whole_paths: bool) -> reasoners.Search:
        return reasoners.plain(tree, exploration + off, whole_paths=whole_paths)

    monkeypatch.setattr(reasoners, "theirs", theirs)
    assert peers.main(["reasoners", "--trees", "8"]) == code
    assert ("| up to 6 | mcts | package, one step | 8 | 8 | 8 |" in capsys.readouterr().out) == (not off)


# -- TreeQuest -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["gaussian", "beta"])
def test_coupled_draws_depend_on_the_posterior_and_the_number_of_samples(prior: Prior) -> None:
    first, again, uncoupled = (
        treequest.ours(treequest.endless(1), prior, rng=rng)
        for rng in (treequest.Coupled(1), treequest.Coupled(2), None)
    )
    assert first == again != uncoupled
    rng = treequest.Coupled()
    assert rng.betavariate(2, 3) == rng.betavariate(2.0, 3.0) != rng.betavariate(2, 4)
    assert rng.gauss(0, 1) == rng.gauss(-0.0, 1.0) != rng.gauss(0.5, 1)
    before = rng.gauss(0, 1)
    rng.samples = [(0,)]
    assert rng.gauss(0, 1) != before


def test_neighbouring_counts_are_merged_and_none_is_lost() -> None:
    counts = [Counter({1: 6, 2: 3, 5: 1}), Counter({1: 5, 3: 9, 4: 2, 9: 1})]
    assert treequest._binned(counts, least=10) == [[6, 4], [5, 12]]


# -- its_hub ---------------------------------------------------------------------------------------


@dataclass
class Message:
    content: str


class Models:
    """Two steps, the second of which ends the solution."""

    def __init__(self) -> None:
        self.prefixes: list[tuple[int, ...]] = []
        self.asked: list[tuple[int, int]] = []

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        self.prefixes.append(tuple(token for step in steps for token in step.token_ids))
        return [Step("b", (98, 0), -1.0, Stop.END) if steps else step("a,")]

    async def score(
        self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0
    ) -> list[StepScore]:
        self.asked.append((len(steps), num_scored))
        return [MEH, GOOD][num_scored : len(steps)]


def adapter(**how: bool) -> tuple[Models, Adapter]:
    models = Models()
    return models, Adapter(models, models, {"?": Problem("q", "?")}, "product", **how)


async def two_steps(model: Adapter) -> tuple[str, str, list[float]]:
    [first] = await model.agenerate([[Message("?")]])
    [second] = await model.agenerate([[Message("?"), Message(first["content"])]])
    first_text, second_text = first["content"], second["content"]
    await model.ascore("?", [first_text])
    return first_text, second_text, await model.ascore("?", [first_text + second_text.removesuffix(END)])


def test_its_hub_gets_texts_and_the_policy_gets_tokens() -> None:
    models, model = adapter()
    first, second, [value] = asyncio.run(two_steps(model))
    assert (first, second) == ("a,", "b" + END)
    assert models.prefixes == [(), (97, 44)]
    assert value == pytest.approx(0.8 * 0.9)
    assert models.asked == [(1, 0), (2, 1)], "the score of the first step is kept"
    assert (model.completions, model.scored) == (2, 2)


def test_its_hub_as_it_is_sees_no_end_and_scores_whole_texts() -> None:
    models, model = adapter(marked=False, keeps_scores=False)
    first, second, [value] = asyncio.run(two_steps(model))
    assert (first, second, value) == ("a,", "b", pytest.approx(0.8 * 0.9))
    assert models.asked == [(1, 0), (2, 0)]
    asyncio.run(model.agenerate([[Message("?"), Message("a,b")]]))
    assert models.prefixes[-1] == (97, 44, 98), "no end of turn, as in a text"


def test_texts_of_many_conversations_are_told_apart() -> None:
    world = RandomWorld()
    problems = {text: Problem(text, text) for text in ("one?", "two?")}
    model = Adapter(world, world, problems, "product")

    async def grow() -> list[float]:
        values = []
        for question in problems:
            replies = await model.agenerate([[Message(question)]] * 5)
            values += await model.ascore(question, [reply["content"].removesuffix(END) for reply in replies])
        return values

    values = asyncio.run(grow())
    assert len(values) == 10 and all(0 <= value <= 1 for value in values) and len(set(values)) > 2
