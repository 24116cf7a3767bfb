"""REBASE: how the budget is shared, pictures, and a plain slow reference."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from math import exp, log
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.engine import solve_all
from search.errors import PolicyError
from search.limits import CostLimits, LengthLimits, LimitReached
from search.node import Node
from search.strategies.best_of_n import BestOfN
from search.strategies.rebase import REBASE
from search.tree import Tree
from search.types import Address, Problem, Step
from tests.fakes import FractionAnswers, RandomWorld, ScriptedPolicy, ScriptedScorer
from tests.pictures import Picture, Q, Script, of_value
from tests.plain import LENGTHS, Lossy, PlainTree, all_nodes

# -- shares ----------------------------------------------------------------------------------------


def shares(
    rewards: Sequence[float], budget: int, held: Sequence[int] = (), temperature: float = 0.1
) -> list[int]:
    return REBASE(balance_temperature=temperature).widths(rewards, held or [1] * len(rewards), budget)


def test_a_share_is_the_softmax_of_the_rewards() -> None:
    twice = 0.5 + 0.1 * log(2)
    assert shares([0.5, twice, 0.5], 8) == [2, 4, 2]
    assert shares([0.9, 0.9, 0.7, 0.1], 4) == [2, 2, 0, 0]


def test_rounding_each_share_by_itself_would_spend_more_than_there_is() -> None:
    """Of 1.6, 1.6 and 0.8 children, equation 1 makes 2, 2 and 1: five of four."""
    twice = 0.5 + 0.1 * log(2)
    assert shares([twice, twice, 0.5], 4) == [2, 1, 1]


def test_rounding_up_from_the_best_one_would_starve_the_others() -> None:
    """The authors' code rounds up, best first, of what is left: 2, 1, 1 and 0 of shares that are nearly 1."""
    assert shares([0.80, 0.79, 0.78, 0.77], 4) == [1, 1, 1, 1]


def test_the_temperature_is_that_of_the_paper() -> None:
    """0.1, as its appendix C says; the authors' code comes with 0.2."""
    assert REBASE().widths([0.6, 0.5], [1, 1], 4) == [3, 1]
    assert shares([0.6, 0.5], 4, temperature=0.2) == [2, 2]


def test_between_all_to_the_best_and_all_the_same() -> None:
    assert shares([0.3, 0.301, 0.2], 6, temperature=1e-6) == [0, 6, 0]
    assert shares([0.0, 1.0, 0.5], 6, temperature=1e6) == [2, 2, 2]
    assert shares([0.0, 1.0], 3, temperature=1e-300) == [0, 3]


def test_of_equal_fractions_the_lower_address_is_rounded_up() -> None:
    assert shares([0.5, 0.5, 0.5], 4) == [2, 1, 1]
    assert shares([0.7, 0.7], 3) == [2, 1]
    assert shares([0.5, 0.5], 3, held=[1, 5]) == [1, 2]  # 0.5 and 2.5
    assert shares([0.7] * 3, 10, held=[1, 1, 4]) == [2, 2, 6]  # 5/3, 5/3 and 20/3, whatever floats make of it


def test_equal_siblings_weigh_as_much_as_they_are() -> None:
    assert shares([0.5, 0.5], 4, held=[3, 1]) == [3, 1]


NODES = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 5)), min_size=1, max_size=12)
TEMPERATURE = st.sampled_from([1e-9, 0.01, 0.1, 0.2, 1.0, 1e9])


@given(nodes=NODES, budget=st.integers(1, 300), temperature=TEMPERATURE)
def test_the_shares_sum_to_the_budget(
    nodes: list[tuple[float, int]], budget: int, temperature: float
) -> None:
    rewards, held = zip(*nodes, strict=True)
    widths = shares(rewards, budget, held, temperature)
    assert sum(widths) == budget
    weights = [times * exp((reward - max(rewards)) / temperature) for reward, times in nodes]
    for width, weight in zip(widths, weights, strict=True):
        assert width >= 0 and abs(width - budget * weight / sum(weights)) < 1 + 1e-6
    for i, (reward, times) in enumerate(nodes):
        for j, (other, others) in enumerate(nodes):
            if reward >= other and times >= others and (i < j or (reward, times) != (other, others)):
                assert widths[i] >= widths[j] or abs(reward - other) / temperature < 1e-6


# -- pictures --------------------------------------------------------------------------------------

FOUR = {"a,": of_value(0.9), "b,": of_value(0.8), "c,": of_value(0.1), "d,": of_value(0.1)}


