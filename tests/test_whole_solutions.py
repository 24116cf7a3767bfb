"""Strategies that sample whole solutions: chain of thought, best of N, votes."""

from __future__ import annotations

import pytest

from search.strategies.best_of_n import BestOfN
from search.strategies.cot import ChainOfThought
from search.strategies.self_consistency import SelfConsistency
from search.strategies.weighted_vote import WeightedVote
from search.types import StepScore, Until
from search.values import Aggregate
from tests.fakes import BAD
from tests.pictures import Picture, of_value

# -- chain of thought -----------------------------------------------------------------------------


def test_cot_takes_one_greedy_solution_and_asks_no_reward_model() -> None:
    seen = Picture(ChainOfThought(), {"": ["a,", "never."], "a,": ["b."]})
    assert seen.text == "a,b."
    assert [(a.until, a.temperature) for a in seen.policy.calls] == [(Until.END, 0.0)]
    assert seen.scorer.calls == []


def test_cot_at_a_temperature() -> None:
    assert Picture(ChainOfThought(temperature=0.7), {"": ["a."]}).temperatures == [0.7]


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
    scored: dict[str, StepScore] = {}
    for first, values in VALUES.items():
        texts = [first, first + "2,", first + "2,3."]
        script |= {texts[0]: ["2,"], texts[1]: ["3."]}
        scored |= {text: of_value(value) for text, value in zip(texts, values, strict=True)}
    seen = Picture(BestOfN(n=4, aggregate=aggregate), script, scored)
    assert seen.text == best + "2,3."
    assert seen.cost.scores == 12


def test_best_of_n_ties_go_to_the_first() -> None:
    assert Picture(BestOfN(n=3), {"": ["a.", "b.", "c."]}, {"a.": BAD}).text == "b."


def test_best_of_n_prefers_a_solution_with_an_answer() -> None:
    script = {"": ["cut~", "no answer.", "= 3."]}
    seen = Picture(BestOfN(n=3), script, {"= 3.": BAD}, fractions=True)
    assert seen.text == "= 3."
    assert seen.scorer.calls == ["|= 3."]  # the others are not worth the reward model's time
    assert Picture(BestOfN(n=2), script, {"cut~": BAD}, fractions=True).text == "no answer."


def test_best_of_n_judges_a_duplicate_once() -> None:
    seen = Picture(BestOfN(n=3, temperature=0.3), {"": ["a,", "a,", "b."], "a,": ["c."]}, {"b.": BAD})
    assert seen.text == "a,c."
    assert seen.chosen.address == (0, 0)
    assert (seen.events.duplicates, seen.cost.scores) == (1, 3)
    assert seen.temperatures == [0.3] * 3


def test_a_blank_end_does_not_count_its_parents_value_twice() -> None:
    script = {"": ["a,", "b,"], "a,": [""], "b,": ["c."]}
    scored = {"a,": of_value(0.5), "b,": of_value(0.6), "b,c.": of_value(0.6)}
    both: tuple[Aggregate, ...] = ("product", "mean")
    for aggregate in both:
        seen = Picture(BestOfN(n=2, aggregate=aggregate), script, scored)
        assert seen.text == {"product": "a,", "mean": "b,c."}[aggregate]


# -- votes -----------------------------------------------------------------------------------------


def test_self_consistency_returns_the_most_frequent_answer_without_a_reward_model() -> None:
    seen = Picture(SelfConsistency(n=4), {"": ["1.", "2.", "2.", "3."]})
    assert seen.text == "2."
    assert seen.chosen.address == (1,)
    assert seen.scorer.calls == []


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
    scored = {"= 1.": of_value(0.2), "a = 1.": of_value(0.3), "b = 1.": of_value(0.2), "= 2.": of_value(0.6)}
    seen = Picture(WeightedVote(n=4), script, scored, fractions=True)
    assert seen.text == "a = 1."  # 0.7 against 0.6; of the winners, the best
    lone = {**scored, "= 2.": of_value(0.8)}
    assert Picture(WeightedVote(n=4), script, lone, fractions=True).text == "= 2."


def test_weighted_vote_of_equally_good_spellings_returns_the_lowest_address() -> None:
    script = {"": ["= 1/2.", "= 0.5.", "x = 1/2."]}
    scored = {"= 1/2.": of_value(0.1), "= 0.5.": of_value(0.4), "x = 1/2.": of_value(0.4)}
    assert Picture(WeightedVote(n=3), script, scored, fractions=True).chosen.address == (1,)


def test_weighted_vote_by_another_aggregate() -> None:
    script = {"": ["x,", "y,"], "x,": ["= 1."], "y,": ["= 2."]}
    scored = {"x,": of_value(0.1), "= 1.": of_value(0.9), "y,": of_value(0.8), "= 2.": of_value(0.8)}
    assert Picture(WeightedVote(n=2, aggregate="last"), script, scored, fractions=True).text == "x,= 1."
    assert Picture(WeightedVote(n=2), script, scored, fractions=True).text == "y,= 2."
