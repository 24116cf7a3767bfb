"""A scripted tree in, a chosen path out: one picture for every strategy and every knob."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import log, sqrt
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.limits import LimitReached, Limits
from search.seeds import derive
from search.strategies import STRATEGIES
from search.strategies.best_of_n import BestOfN
from search.strategies.cot import ChainOfThought
from search.strategies.hgs import HGS
from search.strategies.mcts import MCTS
from search.strategies.self_consistency import SelfConsistency
from search.strategies.weighted_vote import WeightedVote
from search.tree import Budget, Node, Tree
from search.types import Address, Judgement, Label, Problem, Step, Stop, Strategy, Until
from search.values import Aggregate, path_value
from tests.fakes import (
    BAD,
    GOOD,
    MEH,
    FractionAnswers,
    RandomWorld,
    ScriptedPolicy,
    ScriptedScorer,
)

Q = Problem("q", "1 + 1?")
Script = Mapping[str, Sequence[str]]


class Picture:
    """A strategy run on a script: what was chosen, what was asked, what it cost."""

    def __init__(
        self,
        strategy: Strategy,
        script: Script,
        judgements: Mapping[str, Judgement] | None = None,
        *,
        budget: Budget = Budget(),
        fractions: bool = False,
    ):
        self.policy, self.scorer = ScriptedPolicy(script), ScriptedScorer(judgements or {})
        answers = FractionAnswers() if fractions else None
        self.events: list[str] = []
        self.tree = Tree(
            Q, self.policy, self.scorer, budget=budget, answers=answers,
            watch=lambda event, node: self.events.append(f"{event} {node.text}"),
        )
        self.chosen = asyncio.run(strategy(self.tree))
        self.text, self.usage = self.chosen.text, self.tree.usage

    @property
    def path(self) -> list[str]:
        """What the policy was asked to continue, in order."""
        return [asked.after for asked in self.policy.asked]

    @property
    def temperatures(self) -> list[float | None]:
        return [asked.temperature for asked in self.policy.asked]


def of_value(value: float) -> Judgement:
    return Judgement(1 - value, 0.0, value)


# -- chain of thought -----------------------------------------------------------------------------


def test_cot_takes_one_greedy_solution_and_asks_no_reward_model() -> None:
    seen = Picture(ChainOfThought(), {"": ["a,", "never."], "a,": ["b."]})
    assert seen.text == "a,b."
    assert [(a.until, a.temperature) for a in seen.policy.asked] == [(Until.END, 0.0)]
    assert seen.scorer.asked == []


def test_cot_at_a_temperature() -> None:
    assert Picture(ChainOfThought(temperature=0.7), {"": ["a."]}).temperatures == [0.7]


# -- HGS-PRM ---------------------------------------------------------------------------------------


def test_hgs_enters_a_positive_child_at_once() -> None:
    seen = Picture(HGS(), {"": ["a,", "never,"], "a,": ["b,"], "a,b,": ["c."]})
    assert seen.text == "a,b,c."
    assert seen.path == ["", "a,", "a,b,"]
    assert seen.usage.backtracks == 0


def test_hgs_passes_over_a_negative_child() -> None:
    seen = Picture(HGS(), {"": ["bad,", "a,"], "a,": ["b."]}, {"bad,": BAD})
    assert seen.text == "a,b."
    assert seen.path == ["", "", "a,"]


def test_hgs_goes_back_up_when_every_child_is_dead() -> None:
    script = {"": ["a,", "b,"], "a,": ["x,", "y,"], "b,": ["done."]}
    seen = Picture(HGS(width=2), script, {"x,": BAD, "y,": BAD})
    assert seen.text == "b,done."
    assert seen.path == ["", "a,", "a,", "", "b,"]
    assert seen.usage.backtracks == 1
    assert "backtrack a," in seen.events


@pytest.mark.parametrize("width", [1, 2, 3])
def test_hgs_width_is_how_many_children_a_node_may_have(width: int) -> None:
    script = {"": ["x,", "y,", "z,", "w,"], "x,": ["."]}
    seen = Picture(HGS(width=width, on_dead_end="readmit"), script, {"x,": MEH, "y,": BAD, "z,": BAD})
    assert seen.path == [""] * width + ["x,"]


def test_hgs_defers_a_neutral_child_until_the_positive_ones_led_nowhere() -> None:
    script = {"": ["meh,", "a,"], "a,": ["x,", "y,"], "meh,": ["ok."]}
    seen = Picture(HGS(width=2), script, {"meh,": MEH, "x,": BAD, "y,": BAD})
    assert seen.path == ["", "", "a,", "a,", "meh,"]
    assert seen.text == "meh,ok."


def test_hgs_enters_the_best_neutral_child_first() -> None:
    better = Judgement(0.1, 0.6, 0.3)
    script = {"": ["m,", "n,"], "m,": ["no."], "n,": ["ok."]}
    assert Picture(HGS(width=2), script, {"m,": MEH, "n,": better}).text == "n,ok."
    assert Picture(HGS(width=2), script, {"m,": MEH, "n,": MEH}).text == "m,no."  # a tie


def test_hgs_accepts_a_neutral_child_as_if_it_were_positive() -> None:
    seen = Picture(HGS(neutral="accept"), {"": ["meh,", "a."], "meh,": ["ok."]}, {"meh,": MEH})
    assert seen.text == "meh,ok."
    assert seen.path == ["", "meh,"]


def test_hgs_rejects_a_neutral_child() -> None:
    strict = HGS(width=1, neutral="reject", on_dead_end="finish")
    seen = Picture(strict, {"": ["meh,", "cot."]}, {"meh,": MEH})
    assert seen.text == "cot."
    assert seen.path == ["", ""]


def test_hgs_accept_is_a_threshold_on_the_value() -> None:
    script = {"": ["a,", "b,"], "a,": ["no."], "b,": ["ok."]}
    judged = {"a,": of_value(0.69), "b,": of_value(0.7)}
    assert Picture(HGS(accept=0.7), script, judged).text == "b,ok."
    assert Picture(HGS(accept=0.69), script, judged).text == "a,no."


@pytest.mark.parametrize(
    ("reject", "text"),
    [
        (None, "a,no."),  # 0.45 positive is the most probable label
        (0.3, "b,ok."),  # 0.4 negative is too much
        (0.4, "b,ok."),
        (0.41, "a,no."),
    ],
)
def test_hgs_reject_is_a_threshold_on_the_probability_of_negative(reject: float | None, text: str) -> None:
    script = {"": ["a,", "b,"], "a,": ["no."], "b,": ["ok."]}
    assert Picture(HGS(reject=reject), script, {"a,": Judgement(0.4, 0.15, 0.45)}).text == text


def test_hgs_reject_above_the_argmax_saves_a_probably_negative_child() -> None:
    script = {"": ["a,", "b."], "a,": ["ok."]}
    judged = {"a,": Judgement(0.6, 0.1, 0.3)}
    assert Picture(HGS(), script, judged).text == "b."
    assert Picture(HGS(reject=0.7), script, judged).text == "a,ok."


def test_hgs_raises_the_temperature_with_every_child_of_a_node() -> None:
    script = {"": ["x,", "y,", "a,"], "a,": ["z,", "b."]}
    judged = {"x,": BAD, "y,": BAD, "z,": BAD}
    assert Picture(HGS(), script, judged).temperatures == [0.0, 0.1, 0.2, 0.0, 0.1]
    warm = HGS(temperature=0.1, escalation=0.0)
    assert Picture(warm, script, judged).temperatures == [0.1] * 5
    own = HGS(temperature=None, escalation=0.3)
    assert Picture(own, script, judged).temperatures == [None] * 5


def test_hgs_a_duplicate_is_charged_but_neither_scored_nor_entered_again() -> None:
    script = {"": ["bad,", "bad,", "bad,", "ok."]}
    seen = Picture(HGS(), script, {"bad,": BAD})
    assert seen.text == "ok."
    assert (seen.usage.samples, seen.usage.duplicates) == (4, 2)
    assert seen.usage.policy_tokens == 3 * len("bad,") + len("ok.")
    assert seen.scorer.asked == ["|bad,", "|ok."]
    assert seen.usage.judgements == 2


@pytest.mark.parametrize("cut", ["cut~", "again!", "no answer."])
def test_hgs_what_is_cut_or_states_no_answer_is_dead(cut: str) -> None:
    script = {"": [cut, "so = 2."]}
    seen = Picture(HGS(), script, fractions=True)
    assert seen.text == "so = 2."
    assert seen.usage.samples == 2


def test_hgs_a_step_that_fills_the_solution_budget_is_dead() -> None:
    script = {"": ["aaaa,", "b."], "aaaa,": ["never."]}
    seen = Picture(HGS(), script, budget=Budget(step_tokens=9, solution_tokens=5))
    assert seen.text == "b."
    assert [node.step.stop for node in seen.tree.root.children if node.step] == [Stop.LENGTH, Stop.END]


def test_hgs_one_false_negative_does_not_end_the_search() -> None:
    script = {"": ["x,", "y,"], "x,": ["no,", "no,"], "y,": ["right."]}
    judged = {"x,": of_value(0.1), "y,": of_value(0.4), "no,": BAD}
    seen = Picture(HGS(width=2), script, judged)
    assert seen.text == "y,right."
    assert seen.path == ["", "", "y,"]


def test_hgs_readmits_best_first_and_a_rejected_solution_too() -> None:
    script = {"": ["x,", "wrong?."], "x,": ["no,", "no,"]}
    judged = {"x,": of_value(0.3), "wrong?.": of_value(0.2), "no,": of_value(0.1)}
    seen = Picture(HGS(width=2), script, judged)
    assert seen.path == ["", "", "x,", "x,"]  # x, first; then the solution that was rejected
    assert seen.text == "wrong?."


def test_hgs_of_equal_rejected_nodes_the_lower_address_is_readmitted() -> None:
    script = {"": ["meh,", "x,"], "meh,": ["y,", "y,"], "meh,y,": ["first."], "x,": ["second."]}
    judged = {"meh,": MEH, "x,": BAD, "y,": BAD}
    seen = Picture(HGS(width=2), script, judged)  # x, was rejected earlier, but (0, 0) < (1,)
    assert seen.text == "meh,y,first."


def test_hgs_without_readmission_a_dead_end_is_the_end() -> None:
    script = {"": ["x,", "y,", "cot."], "x,": ["never."]}
    seen = Picture(HGS(width=2, on_dead_end="finish"), script, {"x,": BAD, "y,": BAD})
    assert seen.text == "cot."
    assert seen.path == ["", "", ""]
    assert seen.temperatures[-1] == 0.0
    assert seen.usage.exhausted == 0


NEVER_DONE = {
    "": ["a,", "b,", "cot."],
    "a,": ["x,", "y,", "from a."],
    "b,": ["x,", "y,"],
}


@pytest.mark.parametrize(
    ("on_budget", "text"), [("best_prefix", "a,from a."), ("restart", "b,cot."), ("abstain", "")]
)
def test_hgs_when_the_samples_are_spent(on_budget: str, text: str) -> None:
    script = {**NEVER_DONE, "b,": ["cot."]}
    search = HGS(width=2, max_samples=3, on_budget=on_budget)  # type: ignore[arg-type]
    seen = Picture(search, script, {"x,": BAD, "y,": BAD})
    assert seen.text == text
    assert seen.usage.exhausted == 1
    assert seen.usage.samples == (3 if on_budget == "abstain" else 4)
    assert seen.path[:3] == ["", "a,", "a,"]


def test_hgs_finishes_the_most_probable_of_the_deepest_prefixes() -> None:
    script = {
        "": ["a,", "b,"], "a,": ["a2,", "no,"], "b,": ["b2,", "no,"],
        "a,a2,": ["no,", "no,"], "b,b2,": ["no,", "no,", "greedy."],
    }  # fmt: skip
    judged = {"no,": BAD, "a2,": of_value(0.6), "b2,": of_value(0.8)}
    seen = Picture(HGS(width=2, on_dead_end="finish"), script, judged)
    assert seen.text == "b,b2,greedy."
    assert seen.temperatures[-1] == 0.0


def test_hgs_when_the_tokens_are_spent() -> None:
    script = {"": ["aaaa,"], "aaaa,": ["bbbb,", "cc."], "aaaa,bbbb,": ["never."]}
    seen = Picture(HGS(max_tokens=8), script)
    assert seen.tree.root.children[0].children[0].text == "aaaa,bbb"  # cut to what was left
    assert seen.text == "aaaa,cc."
    assert seen.usage.exhausted == 1


def test_hgs_spends_nothing_on_a_search_without_samples() -> None:
    seen = Picture(HGS(max_samples=0), {"": ["cot."]})
    assert (seen.text, seen.usage.samples, seen.usage.judgements) == ("cot.", 1, 0)


def test_hgs_a_solution_that_ends_after_a_good_step_is_as_good_as_the_step() -> None:
    seen = Picture(HGS(), {"": ["a = 1,"], "a = 1,": [""]}, fractions=True)
    assert seen.text == "a = 1,"
    assert seen.chosen.is_finished
    assert seen.scorer.asked == ["|a = 1,"]  # nobody is asked about nothing
    assert seen.chosen.judgement == GOOD


def test_hgs_saying_nothing_at_all_is_no_solution() -> None:
    assert Picture(HGS(), {"": ["", "a."]}).text == "a."


class RecursiveHGS:
    """The reference: the pseudo-code of docs/architecture.md to the letter, one call a level."""

    def __init__(self, knobs: HGS):
        self.knobs = knobs
        self.entered: list[Node] = []
        self.rejected: list[Node] = []

    async def __call__(self, tree: Tree) -> Node:
        with tree.limit(samples=self.knobs.max_samples):
            found = await self.enter(tree, tree.root)
            while not found and self.rejected and self.knobs.on_dead_end == "readmit":
                self.rejected.sort(key=lambda node: (-node.value, node.address))
                found = await self.enter(tree, self.rejected.pop(0))
            if found:
                return found
        if self.knobs.on_budget == "abstain":
            return tree.root
        start = tree.root
        if self.knobs.on_budget == "best_prefix":
            deepest = max(len(node.path) for node in self.entered)
            ends = sorted(
                (node for node in self.entered if len(node.path) == deepest), key=lambda node: node.address
            )
            start = max(ends, key=lambda node: path_value(node, "product"))
        [solution] = await tree.complete([start], temperature=0.0)
        return solution

    async def enter(self, tree: Tree, node: Node) -> Node | None:
        self.entered.append(node)
        if node.is_terminal:
            return node
        aside = []
        for retry in range(self.knobs.width):
            [child] = await tree.expand([node], temperature=self.knobs.escalation * retry)
            if child.twin or (child.is_terminal and tree.answer(child) is None):
                continue
            if child.label is Label.NEUTRAL and self.knobs.neutral == "defer":
                aside.append(child)
            elif child.label is Label.POSITIVE or (
                child.label is Label.NEUTRAL and self.knobs.neutral == "accept"
            ):
                if found := await self.enter(tree, child):
                    return found
            else:
                tree.reject(child)
                self.rejected.append(child)
        for child in sorted(aside, key=lambda child: -child.value):
            if found := await self.enter(tree, child):
                return found
        tree.backtrack(node)
        return None


@given(
    seed=st.integers(0, 10**6),
    knobs=st.builds(
        HGS, width=st.integers(1, 4), max_samples=st.integers(0, 40),
        neutral=st.sampled_from(["defer", "accept", "reject"]),
        on_dead_end=st.sampled_from(["readmit", "finish"]),
        on_budget=st.sampled_from(["best_prefix", "restart", "abstain"]),
    ),
)  # fmt: skip
@settings(max_examples=150)
def test_hgs_is_its_recursive_pseudo_code(seed: int, knobs: HGS) -> None:
    ran = []
    for strategy in (knobs, RecursiveHGS(knobs)):
        world, events = RandomWorld(), list[tuple[str, Address]]()
        tree = Tree(
            Q, world, world, seed=seed, answers=FractionAnswers(),
            budget=Budget(step_tokens=12, solution_tokens=40),
            watch=lambda event, node, events=events: events.append((event, node.address)),  # type: ignore[misc]
        )
        chosen = asyncio.run(strategy(tree))
        ran.append((chosen.address, tree.usage, events))
    assert ran[0] == ran[1]


# -- best of N -------------------------------------------------------------------------------------

#        last  min   product  mean
VALUES = {
    "p,": [0.9, 0.5, 0.9],
    "q,": [0.7, 0.7, 0.7],
    "r,": [1.0, 0.3, 0.95],
    "s,": [0.2, 1.0, 1.0],
}


@pytest.mark.parametrize(
    ("aggregate", "best"), [("last", "s,"), ("min", "q,"), ("product", "p,"), ("mean", "p,")]
)
def test_best_of_n_by_each_aggregate(aggregate: Aggregate, best: str) -> None:
    script: dict[str, list[str]] = {"": list(VALUES)}
    judged: dict[str, Judgement] = {}
    for first, values in VALUES.items():
        texts = [first, first + "2,", first + "2,3."]
        script |= {texts[0]: ["2,"], texts[1]: ["3."]}
        judged |= {text: of_value(value) for text, value in zip(texts, values, strict=True)}
    seen = Picture(BestOfN(n=4, aggregate=aggregate), script, judged)
    assert seen.text == best + "2,3."
    assert seen.usage.judgements == 12


def test_best_of_n_ties_go_to_the_first() -> None:
    assert Picture(BestOfN(n=3), {"": ["a.", "b.", "c."]}, {"a.": BAD}).text == "b."


def test_best_of_n_prefers_a_solution_with_an_answer() -> None:
    script = {"": ["cut~", "no answer.", "= 3."]}
    seen = Picture(BestOfN(n=3), script, {"= 3.": BAD}, fractions=True)
    assert seen.text == "= 3."
    assert seen.scorer.asked == ["|= 3."]  # the others are not worth the reward model's time
    assert Picture(BestOfN(n=2), script, {"cut~": BAD}, fractions=True).text == "no answer."


def test_best_of_n_judges_a_duplicate_once() -> None:
    seen = Picture(BestOfN(n=3, temperature=0.3), {"": ["a,", "a,", "b."], "a,": ["c."]}, {"b.": BAD})
    assert seen.text == "a,c."
    assert seen.chosen.address == (0, 0)
    assert (seen.usage.duplicates, seen.usage.judgements) == (1, 3)
    assert seen.temperatures == [0.3] * 3


def test_a_blank_end_does_not_count_its_parents_value_twice() -> None:
    script = {"": ["a,", "b,"], "a,": [""], "b,": ["c."]}
    judged = {"a,": of_value(0.5), "b,": of_value(0.6), "b,c.": of_value(0.6)}
    both: tuple[Aggregate, ...] = ("product", "mean")
    for aggregate in both:
        seen = Picture(BestOfN(n=2, aggregate=aggregate), script, judged)
        assert seen.text == {"product": "a,", "mean": "b,c."}[aggregate]


# -- votes -----------------------------------------------------------------------------------------


def test_self_consistency_returns_the_most_frequent_answer_without_a_reward_model() -> None:
    seen = Picture(SelfConsistency(n=4), {"": ["1.", "2.", "2.", "3."]})
    assert seen.text == "2."
    assert seen.chosen.address == (1,)
    assert seen.scorer.asked == []


def test_votes_group_answers_by_equality() -> None:
    script = {"": ["= 3.", "= 3.", "= 1/2.", "= 0.5.", "= 2/4."]}
    seen = Picture(SelfConsistency(n=5), script, fractions=True)
    assert seen.text == "= 1/2."  # three against two


def test_solutions_without_an_answer_do_not_vote() -> None:
    script = {"": ["cut~", "cut~", "hm.", "hm.", "= 3."]}
    assert Picture(SelfConsistency(n=5), script, fractions=True).text == "= 3."
    assert Picture(SelfConsistency(n=2), script, fractions=True).text == "cut~"
    assert Picture(WeightedVote(n=5), script, {"= 3.": BAD}, fractions=True).text == "= 3."
    assert Picture(WeightedVote(n=2), script, fractions=True).text == "cut~"


def test_ties_of_a_vote_go_to_the_first() -> None:
    script = {"": ["= 3.", "= 1/2.", "= 0.5.", "= 3."]}
    assert Picture(SelfConsistency(n=4), script, fractions=True).chosen.address == (0,)
    assert Picture(WeightedVote(n=4), script, fractions=True).chosen.address == (0,)


def test_weighted_vote_is_a_majority_weighted_by_reward() -> None:
    script = {"": ["= 1.", "a = 1.", "= 2.", "b = 1."]}
    judged = {"= 1.": of_value(0.2), "a = 1.": of_value(0.3), "b = 1.": of_value(0.2), "= 2.": of_value(0.6)}
    seen = Picture(WeightedVote(n=4), script, judged, fractions=True)
    assert seen.text == "a = 1."  # 0.7 against 0.6; of the winners, the best
    lone = {**judged, "= 2.": of_value(0.8)}
    assert Picture(WeightedVote(n=4), script, lone, fractions=True).text == "= 2."


def test_weighted_vote_of_equally_good_spellings_returns_the_lowest_address() -> None:
    script = {"": ["= 1/2.", "= 0.5.", "x = 1/2."]}
    judged = {"= 1/2.": of_value(0.1), "= 0.5.": of_value(0.4), "x = 1/2.": of_value(0.4)}
    assert Picture(WeightedVote(n=3), script, judged, fractions=True).chosen.address == (1,)


def test_weighted_vote_by_another_aggregate() -> None:
    script = {"": ["x,", "y,"], "x,": ["= 1."], "y,": ["= 2."]}
    judged = {"x,": of_value(0.1), "= 1.": of_value(0.9), "y,": of_value(0.8), "= 2.": of_value(0.8)}
    assert Picture(WeightedVote(n=2, aggregate="last"), script, judged, fractions=True).text == "x,= 1."
    assert Picture(WeightedVote(n=2), script, judged, fractions=True).text == "y,= 2."


# -- Monte Carlo tree search -----------------------------------------------------------------------


def test_mcts_follows_the_reward_to_a_solution() -> None:
    script = {"": ["a,", "b,"], "a,": ["x.", "y."], "b,": ["right.", "wrong."]}
    judged = {"a,": of_value(0.3), "b,": of_value(0.9), "b,wrong.": of_value(0.1)}
    seen = Picture(MCTS(simulations=2, width=2, exploration=0.0), script, judged)
    assert seen.text == "b,right."
    assert seen.path == ["", "", "b,", "b,"]


def test_mcts_explores_what_was_visited_less() -> None:
    script = {"": ["a,", "b,"], "a,": ["x.", "z."], "b,": ["y.", "w."]}
    judged = {"a,": of_value(0.6), "b,": of_value(0.5)}
    greedy = Picture(MCTS(simulations=4, width=2, exploration=0.0), script, judged)
    assert "b," not in greedy.path
    curious = Picture(MCTS(simulations=4, width=2, exploration=5.0), script, judged)
    assert "b," in curious.path


def test_mcts_without_a_solution_finishes_the_most_visited_path() -> None:
    script = {"": ["a,", "b,"], "b,": ["c,", "d,", "end."], "b,c,": ["greedy."]}
    seen = Picture(MCTS(simulations=2, width=2), script, {"a,": BAD})
    assert seen.text == "b,c,greedy."
    assert seen.temperatures[-1] == 0.0


def test_mcts_rollouts_are_judged_and_may_be_the_answer() -> None:
    script = {"": ["a,", "b,"], "a,": ["2,"], "a,2,": ["good."], "b,": ["bad."]}
    seen = Picture(MCTS(simulations=1, width=2, value="rollout"), script, {"bad.": BAD})
    assert seen.text == "a,2,good."
    assert [asked.until for asked in seen.policy.asked] == [Until.STEP, Until.STEP, Until.END]


def test_mcts_expanding_into_what_a_rollout_has_said_already() -> None:
    script = {"": ["a,"], "a,": ["2,", "2,", "2,"], "a,2,": ["good.", "good.", "good."]}
    seen = Picture(MCTS(simulations=3, width=1, value="rollout"), script)
    assert seen.text == "a,2,good."
    assert seen.usage.duplicates > 0


def test_mcts_depth_ends_expansion() -> None:
    script = {"": ["a,"], "a,": ["b,", "c."], "a,b,": ["end."]}
    seen = Picture(MCTS(simulations=2, width=1, depth=1), script, {"c.": BAD})
    assert seen.text == "a,b,end."
    assert [asked.until for asked in seen.policy.asked] == [Until.STEP, Until.END, Until.END]


def test_mcts_of_equally_good_solutions_the_lower_address_is_the_answer() -> None:
    script = {"": ["a,", "b,"], "a,": ["x.", "x."], "b,": ["y.", "y."]}
    judged = {"a,": of_value(0.5), "b,": of_value(0.6), "y.": of_value(0.5), "x.": of_value(0.6)}
    seen = Picture(MCTS(simulations=4, width=2, exploration=9.0), script, judged)
    assert seen.text == "a,x."  # b,y. was met first


class SlowMCTS:
    """The reference: plain dicts by address, every value computed anew, no `Tree`.

    Written from the formulas, UCT = Q + w * sqrt(ln N(parent) / max(1, N(child))).
    """

    def __init__(self, knobs: MCTS, world: RandomWorld, problem: Problem, seed: int, budget: Budget):
        self.knobs, self.world, self.problem = knobs, world, problem
        self.seed, self.budget = seed, budget
        self.said: dict[Address, Step] = {}
        self.given: dict[Address, int] = {}
        self.options: dict[Address, list[Address]] = {}
        self.visits: dict[Address, int] = {(): 0}
        self.totals: dict[Address, float] = {(): 0.0}
        self.solutions: set[Address] = set()

    def steps(self, at: Address) -> list[Step]:
        return [self.said[at[:i]] for i in range(1, len(at) + 1)]

    def answer(self, at: Address) -> str | None:
        text = "".join(s.text for s in self.steps(at))
        return FractionAnswers().extract(text) if self.said[at].stop is Stop.END else None

    async def value(self, at: Address) -> float:
        steps = self.steps(at)
        while steps and steps[-1].text == "":
            steps.pop()
        if not steps:
            return 0.0
        product = 1.0
        for j in await self.world.judge(self.problem, steps):
            product *= j.positive + j.neutral
        return product

    async def sample(self, at: Address, until: Until) -> Address:
        """The first address that says what is sampled after `at`."""
        own = (*at, self.given.get(at, 0))
        self.given[at] = self.given.get(at, 0) + 1
        left = self.budget.solution_tokens - sum(s.n_tokens for s in self.steps(at))
        steps = await self.world.propose(
            self.problem, self.steps(at), until=until, seed=derive(self.seed, self.problem.id, *own),
            max_tokens=left if until is Until.END else min(left, self.budget.step_tokens),
            temperature=self.knobs.temperature,
        )
        leaf = own[:-1]
        for i, new in enumerate(steps):
            leaf = own if i == 0 else (*leaf, 0)
            if i:
                self.given[leaf[:-1]] = 1
            self.said[leaf] = new
        if steps[-1].stop is Stop.STEP and sum(s.n_tokens for s in steps) >= left:
            self.said[leaf] = replace(steps[-1], stop=Stop.LENGTH)
        tail = [(self.said[leaf[:i]].text, self.said[leaf[:i]].stop) for i in range(len(own), len(leaf) + 1)]
        for other in sorted(self.said):  # tuples sort as addresses do
            if len(other) == len(leaf) and other[: len(at)] == at and other[len(at)] < own[-1]:
                path = [other[:i] for i in range(len(at) + 1, len(other) + 1)]
                if [(self.said[p].text, self.said[p].stop) for p in path] == tail:
                    return other
        return leaf

    async def run(self) -> None:
        for _ in range(self.knobs.simulations):
            path: list[Address] = [()]
            while path[-1] in self.options:
                scores = [await self.uct(child, path[-1]) for child in self.options[path[-1]]]
                path.append(self.options[path[-1]][scores.index(max(scores))])
            leaf = path[-1]
            done = leaf != () and self.said[leaf].stop is not Stop.STEP
            if not done and len(leaf) < self.knobs.depth:
                sampled = {await self.sample(leaf, Until.STEP) for _ in range(self.knobs.width)}
                self.options[leaf] = sorted(sampled)
                for child in sampled:
                    self.visits[child], self.totals[child] = 0, 0.0
                values = [await self.value(child) for child in self.options[leaf]]
                leaf = self.options[leaf][values.index(max(values))]
                path.append(leaf)
                done = self.said[leaf].stop is not Stop.STEP
            end = leaf
            if not done and (self.knobs.value == "rollout" or len(leaf) >= self.knobs.depth):
                end = await self.sample(leaf, Until.END)
            if self.answer(end) is not None:
                self.solutions.add(end)
            for node in path:
                self.visits[node] += 1
                self.totals[node] += await self.value(end)

    async def uct(self, child: Address, parent: Address) -> float:
        n = self.visits[child]
        q = self.totals[child] / n if n else await self.value(child)
        return q + self.knobs.exploration * sqrt(log(self.visits[parent]) / max(1, n))


@pytest.mark.parametrize("value", ["prm", "rollout"])
@pytest.mark.parametrize("seed", range(5))
def test_mcts_statistics_are_those_of_a_plain_slow_reference(value: str, seed: int) -> None:
    knobs = MCTS(simulations=24, width=3, value=value, depth=4, temperature=0.9)  # type: ignore[arg-type]
    budget = Budget(step_tokens=9, solution_tokens=30)
    problem = Problem(f"p{seed}", "?")
    world = RandomWorld(depth=6)
    tree = Tree(problem, world, world, seed=seed, budget=budget, answers=FractionAnswers())
    stats, solutions = asyncio.run(knobs.search(tree))

    slow = SlowMCTS(knobs, world, problem, seed, budget)
    asyncio.run(slow.run())
    assert {node.address: own.visits for node, own in stats.items()} == slow.visits
    for node, own in stats.items():
        assert own.total == pytest.approx(slow.totals[node.address])
        assert [child.address for child in own.children] == slow.options.get(node.address, [])
    first_to_say = {(node.twin or node).address for node in solutions}
    assert first_to_say == slow.solutions


def test_mcts_counts_add_up() -> None:
    world = RandomWorld()
    tree = Tree(Q, world, world, answers=FractionAnswers())
    stats, _ = asyncio.run(MCTS(simulations=30).search(tree))
    assert stats[tree.root].visits == 30
    for own in stats.values():
        assert 0 <= own.total <= own.visits
        below = sum(stats[child].visits for child in own.children)
        assert below <= own.visits


# -- all -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_answers_the_easy_question(name: str) -> None:
    seen = Picture(STRATEGIES[name](), {"": ["= 2."] * 128}, fractions=True)
    assert seen.text == "= 2."
    assert seen.tree.answer(seen.chosen) == "2"


class Longwinded:
    """Counts to 1,500, a step a number, and is always right: deeper than Python lets functions nest."""

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, **how: object
    ) -> list[Step]:
        last = 1500 if until is Until.END else len(steps) + 1
        return [
            Step(f"{n},", (n,), 0.0, Stop.END if n == 1500 else Stop.STEP)
            for n in range(len(steps) + 1, last + 1)
        ]

    async def judge(self, problem: Problem, steps: Sequence[Step], *, known: int = 0) -> list[Judgement]:
        return [GOOD] * (len(steps) - known)


@pytest.mark.parametrize(
    "strategy",
    [ChainOfThought(), HGS(max_samples=None), BestOfN(n=2), SelfConsistency(n=2), WeightedVote(n=2),
     MCTS(simulations=2, value="rollout")],
    ids=lambda strategy: type(strategy).__name__,
)  # fmt: skip
def test_a_solution_may_have_more_steps_than_python_has_stack(strategy: Strategy) -> None:
    model = Longwinded()
    tree = Tree(Q, model, model, budget=Budget(solution_tokens=2000))
    chosen = asyncio.run(strategy(tree))
    assert len(chosen.steps) == 1500 and chosen.is_finished


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_is_one_file_of_less_than_a_hundred_lines(name: str) -> None:
    [path] = Path("search/strategies").glob(f"{STRATEGIES[name].__module__.rpartition('.')[2]}.py")
    text = path.read_text()
    assert len(text.splitlines()) < 100
    assert "arXiv:" in text.split('"""')[1], "the docstring names the paper"


