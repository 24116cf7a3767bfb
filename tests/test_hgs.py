"""HGS-PRM: a picture for every knob, and its recursive pseudo-code beside it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.limits import LengthLimits
from search.node import Node
from search.strategies.hgs import HGS
from search.tree import Tree
from search.types import Address, Label, StepScore, Stop
from search.values import path_value
from tests.fakes import BAD, GOOD, MEH, FractionAnswers, RandomWorld
from tests.pictures import Picture, Q, of_value


def test_hgs_enters_a_positive_child_at_once() -> None:
    seen = Picture(HGS(), {"": ["a,", "never,"], "a,": ["b,"], "a,b,": ["c."]})
    assert seen.text == "a,b,c."
    assert seen.path == ["", "a,", "a,b,"]
    assert seen.events.backtracks == 0


def test_hgs_passes_over_a_negative_child() -> None:
    seen = Picture(HGS(), {"": ["bad,", "a,"], "a,": ["b."]}, {"bad,": BAD})
    assert seen.text == "a,b."
    assert seen.path == ["", "", "a,"]


def test_hgs_goes_back_up_when_every_child_is_dead() -> None:
    script = {"": ["a,", "b,"], "a,": ["x,", "y,"], "b,": ["done."]}
    seen = Picture(HGS(width=2), script, {"x,": BAD, "y,": BAD})
    assert seen.text == "b,done."
    assert seen.path == ["", "a,", "a,", "", "b,"]
    assert seen.events.backtracks == 1
    assert "backtrack a," in seen.told


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
    better = StepScore(0.1, 0.6, 0.3)
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
    scored = {"a,": of_value(0.69), "b,": of_value(0.7)}
    assert Picture(HGS(accept=0.7), script, scored).text == "b,ok."
    assert Picture(HGS(accept=0.69), script, scored).text == "a,no."


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
    assert Picture(HGS(reject=reject), script, {"a,": StepScore(0.4, 0.15, 0.45)}).text == text


def test_hgs_reject_above_the_argmax_saves_a_probably_negative_child() -> None:
    script = {"": ["a,", "b."], "a,": ["ok."]}
    scored = {"a,": StepScore(0.6, 0.1, 0.3)}
    assert Picture(HGS(), script, scored).text == "b."
    assert Picture(HGS(reject=0.7), script, scored).text == "a,ok."


def test_hgs_raises_the_temperature_with_every_child_of_a_node() -> None:
    script = {"": ["x,", "y,", "a,"], "a,": ["z,", "b."]}
    scored = {"x,": BAD, "y,": BAD, "z,": BAD}
    assert Picture(HGS(), script, scored).temperatures == [0.0, 0.1, 0.2, 0.0, 0.1]
    warm = HGS(temperature=0.1, escalation=0.0)
    assert Picture(warm, script, scored).temperatures == [0.1] * 5
    own = HGS(temperature=None, escalation=0.3)
    assert Picture(own, script, scored).temperatures == [None] * 5


def test_hgs_a_duplicate_is_charged_but_neither_scored_nor_entered_again() -> None:
    script = {"": ["bad,", "bad,", "bad,", "ok."]}
    seen = Picture(HGS(), script, {"bad,": BAD})
    assert seen.text == "ok."
    assert (seen.cost.samples, seen.events.duplicates) == (4, 2)
    assert seen.cost.policy_tokens == 3 * len("bad,") + len("ok.")
    assert seen.scorer.calls == ["|bad,", "|ok."]
    assert seen.cost.scores == 2


@pytest.mark.parametrize("cut", ["cut~", "again!", "no answer."])
def test_hgs_what_is_cut_or_states_no_answer_is_dead(cut: str) -> None:
    script = {"": [cut, "so = 2."]}
    seen = Picture(HGS(), script, fractions=True)
    assert seen.text == "so = 2."
    assert seen.cost.samples == 2


def test_hgs_a_step_that_fills_the_solution_budget_is_dead() -> None:
    script = {"": ["aaaa,", "b."], "aaaa,": ["never."]}
    seen = Picture(HGS(), script, lengths=LengthLimits(step_tokens=9, solution_tokens=5))
    assert seen.text == "b."
    assert [node.step.stop for node in seen.tree.root.children if node.step] == [Stop.LENGTH, Stop.END]


def test_hgs_one_false_negative_does_not_end_the_search() -> None:
    script = {"": ["x,", "y,"], "x,": ["no,", "no,"], "y,": ["right."]}
    scored = {"x,": of_value(0.1), "y,": of_value(0.4), "no,": BAD}
    seen = Picture(HGS(width=2), script, scored)
    assert seen.text == "y,right."
    assert seen.path == ["", "", "y,"]


def test_hgs_readmits_best_first_and_a_rejected_solution_too() -> None:
    script = {"": ["x,", "wrong?."], "x,": ["no,", "no,"]}
    scored = {"x,": of_value(0.3), "wrong?.": of_value(0.2), "no,": of_value(0.1)}
    seen = Picture(HGS(width=2), script, scored)
    assert seen.path == ["", "", "x,", "x,"]  # x, first; then the solution that was rejected
    assert seen.text == "wrong?."


def test_hgs_of_equal_rejected_nodes_the_lower_address_is_readmitted() -> None:
    script = {"": ["meh,", "x,"], "meh,": ["y,", "y,"], "meh,y,": ["first."], "x,": ["second."]}
    scored = {"meh,": MEH, "x,": BAD, "y,": BAD}
    seen = Picture(HGS(width=2), script, scored)  # x, was rejected earlier, but (0, 0) < (1,)
    assert seen.text == "meh,y,first."


def test_hgs_without_readmission_a_dead_end_is_the_end() -> None:
    script = {"": ["x,", "y,", "cot."], "x,": ["never."]}
    seen = Picture(HGS(width=2, on_dead_end="finish"), script, {"x,": BAD, "y,": BAD})
    assert seen.text == "cot."
    assert seen.path == ["", "", ""]
    assert seen.temperatures[-1] == 0.0
    assert seen.events.exhausted == 0


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
    assert seen.events.exhausted == 1
    assert seen.cost.samples == (3 if on_budget == "abstain" else 4)
    assert seen.path[:3] == ["", "a,", "a,"]


def test_hgs_finishes_the_most_probable_of_the_deepest_prefixes() -> None:
    script = {
        "": ["a,", "b,"], "a,": ["a2,", "no,"], "b,": ["b2,", "no,"],
        "a,a2,": ["no,", "no,"], "b,b2,": ["no,", "no,", "greedy."],
    }  # fmt: skip
    scored = {"no,": BAD, "a2,": of_value(0.6), "b2,": of_value(0.8)}
    seen = Picture(HGS(width=2, on_dead_end="finish"), script, scored)
    assert seen.text == "b,b2,greedy."
    assert seen.temperatures[-1] == 0.0


def test_hgs_when_the_tokens_are_spent() -> None:
    script = {"": ["aaaa,"], "aaaa,": ["bbbb,", "cc."], "aaaa,bbbb,": ["never."]}
    seen = Picture(HGS(max_tokens=8), script)
    assert seen.tree.root.children[0].children[0].text == "aaaa,bbb"  # cut to what was left
    assert seen.text == "aaaa,cc."
    assert seen.events.exhausted == 1


def test_hgs_spends_nothing_on_a_search_without_samples() -> None:
    seen = Picture(HGS(max_samples=0), {"": ["cot."]})
    assert (seen.text, seen.cost.samples, seen.cost.scores) == ("cot.", 1, 0)


def test_hgs_a_solution_that_ends_after_a_good_step_is_as_good_as_the_step() -> None:
    seen = Picture(HGS(), {"": ["a = 1,"], "a = 1,": [""]}, fractions=True)
    assert seen.text == "a = 1,"
    assert seen.chosen.is_finished
    assert seen.scorer.calls == ["|a = 1,"]  # nobody is asked about nothing
    assert seen.chosen.score == GOOD


def test_hgs_saying_nothing_at_all_is_no_solution() -> None:
    assert Picture(HGS(), {"": ["", "a."]}).text == "a."


class RecursiveHGS:
    """The reference: the pseudo-code of docs/architecture.md to the letter, one call a level."""

    def __init__(self, params: HGS):
        self.params = params
        self.entered: list[Node] = []
        self.rejected: list[Node] = []

    async def __call__(self, tree: Tree) -> Node:
        with tree.limit(samples=self.params.max_samples):
            found = await self.enter(tree, tree.root)
            while not found and self.rejected and self.params.on_dead_end == "readmit":
                self.rejected.sort(key=lambda node: (-node.value, node.address))
                found = await self.enter(tree, self.rejected.pop(0))
            if found:
                return found
        if self.params.on_budget == "abstain":
            return tree.root
        start = tree.root
        if self.params.on_budget == "best_prefix":
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
        for retry in range(self.params.width):
            [child] = await tree.expand([node], temperature=self.params.escalation * retry)
            if child.duplicate_of or (child.is_terminal and tree.answer(child) is None):
                continue
            if child.label is Label.NEUTRAL and self.params.neutral == "defer":
                aside.append(child)
            elif child.label is Label.POSITIVE or (
                child.label is Label.NEUTRAL and self.params.neutral == "accept"
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
    params=st.builds(
        HGS, width=st.integers(1, 4), max_samples=st.integers(0, 40),
        neutral=st.sampled_from(["defer", "accept", "reject"]),
        on_dead_end=st.sampled_from(["readmit", "finish"]),
        on_budget=st.sampled_from(["best_prefix", "restart", "abstain"]),
    ),
)  # fmt: skip
@settings(max_examples=150)
def test_hgs_is_its_recursive_pseudo_code(seed: int, params: HGS) -> None:
    ran = []
    for strategy in (params, RecursiveHGS(params)):
        world, events = RandomWorld(), list[tuple[str, Address]]()
        tree = Tree(
            Q, world, world, seed=seed, answers=FractionAnswers(),
            lengths=LengthLimits(step_tokens=12, solution_tokens=40),
            watch=lambda event, node, events=events: events.append((event, node.address)),  # type: ignore[misc]
        )
        chosen = asyncio.run(strategy(tree))
        ran.append((chosen.address, tree.cost, events))
    assert ran[0] == ran[1]
