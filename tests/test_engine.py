"""The loop over problems: what may not change an outcome, and what must never happen."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.runner.budget import Bounded
from search.engine import Outcome, solve, solve_all
from search.errors import PolicyError
from search.limits import Cost, CostLimits, LengthLimits, charge, metered
from search.node import Node, TreeEvent
from search.strategies import STRATEGIES
from search.strategies.beam import BeamSearch
from search.strategies.best_of_n import BestOfN
from search.strategies.cot import ChainOfThought
from search.strategies.dvts import DVTS
from search.strategies.hgs import HGS
from search.strategies.mcts import MCTS
from search.strategies.rebase import REBASE
from search.strategies.tot import TreeOfThoughts
from search.tree import Strategy, Tree
from search.types import Problem, Step, Until
from tests.fakes import FractionAnswers, RandomWorld, ScriptedPolicy, ScriptedScorer
from tests.pictures import of_value
from tests.terminal import hear_ctrl_c

PROBLEMS = [Problem(f"p{i}", f"question {i}") for i in range(5)]
SMALL: dict[str, Strategy] = {
    **{name: strategy() for name, strategy in STRATEGIES.items()},
    "beam": BeamSearch(n=4),
    "beam_lookahead": BeamSearch(n=6, lookahead=2),
    "dvts": DVTS(n=4),
    "hgs_short": HGS(width=2, max_samples=6, max_tokens=60, neutral="accept"),
    "mcts": MCTS(simulations=6),
    "mcts_rollout": MCTS(simulations=4, width=2, value="rollout"),
    "rebase": REBASE(n=4),
    "tot": TreeOfThoughts(width=2, breadth=2),
    "tot_dfs": TreeOfThoughts(search="dfs", width=2, outputs=2),
}


def run(
    strategy: Strategy, world: Any, problems: Sequence[Problem] = PROBLEMS, **options: Any
) -> list[Outcome]:
    return solve_all(
        problems, strategy, world, world, answers=FractionAnswers(),
        **{"seed": 7, "lengths": LengthLimits(step_tokens=12, solution_tokens=40), **options},
    )


class Late:
    """Scores two solutions and goes on; a solution has the value of its last step."""

    aggregate = "last"

    async def __call__(self, tree: Tree) -> Node:
        await tree.score(await tree.complete([tree.root], 2))
        await tree.expand([tree.root])
        raise AssertionError("the limit ends it")


@pytest.mark.parametrize("bounded", [False, True])
def test_where_a_limit_ends_a_search_solutions_are_compared_as_it_does(bounded: bool) -> None:
    script = {"": ["a,", "b,", "c,"], "a,": ["= 1."], "b,": ["= 2."]}
    scores = {"a,": of_value(0.3), "a,= 1.": of_value(0.99), "b,": of_value(0.9), "b,= 2.": of_value(0.8)}
    tokens = len("a,= 1.b,= 2.")
    strategy = Bounded(Late(), tokens, 0) if bounded else Late()
    [outcome] = solve_all(
        PROBLEMS[:1], strategy, ScriptedPolicy(script), ScriptedScorer(scores),
        answers=FractionAnswers(), limits=CostLimits(policy_tokens=tokens), prm_weight=0.0,
    )  # fmt: skip
    assert outcome.answer == "1"


def timeless(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [replace(outcome, seconds=0.0) for outcome in outcomes]


# -- what may not change an outcome ----------------------------------------------------------------

QUIET = {name: timeless(run(strategy, RandomWorld())) for name, strategy in SMALL.items()}


@given(jitter=st.integers(0, 10**6), concurrency=st.integers(1, 8), name=st.sampled_from(sorted(SMALL)))
@settings(max_examples=80, deadline=None)
def test_timing_and_concurrency_change_neither_outcomes_nor_usages(
    jitter: int, concurrency: int, name: str
) -> None:
    world = RandomWorld(jitter)
    assert timeless(run(SMALL[name], world, concurrency=concurrency)) == QUIET[name]


@pytest.mark.parametrize("name", SMALL)
def test_what_else_is_solved_changes_nothing(name: str) -> None:
    assert timeless(run(SMALL[name], RandomWorld(3), PROBLEMS[2:3])) == QUIET[name][2:3]


@pytest.mark.parametrize("name", ["self_consistency", "mcts"])
def test_another_seed_is_another_run(name: str) -> None:
    assert timeless(run(SMALL[name], RandomWorld(), seed=8)) != QUIET[name]


async def test_the_samples_of_best_of_4_are_among_those_of_best_of_8() -> None:
    texts = []
    for n in (4, 8):
        world = RandomWorld(n)
        tree = Tree(PROBLEMS[0], world, world)
        texts.append([leaf.text for leaf in await tree.complete([tree.root], n)])
    assert texts[1][:4] == texts[0]


# -- limits ----------------------------------------------------------------------------------------

BOUND = st.none() | st.integers(0, 60)


@given(
    limits=st.builds(CostLimits, samples=BOUND, policy_tokens=BOUND, scores=BOUND),
    name=st.sampled_from(sorted(SMALL)),
    jitter=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_limits_are_never_overshot(limits: CostLimits, name: str, jitter: int) -> None:
    for outcome in run(SMALL[name], RandomWorld(jitter), PROBLEMS[:2], limits=limits):
        for bound in ("samples", "policy_tokens", "scores"):
            if (most := getattr(limits, bound)) is not None:
                assert getattr(outcome.cost, bound) <= most
        assert outcome.error is None


@given(
    bound=st.sampled_from(["samples", "policy_tokens", "scores"]), most=st.integers(1, 60),
    name=st.sampled_from(sorted(SMALL)), jitter=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_which_candidates_a_limit_leaves_out_is_not_a_matter_of_timing(
    bound: str, most: int, name: str, jitter: int
) -> None:
    limits, world = CostLimits(**{bound: most}), RandomWorld(jitter)
    outcomes = run(SMALL[name], world, PROBLEMS[:3], limits=limits, concurrency=3)
    quiet = run(SMALL[name], RandomWorld(), PROBLEMS[:3], limits=limits, concurrency=1)
    assert timeless(outcomes) == timeless(quiet)


def test_where_a_limit_ends_a_search_the_best_so_far_is_the_answer() -> None:
    unlimited = run(BestOfN(n=3), RandomWorld(), PROBLEMS[:1])
    [outcome] = run(BestOfN(n=4), RandomWorld(), PROBLEMS[:1], limits=CostLimits(samples=3))
    assert (outcome.steps, outcome.answer) == (unlimited[0].steps, unlimited[0].answer)
    assert (outcome.error, outcome.events.exhausted, outcome.cost.samples) == (None, 1, 3)


@pytest.mark.parametrize("name", SMALL)
def test_without_any_budget_there_is_no_answer_and_no_error(name: str) -> None:
    [outcome] = run(SMALL[name], RandomWorld(), PROBLEMS[:1], limits=CostLimits(policy_tokens=0))
    assert (outcome.steps, outcome.answer, outcome.value, outcome.error) == ((), None, None, None)
    assert outcome.cost == Cost() and outcome.events.exhausted == 1


@pytest.mark.parametrize("name", SMALL)
def test_a_limit_on_tokens_fails_no_problem(name: str) -> None:
    for tokens in (10, 30, 60, 120):
        outcomes = run(SMALL[name], RandomWorld(), limits=CostLimits(policy_tokens=tokens))
        assert [o.error for o in outcomes] == [None] * len(outcomes)


def test_a_limit_or_a_budget_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="samples=-1"):
        CostLimits(samples=-1)
    with pytest.raises(ValueError, match="step_tokens=0"):
        LengthLimits(step_tokens=0)


# -- usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_tokens_are_kept_or_thrown_away(name: str) -> None:
    for outcome in QUIET[name]:
        assert outcome.error is None
        kept = sum(s.n_tokens for s in outcome.steps)
        assert outcome.cost.policy_tokens == kept + outcome.cost.policy_tokens_discarded
    assert sum(outcome.cost.policy_tokens_discarded for outcome in QUIET["hgs"]) > 0


def test_usage_adds_up_field_by_field() -> None:
    one = Cost(**{f.name: i for i, f in enumerate(fields(Cost))})
    assert one + one == Cost(**{f.name: 2 * i for i, f in enumerate(fields(Cost))})
    assert one - one == Cost()


async def test_a_cost_is_charged_to_the_call_in_which_it_arises() -> None:
    async def spend(tokens: int) -> int:
        with metered() as spent:
            await asyncio.sleep(0)
            await asyncio.gather(*(asyncio.to_thread(charge, policy_tokens=tokens) for _ in range(3)))
        return spent.policy_tokens

    assert await asyncio.gather(*map(spend, range(4))) == [0, 3, 6, 9]
    charge(policy_tokens=1)  # outside of any: nobody's


# -- cancelling ------------------------------------------------------------------------------------


class Hanging(RandomWorld):
    """Answers p0 and fails p1; every other call hangs. `hanging` counts those in flight."""

    hanging = 0
    cancelled = 0

    async def propose(self, problem: Problem, steps: Sequence[Step], **asked: Any) -> list[Step]:
        if problem.id == "p0":
            return await super().propose(problem, steps, **asked)
        try:
            self.hanging += 1
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.hanging -= 1
        raise AssertionError


async def test_closing_the_iterator_cancels_what_is_in_flight() -> None:
    world = Hanging()
    outcomes = solve(PROBLEMS, BestOfN(n=3), world, world)
    first = await anext(aiter(outcomes))
    assert (first.problem.id, world.hanging) == ("p0", 4 * 3)
    await outcomes.aclose()  # type: ignore[attr-defined]
    assert (world.hanging, world.cancelled) == (0, 4 * 3)


async def test_the_first_error_cancels_the_other_branches() -> None:
    world = RandomWorld()
    tree, hung = Tree(PROBLEMS[0], world, world), []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            hung.append("cancelled")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise PolicyError("no")

    with pytest.raises(PolicyError):
        await tree.gather(hang(), fail(), hang())
    assert hung == ["cancelled"] * 2


async def test_branches_give_their_results_in_order() -> None:
    tree = Tree(PROBLEMS[0], RandomWorld(), RandomWorld())

    async def after(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    assert await tree.gather(*map(after, [3, 0, 2])) == [3, 0, 2]
    assert await tree.gather(after(1)) == [1]
    assert await tree.gather() == []


async def test_no_more_than_so_many_problems_are_worked_on_at_a_time() -> None:
    world, most = Hanging(), 0
    problems = [Problem(f"q{i}", "") for i in range(9)]
    task = asyncio.ensure_future(_drain(problems, world, concurrency=4))
    for _ in range(20):
        await asyncio.sleep(0)
        most = max(most, world.hanging)
    assert most == 4
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert world.hanging == 0


async def _drain(problems: Sequence[Problem], world: RandomWorld, **options: Any) -> list[Outcome]:
    return [o async for o in solve(problems, ChainOfThought(), world, world, **options)]


# -- around it -------------------------------------------------------------------------------------


async def test_solve_all_inside_a_running_loop() -> None:
    assert timeless(run(ChainOfThought(), RandomWorld())) == QUIET["cot"]


def test_an_interrupt_in_a_notebook_stops_the_search() -> None:
    code = """