def test_samples_go_where_the_rewards_are() -> None:
    """Three from the best and one from the second best. Beam search would take two from each, and best-of-N
    has one solution from every first step, whatever it is worth.
    """
    first = ["a,", "b,", "c,", "d,"]
    script = {"": first, "a,": ["x.", "y.", "z."], "b,": ["x."], "c,": ["x."], "d,": ["x."]}
    seen = Picture(REBASE(n=4), script, FOUR)
    assert seen.path == ["", "", "", "", "a,", "a,", "a,", "b,"]
    assert [child.text for child in seen.tree.root.children if not child.children] == ["c,", "d,"]
    plain = Picture(BestOfN(n=4), script, FOUR)
    assert [child.text for child in plain.tree.root.children if not child.children] == []


def test_a_finished_solution_takes_its_share_along() -> None:
    script = {"": ["= 1.", "a,", "b,", "c,"], "a,": ["= 2."], "b,": ["= 2."], "c,": ["= 2."]}
    seen = Picture(REBASE(n=4), script, fractions=True)
    assert seen.path == [""] * 4 + ["a,", "b,", "c,"]


def test_a_node_without_a_share_is_rejected() -> None:
    seen = Picture(REBASE(n=2), {"": ["a,", "b,"], "a,": ["x.", "y."]}, {"b,": of_value(0.1)})
    assert "reject b," in seen.told and seen.path == ["", "", "a,", "a,"]


def test_the_reward_is_the_score_of_the_last_step() -> None:
    """Not the product along the path: of "a," and "b,", the second was better, but what follows is not."""
    script = {"": ["a,", "b,"], "a,": ["x,"], "b,": ["y,"], "a,x,": ["u.", "v."], "b,y,": ["w."]}
    values = {"a,": 0.6, "b,": 0.65, "x,": 0.9, "y,": 0.7}
    scores = {text: of_value(value) for text, value in values.items()}
    assert Picture(REBASE(n=2), script, scores).path[4:] == ["a,x,", "a,x,"]
    assert Picture(REBASE(n=2, aggregate="product"), script, scores).path[4:] == ["a,x,", "b,y,"]


def test_equal_siblings_are_one_node_with_their_weights_together() -> None:
    script = {"": ["a,", "a,", "b,", "b,"], "a,": ["v.", "w."], "b,": ["x.", "y."]}
    seen = Picture(REBASE(n=4), script)
    assert seen.path[4:] == ["a,", "a,", "b,", "b,"]
    assert seen.events.duplicates == 2 and len(seen.scorer.calls) == 6
    third = {"": ["a,", "a,", "a,", "b,"], "a,": ["x."] * 3, "b,": ["x."]}
    assert Picture(REBASE(n=4), third).path[4:] == ["a,", "a,", "a,", "b,"]


def test_equal_solutions_vote_as_often_as_they_were_sampled() -> None:
    scores = {"= 1.": of_value(0.9), "= 2.": of_value(0.5)}
    assert Picture(REBASE(n=3), {"": ["= 1.", "= 2.", "= 2."]}, scores, fractions=True).text == "= 2."


@pytest.mark.parametrize(
    ("choose", "text"), [("weighted_vote", "b = 2."), ("best", "= 1."), ("vote", "a = 2.")]
)
def test_how_the_solutions_make_an_answer(choose: Any, text: str) -> None:
    scores = {"= 1.": of_value(0.8), "a = 2.": of_value(0.5), "b = 2.": of_value(0.6)}
    seen = Picture(REBASE(n=3, choose=choose), {"": ["= 1.", "a = 2.", "b = 2."]}, scores, fractions=True)
    assert seen.text == text


def test_dead_ends_use_up_their_shares_and_are_not_chosen() -> None:
    script = {"": ["a~", "b!", "who knows.", "c,"], "c,": ["= 1."]}
    seen = Picture(REBASE(n=4), script, {"c,": of_value(0.01), "c,= 1.": of_value(0.01)}, fractions=True)
    assert seen.path == [""] * 4 + ["c,"] and seen.text == "c,= 1."


def test_a_path_ends_where_its_tokens_are_spent() -> None:
    """The authors' code compares the last step alone with the limit on all steps, which it never reaches."""
    lengths = LengthLimits(step_tokens=4, solution_tokens=6)
    script = {"": ["aaa,", "= 1."], "aaa,": ["b,"], "aaa,b,": ["never."]}
    seen = Picture(REBASE(n=2), script, lengths=lengths, fractions=True)
    assert seen.path == ["", "", "aaa,"] and seen.text == "= 1."