@pytest.mark.parametrize(
    ("strategy", "knobs"),
    [
        (HGS, {"width": 0}), (HGS, {"max_samples": -1}), (HGS, {"accept": 1.5}), (HGS, {"reject": -0.1}),
        (HGS, {"escalation": -1.0}), (BestOfN, {"n": 0}), (SelfConsistency, {"temperature": -1.0}),
        (WeightedVote, {"n": 0}), (MCTS, {"simulations": 0}), (ChainOfThought, {"temperature": -0.5}),
    ],
)  # fmt: skip
def test_a_knob_that_makes_no_sense_is_refused_by_name(strategy: type, knobs: dict[str, float]) -> None:
    [name] = knobs
    with pytest.raises(ValueError, match=name):
        strategy(**knobs)


# -- the tree --------------------------------------------------------------------------------------


def grow(script: Script, judged: Mapping[str, Judgement] | None = None, limits: Limits = Limits()) -> Tree:
    return Tree(Q, ScriptedPolicy(script), ScriptedScorer(judged or {}), limits=limits)


async def test_results_keep_the_order_of_the_arguments() -> None:
    tree = grow({"": ["a,", "b,"], "a,": ["1,", "2,"], "b,": ["3,", "4,"]})
    a, b = await tree.expand([tree.root], 2)
    assert [n.text for n in await tree.expand([b, a], 2)] == ["b,3,", "b,4,", "a,1,", "a,2,"]