import asyncio, signal, threading
from search import STRATEGIES, Problem, solve_all
from tests.fakes import RandomWorld

async def cell():  # a notebook runs its cells inside of a loop
    stop = lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    threading.Timer(0.5, stop).start()
    world = RandomWorld(pause_s=100)
    solve_all([Problem("p", "?")], STRATEGIES["cot"](), world, world)

try:
    asyncio.new_event_loop().run_until_complete(cell())
except KeyboardInterrupt:
    print("interrupted")
"""
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60,
        preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    assert done.stdout == "interrupted\n", done.stderr


def test_nothing_to_solve() -> None:
    assert run(ChainOfThought(), RandomWorld(), []) == []


async def test_a_watcher_is_told_of_everything_as_it_happens() -> None:
    events: list[tuple[str, str]] = []

    def watch(problem: Problem, event: TreeEvent, node: Node) -> None:
        events.append((problem.id, event))

    world = RandomWorld()
    [outcome] = [o async for o in solve(PROBLEMS[:1], HGS(), world, world, watch=watch)]
    assert {problem for problem, _ in events} == {"p0"}
    assert [event for _, event in events].count("backtrack") == outcome.events.backtracks
    assert events[0] == ("p0", "sample")
    assert events[-1] == ("p0", "chosen")


async def test_one_step_and_the_rest_come_from_the_same_seed() -> None:
    world = RandomWorld()
    asked: dict[str, Any] = {"max_tokens": 99, "seed": 3}
    [first] = await world.propose(PROBLEMS[0], [], until=Until.STEP, **asked)
    whole = await world.propose(PROBLEMS[0], [], until=Until.END, **asked)
    assert first == whole[0]