def test_a_blank_step_ends_a_solution_as_good_as_the_step_before() -> None:
    script = {"": ["= 1\n", "= 2\n"], "= 1\n": [""], "= 2\n": [""]}
    scores = {"= 1\n": of_value(0.5), "= 2\n": of_value(0.55)}
    assert Picture(REBASE(n=2), script, scores, fractions=True).text == "= 2\n"


def test_ties_go_to_the_lower_address() -> None:
    script = {"": ["a,", "b,", "= 2."], "a,": ["= 1."], "b,": ["= 3."]}
    for choose in ("weighted_vote", "best", "vote"):
        assert Picture(REBASE(n=3, choose=choose), script, fractions=True).text == "a,= 1."  # type: ignore[arg-type]


class Losing(ScriptedPolicy):
    """Loses every sample that is scripted as "lost"."""

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        sampled = await super().propose(problem, steps, **how)
        if sampled[0].text == "lost.":
            raise PolicyError("lost")
        return sampled


def chosen(script: Script, params: REBASE, scores: Mapping[str, float]) -> tuple[Node, list[str], Tree]:
    policy = Losing(script)
    scorer = ScriptedScorer({text: of_value(value) for text, value in scores.items()})
    tree = Tree(Q, policy, scorer, answers=FractionAnswers())
    return asyncio.run(params(tree)), [call.after for call in policy.calls], tree


def test_what_failed_leaves_its_share_to_the_others() -> None:
    """The authors' code drops a node without scores too, but says nothing; here it is counted."""
    script = {"": ["a,", "lost.", "b,"], "a,": ["= 1.", "= 1."], "b,": ["= 2."]}
    node, path, tree = chosen(script, REBASE(n=3), {"b,": 0.79})
    assert path == ["", "", "", "a,", "a,", "b,"] and node.text == "a,= 1."
    assert tree.events.failed == 1


def test_where_all_of_a_depth_fails_the_best_node_above_is_completed() -> None:
    script = {"": ["a,", "b,"], "a,": ["lost."], "b,": ["lost.", "= 2."]}
    node, path, _ = chosen(script, REBASE(n=2), {"a,": 0.7, "b,": 0.75})
    assert path == ["", "", "a,", "b,", "b,"] and node.text == "b,= 2."


def test_a_finished_solution_is_enough_where_the_rest_fails() -> None:
    script = {"": ["= 1.", "a,"], "a,": ["lost."]}
    node, path, _ = chosen(script, REBASE(n=2), {})
    assert path == ["", "", "a,"] and node.text == "= 1."


# -- the reference ---------------------------------------------------------------------------------


class SlowREBASE(PlainTree):
    """The reference: section 3.1.2 of the paper on lists of samples, with shares in 40 digits."""

    def __init__(self, params: REBASE, world: Any, problem: Problem, seed: int):
        super().__init__(world, problem, seed)
        self.params, self.how = params, params.aggregate or "product"

    async def run(self) -> list[Address]:
        depth, budget = [await self.grow(()) for _ in range(self.params.n)], self.params.n
        solutions: list[Address] = []
        while True:
            depth = [at for at in depth if at in self.said]  # the others failed
            complete = [at for at in depth if self.ended(at)]
            solutions += complete
            budget -= len(complete)
            open_ = [self.first(at) for at in depth if not self.ended(at)]
            if not open_ or budget == 0:
                return sorted(solutions)
            widths = await self.seats(open_, budget)
            depth = [await self.grow(at) for at in sorted(widths) for _ in range(widths[at])]

    async def seats(self, samples: list[Address], budget: int) -> dict[Address, int]:
        weights = {at: await self.weight(at) for at in samples}
        total = sum(weights[at] for at in samples)
        places = Decimal("1e-9")
        quotas = {
            at: (budget * weights[at] * samples.count(at) / total).quantize(places) for at in sorted(weights)
        }
        seats = {at: int(quota) for at, quota in quotas.items()}
        while sum(seats.values()) < budget:
            missing = {at: quotas[at] - seats[at] for at in seats}
            seats[max(missing, key=lambda at: missing[at])] += 1  # the first of several
        return seats

    async def weight(self, at: Address) -> Decimal:
        reward = Decimal(await self.value(at, self.how))
        return (reward / Decimal(self.params.balance_temperature)).exp()

    async def vote(self, solutions: list[Address]) -> Address:
        answers = {at: answer for at in solutions if (answer := self.answer(at)) is not None}
        if not answers:
            return solutions[0]
        values = {at: await self.value(at, self.how) for at in answers}
        votes: Counter[Fraction] = Counter()
        for at, answer in answers.items():
            votes[Fraction(answer)] += values[at]  # type: ignore[assignment]
        winner = max(votes, key=lambda answer: round(votes[answer], 9))
        return max((at for at in answers if Fraction(answers[at]) == winner), key=lambda at: values[at])