async def test_a_terminal_node_is_its_own_completion() -> None:
    tree = grow({"": ["a,", "b."], "a,": ["c.", "d."]})
    a, b = await tree.expand([tree.root], 2)
    assert [n.text for n in await tree.complete([b, a], 2)] == ["b.", "b.", "a,c.", "a,d."]


async def test_judging_a_node_and_one_before_it_is_one_call() -> None:
    tree = grow({"": ["a,"], "a,": ["b,"], "a,b,": ["c."]})
    [leaf] = await tree.complete([tree.root])
    await tree.judge([leaf, leaf.path[0], leaf.path[1]])
    assert isinstance(tree._scorer, ScriptedScorer)
    assert tree._scorer.asked == ["|a,b,c."]
    assert tree.usage.judgements == 3
    assert all(node.judgement == GOOD for node in leaf.path)


async def test_known_judgements_are_not_asked_for_again() -> None:
    tree = grow({"": ["a,"], "a,": ["b,"], "a,b,": ["c."]})
    [a] = await tree.expand([tree.root])
    [leaf] = await tree.complete([a])
    await tree.judge([leaf])
    await tree.judge([leaf])
    assert isinstance(tree._scorer, ScriptedScorer)
    assert tree._scorer.asked == ["|a,", "a,|b,c."]


