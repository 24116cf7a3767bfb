"""The study's own logic: remembered calls, matched costs, training examples and reports. No model runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from bench.builtin.training import IGNORED
from bench.experiments.prm_study.cells import RememberingPolicy, RememberingScorer
from bench.experiments.prm_study.models import SUPERVISIONS, Sizes
from bench.experiments.prm_study.study import StudyRequest, run
from bench.experiments.prm_study.tables import TABLES
from bench.prm_study import main
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


def test_a_repeated_call_is_neither_sampled_nor_scored_again_and_costs_the_same() -> None:
    policy, scorer, scored = RandomWorld(), RandomWorld(), {}
    remembering = RememberingPolicy(policy)

    def solve_with(n: int) -> list[Outcome]:
        outcomes = solve_all(PROBLEMS, BestOfN(n), remembering, RememberingScorer(scorer, scored))
        return [replace(outcome, seconds=0.0) for outcome in outcomes]

    first = solve_with(4)
    calls = policy.calls, scorer.calls
    assert solve_with(4) == first and (policy.calls, scorer.calls) == calls
    assert solve_with(2) != first and policy.calls == calls[0]  # two of the four
    alone = solve_all(PROBLEMS, BestOfN(4), RandomWorld(), RandomWorld())
    assert [o.cost for o in alone] == [o.cost for o in first]


@pytest.mark.parametrize(("search", "n"), [(100, 1), (101, 2), (330, 4), (40, 1)])
def test_n_samples_cost_at_least_what_the_search_did(search: int, n: int) -> None:
    assert matched(summary(search, [True] * 5), summary(100, [False] * 5)) == n


def test_each_kind_of_supervision_has_its_own_targets() -> None:
    problem = next(generate("train", 0, 1))
    wrong = problem.steps[1].replace(" = ", " = 9", 1)
    steps = (problem.steps[0], wrong, *problem.steps[2:])
    rolled = LabelledSolution(
        problem.question, steps, (1,) * (len(steps) - 1) + (-1,), "rollouts/builtin", "train", "rollouts",
        outcome=False,
    )  # fmt: skip

    def targets(name: str) -> list[int]:
        return [target for target in SUPERVISIONS[name](problem, rolled).targets if target != IGNORED]

    positive, negative = 2, 0
    assert targets("hard") == [positive, negative]  # up to the first error
    assert targets("rollouts") == [positive] * (len(steps) - 1) + [negative]
    assert targets("outcome") == [negative]


def test_a_trial_is_small_everywhere() -> None:
    assert max(Sizes().at_most(7).as_dict().values()) == 7
    assert Sizes().at_most(7).rollouts == Sizes().rollouts


def test_tables_show_gain_interval_and_p() -> None:
    greedy, better = summary(100, [True, False, False, False, False]), summary(300, [True] * 5)
    row = better.as_json(greedy)
    assert markdown.accuracy(row) == "100.0 % [56.6, 100.0]"
    assert markdown.paired(row["versus"]) == "+80.0 (p = 0.125)"
    assert markdown.table(["a"], [["b"]]) == ["| a |", "| --- |", "| b |", ""]


def params_table() -> dict[str, object]:
    greedy, better = summary(100, [True, False, False, False, False]), summary(300, [True] * 5)
    row = better.as_json(greedy)
    neutral = {"neutral": "defer", **row, "over_defer": row["versus"]}
    whole = row | {"strategy": "best_of_n", "knobs": {"n": 8}}
    aggregate = {"aggregate": "min", **whole, "over_product": row["versus"]}
    shares = {"-1": 0.1, "0": 0.01, "1": 0.89}
    return {"greedy": greedy.as_json(), "labels": shares, "neutral": [neutral], "aggregates": [aggregate]}


@pytest.mark.parametrize("file", ["params.json", "knobs.json"])
def test_the_report_contains_tables_of_earlier_calls_and_versions(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / file).write_text(json.dumps(params_table()))
    run(StudyRequest(work=tmp_path, tables=(), limit=5))
    page = (folder / "report.md").read_text()
    assert page.startswith("`python -m bench.prm_study --limit 5`, seed 0")
    assert "## Neutral steps and aggregates" in page
    assert "| defer | 100.0 % [56.6, 100.0] | +80.0 (p = 0.125) | +80.0 (p = 0.125) | 3.00 |" in page
    assert "| best-of-N | 8 | min | 100.0 % [56.6, 100.0] |" in page


def test_the_command_refuses_unknown_tables(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--table", "knobs"])
    assert ended.value.code == 2
    refusal = capsys.readouterr().err
    assert all(name in refusal for name in TABLES)
