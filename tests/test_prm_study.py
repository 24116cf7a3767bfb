"""The study's own logic: what is remembered, matched, taught and written down. No model runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from bench.builtin.training import IGNORED
from bench.experiments.prm_study.cells import RememberingPolicy, RememberingScorer
from bench.experiments.prm_study.models import SUPERVISIONS, Sizes
from bench.report import markdown
from bench.report.summary import Graded, Summary, matched
from bench.tasks.generated.problems import generate
from prm.data.labels import LabelledSolution
from search.engine import Outcome, solve_all
from search.limits import Cost, Events
from search.strategies.best_of_n import BestOfN
from search.types import Problem
from tests.fakes import RandomWorld

PROBLEMS = [Problem(f"p{i}", f"Question {i}?") for i in range(5)]


def summary(tokens: int, right: list[bool]) -> Summary:
    graded = [
        Graded(Outcome(problem, (), None, None, Cost(policy_tokens=tokens), Events(), 0.0), ok)
        for problem, ok in zip(PROBLEMS, right, strict=False)
    ]
    return Summary("cot", {}, "builtin", 0, "policy", None, "revision", 0.0, graded)


def test_what_was_sampled_and_judged_once_is_not_asked_again_and_costs_the_same() -> None:
    policy, scorer, scored = RandomWorld(), RandomWorld(), {}
    remembering = RememberingPolicy(policy)

    def run(n: int) -> list[Outcome]:
        found = solve_all(PROBLEMS, BestOfN(n), remembering, RememberingScorer(scorer, scored))
        return [replace(outcome, seconds=0.0) for outcome in found]

    first = run(4)
    asked = policy.calls, scorer.calls
    assert run(4) == first and (policy.calls, scorer.calls) == asked
    assert run(2) != first and policy.calls == asked[0]  # two of the four
    alone = solve_all(PROBLEMS, BestOfN(4), RandomWorld(), RandomWorld())
    assert [o.cost for o in alone] == [o.cost for o in first]


@pytest.mark.parametrize(("search", "n"), [(100, 1), (101, 2), (330, 4), (40, 1)])
def test_n_samples_cost_at_least_what_the_search_did(search: int, n: int) -> None:
    assert matched(summary(search, [True] * 5), summary(100, [False] * 5)) == n


def test_what_each_judge_is_told_of_a_solution() -> None:
    problem = next(generate("train", 0, 1))
    wrong = problem.steps[1].replace(" = ", " = 9", 1)
    steps = (problem.steps[0], wrong, *problem.steps[2:])
    rolled = LabelledSolution(
        problem.question, steps, (1,) * (len(steps) - 1) + (-1,), "rollouts/builtin", "train", "rollouts",
        outcome=False,
    )  # fmt: skip

    def told(name: str) -> list[int]:
        return [target for target in SUPERVISIONS[name](problem, rolled).targets if target != IGNORED]

    positive, negative = 2, 0
    assert told("hard") == [positive, negative]  # and no further than the first error
    assert told("rollouts") == [positive] * (len(steps) - 1) + [negative]
    assert told("outcome") == [negative]


def test_a_trial_is_small_everywhere() -> None:
    assert max(Sizes().at_most(7).as_dict().values()) == 7
    assert Sizes().at_most(7).rollouts == Sizes().rollouts


def test_the_tables_say_gain_interval_and_p() -> None:
    greedy, better = summary(100, [True, False, False, False, False]), summary(300, [True] * 5)
    row = better.as_json(greedy)
    assert markdown.accuracy(row) == "100.0 % [56.6, 100.0]"
    assert markdown.paired(row["versus"]) == "+80.0 (p = 0.125)"
    assert markdown.table(["a"], [["b"]]) == ["| a |", "| --- |", "| b |", ""]