async def test_the_twin_of_a_blank_end_has_its_judgement() -> None:
    tree = grow({"": ["a,"], "a,": ["", ""]}, {"a,": MEH})
    [a] = await tree.expand([tree.root])
    first, second = await tree.complete([a], 2)
    await tree.judge([second])
    assert second.twin is first
    assert first.judgement == second.judgement == MEH


async def test_nothing_follows_a_terminal_node() -> None:
    tree = grow({"": ["a."]})
    [a] = await tree.expand([tree.root])
    with pytest.raises(ValueError, match="terminal"):
        await tree.expand([a])


async def test_a_limit_ends_its_own_block_and_no_other() -> None:
    tree, reached = grow({"": ["a,", "b,", "c,", "d,"]}, limits=Limits(samples=4)), []
    with tree.limit(samples=3):
        with tree.limit(samples=1):
            await tree.expand([tree.root])
            await tree.expand([tree.root])
            reached.append("the second in a block of one")
        with tree.limit(samples=9):
            await tree.expand([tree.root], 2)
            await tree.expand([tree.root])
            reached.append("the fourth in a block of three")
        reached.append("what comes after, in the block of three")
    assert reached == []
    assert (tree.usage.samples, tree.usage.exhausted) == (3, 2)
    await tree.expand([tree.root])
    with pytest.raises(LimitReached, match="samples limit reached: the call needs 5, the bound is 4"):
        await tree.expand([tree.root])


async def test_branches_at_once_cannot_overshoot_a_limit_together() -> None:
    script = {"": ["a.", "b.", "c.", "d."]}
    world = RandomWorld(1)
    tree = Tree(Q, ScriptedPolicy(script), world, limits=Limits(judgements=2))
    nodes: list[Node] = await tree.complete([tree.root], 3)
    judged = await asyncio.gather(*(tree.judge([node]) for node in nodes), return_exceptions=True)
    assert [type(error).__name__ for error in judged] == ["NoneType", "NoneType", "LimitReached"]
    assert tree.usage.judgements == 2


def test_path_values() -> None:
    seen = Picture(MCTS(simulations=1, width=1), {"": ["a,"], "a,": ["b."]})
    assert path_value(seen.tree.root) == 1.0
    chain = seen.chosen.path
    assert all(one is other.parent for one, other in pairwise(chain))