def grown(problem: int, seed: int, world: RandomWorld, **options: Any) -> Tree:
    question = Problem(f"p{problem}", "?")
    return Tree(question, world, world, seed=seed, lengths=LENGTHS, answers=FractionAnswers(), **options)


PROBLEM, SEED, EVERY = st.integers(0, 400), st.integers(0, 3), st.sampled_from([None, 3, 7])
PARAMS = st.builds(
    REBASE, n=st.integers(1, 12), balance_temperature=st.sampled_from([0.02, 0.1, 0.5, 1e9]),
    aggregate=st.sampled_from([None, "last", "min"]),
)  # fmt: skip


@given(problem=PROBLEM, seed=SEED, every=EVERY, params=PARAMS)
@settings(max_examples=80, deadline=None)
def test_the_tree_is_that_of_a_plain_slow_reference(
    problem: int, seed: int, every: int | None, params: REBASE
) -> None:
    tree = grown(problem, seed, Lossy(every))
    solutions, _ = asyncio.run(params.search(tree))
    slow = SlowREBASE(params, Lossy(every), tree.problem, seed)
    theirs = asyncio.run(slow.run())
    assert [node.address for node in solutions] == theirs
    assert tree.cost.samples == sum(slow.given.values())
    for node in all_nodes(tree.root):
        assert len(node.children) == slow.given[node.address]
    if solutions:
        node = asyncio.run(params(grown(problem, seed, Lossy(every))))
        assert node.address == asyncio.run(slow.vote(theirs))


@given(problem=PROBLEM, seed=SEED, every=EVERY, params=PARAMS)
@settings(max_examples=60, deadline=None)
def test_the_budget_is_conserved_at_every_depth(
    problem: int, seed: int, every: int | None, params: REBASE
) -> None:
    """What is sampled at a depth, and what ended above it, are n together; so are the solutions."""
    tree = grown(problem, seed, Lossy(every))
    solutions, _ = asyncio.run(params.search(tree))
    sampled, ended = Counter[int](), Counter[int]()
    for node in all_nodes(tree.root)[1:]:
        sampled[len(node.path)] += 1
        ended[len(node.path)] += node.is_terminal and node.failed is None
    for depth in sampled:
        assert sampled[depth] + sum(ended[above] for above in range(depth)) == params.n
    assert len(solutions) == sum(ended.values()) <= params.n
    assert len(solutions) == params.n or tree.events.failed > 0


@given(problem=PROBLEM, seed=SEED, every=EVERY, params=PARAMS)
@settings(max_examples=15, deadline=None)
def test_what_ends_first_changes_nothing(
    problem: int, seed: int, every: int | None, params: REBASE
) -> None:
    seen = []
    for jitter in (None, 1, 2):
        tree = grown(problem, seed, Lossy(every, jitter))
        solutions, _ = asyncio.run(params.search(tree))
        seen.append(([node.address for node in solutions], tree.cost, tree.events))
    assert seen[0] == seen[1] == seen[2]


def test_concurrency_and_drawing_ahead_change_nothing() -> None:
    problems, seen = [Problem(f"p{i}", "?") for i in range(12)], []
    for concurrency, speculate in ((1, 0), (3, 16), (64, "auto"), (64, 0)):
        world = RandomWorld(jitter=concurrency)
        outcomes = solve_all(
            problems, REBASE(n=6), world, world, seed=5, lengths=LENGTHS, answers=FractionAnswers(),
            concurrency=concurrency, speculate=speculate,
        )  # fmt: skip
        seen.append([(o.steps, o.answer, o.value, o.cost, o.events) for o in outcomes])
    assert seen[0] == seen[1] == seen[2] == seen[3]


@given(problem=PROBLEM, samples=st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_where_limits_allow_no_more_the_search_ends(problem: int, samples: int) -> None:
    tree = grown(problem, 0, RandomWorld(), limits=CostLimits(samples=samples))
    try:
        asyncio.run(REBASE(n=6)(tree))
    except LimitReached:
        assert tree.cost.samples == samples
    assert tree.cost.samples <= samples
