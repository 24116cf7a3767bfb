"""Strategies at one budget: scaled to it, bounded by it, refused where it makes no sense."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bench.report.summary import Graded, Summary
from bench.runner.budget import (
    MOST_TRIES,
    SCALES,
    Bounded,
    Budget,
    Plan,
    Pool,
    largest,
    parse_budget,
    recorded_plan,
)
from bench.runner.cli.run import main
from bench.runner.execute import replay
from bench.runner.planning import longest_answered
from prm.reading.parameters import count_parameters
from search.engine import Outcome
from search.errors import TraceError, UsageError
from search.limits import Cost, CostLimits, Events
from search.strategies import STRATEGIES
from search.strategies.best_of_n import BestOfN
from search.strategies.hgs import HGS
from search.strategies.weighted_vote import WeightedVote
from search.tree import StepGuided, Tree
from search.types import Problem
from tests.budgets import WEIGHT, executed, run_at
from tests.fakes import BAD, GOOD, FractionAnswers, ScriptedPolicy, ScriptedScorer

OTHERS = {name: strategy() for name, strategy in STRATEGIES.items() if name != "cot"}


def test_every_strategy_says_what_it_is_scaled_by() -> None:
    assert set(SCALES) == set(OTHERS)
    for name, scale in SCALES.items():
        fields = type(OTHERS[name]).__slots__  # type: ignore[attr-defined]
        assert {*scale.parameters, *([scale.divisor] if scale.divisor else [])} <= set(fields)


@pytest.mark.parametrize("text", ["8x", "1.5x", "tokens=200", "seconds=0.5"])
def test_a_budget_reads_as_it_is_written(text: str) -> None:
    assert parse_budget(text).text == text


@pytest.mark.parametrize("text", ["8", "x", "0x", "0.5x", "tokens=0", "tokens=1.5", "seconds=inf", "nanx"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_budget(text)


@pytest.mark.parametrize("most", [1, 2, 3, 7, 8, 100])
def test_the_largest_value_that_fits(most: int) -> None:
    async def cost(value: int) -> float:
        return float(value)

    assert asyncio.run(largest(cost, most + 0.5)) == most


@pytest.mark.parametrize("most", [1.0, 1023.0, 1024.0, 1500.0])
def test_no_value_is_tried_beyond_the_most(most: float) -> None:
    tried = []

    async def cost(value: int) -> float:
        tried.append(value)
        return 1.0 if value <= most else 9.0

    assert asyncio.run(largest(cost, 5.0)) == min(most, MOST_TRIES)
    assert max(tried) <= MOST_TRIES


@pytest.mark.parametrize("times", [2, 8])
def test_all_strategies_keep_to_it_and_a_resumed_run_is_the_same(times: int, tmp_path: Path) -> None:
    budget = Budget(times=times)
    first = executed(run_at(budget, OTHERS, tmp_path, n_problems=6))
    greedy = first["cot"].cost.policy_tokens / 6
    for name, summary in first.items():
        assert not summary.failed, name
        most = max(g.outcome.cost.total_tokens for g in summary.graded)
        assert name == "cot" or most <= round(times * greedy)
    assert first["cot"].used is None
    assert first["self_consistency"].used == pytest.approx(1, abs=0.15)
    again = asyncio.run(replay(run_at(budget, OTHERS, tmp_path, n_problems=6)))
    assert again is not None
    for summary in again:
        same = first[summary.strategy]
        assert (summary.cost, summary.params, summary.used) == (same.cost, same.params, same.used)


def test_what_is_kept_back_is_the_longest_solution_with_an_answer() -> None:
    def graded(answer: str | None, tokens: int) -> Graded:
        cost = Cost(policy_tokens=tokens)
        return Graded(Outcome(Problem("", ""), (), answer, None, cost, Events(), 0.0), correct=False)

    assert longest_answered([graded("1", 40), graded("2", 70), graded(None, 128)]) == 70
    assert longest_answered([graded(None, 128)]) == 0


def test_more_budget_is_used_and_unequal_timing_changes_nothing(tmp_path: Path) -> None:
    some = {name: OTHERS[name] for name in ("best_of_n", "particle")}

    def run(tokens: int, jitter: int) -> dict[str, Summary]:
        out = tmp_path / f"{tokens}-{jitter}"
        return executed(run_at(Budget(tokens=tokens), some, out, n_problems=4), jitter=jitter)

    small, large, again = run(120, 0), run(400, 0), run(400, 5)
    for name in some:
        assert large[name].cost.total_tokens > 1.5 * small[name].cost.total_tokens
        assert large[name].cost.total_tokens == again[name].cost.total_tokens
        assert [g.outcome.answer for g in sorted(large[name].graded, key=lambda g: g.outcome.problem.id)] == [
            g.outcome.answer for g in sorted(again[name].graded, key=lambda g: g.outcome.problem.id)
        ]


def test_seconds_end_a_search_with_an_answer(tmp_path: Path) -> None:
    some = {"mcts": OTHERS["mcts"]}
    done = executed(run_at(Budget(seconds=0.1), some, tmp_path, n_problems=3), pause_s=0.01)["mcts"]
    assert done.events.late > 0 and not done.failed and done.used is not None and 0.5 < done.used < 5


def test_another_budget_does_not_continue_a_run(tmp_path: Path) -> None:
    some = {"best_of_n": OTHERS["best_of_n"]}
    executed(run_at(Budget(tokens=200), some, tmp_path, n_problems=2))
    with pytest.raises(UsageError, match="is a run with --budget tokens=200, not 8x"):
        recorded_plan(tmp_path, Budget(times=8), WEIGHT)
    with pytest.raises(UsageError, match="a PRM token counts 2"):
        recorded_plan(tmp_path, Budget(tokens=200), 1.0)
    (tmp_path / "budget.json").unlink()
    with pytest.raises(TraceError, match="budget"):
        executed(run_at(Budget(tokens=300), some, tmp_path, n_problems=2))


# -- in pictures ---------------------------------------------------------------------------------------

CHAIN = {"": ["aa,", "bb,", "= 1."], "aa,": ["x,", "= 2."], "aa,x,": ["= 3."]}


def test_a_search_without_an_answer_completes_its_best_prefix_with_what_was_kept() -> None:
    policy = ScriptedPolicy(CHAIN)
    tree = Tree(
        Problem("q", "?"), policy, ScriptedScorer(), answers=FractionAnswers(), prm_weight=1.0,
        limits=CostLimits(total_tokens=14),
    )  # fmt: skip
    leaf = asyncio.run(Bounded(HGS(), tokens=14, kept=4)(tree))
    assert leaf.text == "aa,x,= 3." and tree.cost.total_tokens == 6 + 4 + 4


@pytest.mark.parametrize("name", [n for n, s in OTHERS.items() if isinstance(s, StepGuided)])
def test_wherever_the_budget_cuts_a_search_it_has_an_answer(name: str) -> None:
    """Also where the strategy itself returns a step that was cut."""
    script = {"": ["aa,"] * 50, "aa,": ["x,"] * 50, "aa,x,": ["= 3."] * 50}
    for tokens in range(10, 40):
        tree = Tree(
            Problem("q", "?"), ScriptedPolicy(script), ScriptedScorer(), answers=FractionAnswers(),
            prm_weight=1.0, limits=CostLimits(total_tokens=tokens),
        )  # fmt: skip
        leaf = asyncio.run(Bounded(OTHERS[name], tokens=tokens, kept=len("aa,x,= 3."))(tree))
        assert leaf.text == "aa,x,= 3." and tree.cost.total_tokens <= tokens


def test_a_pool_is_as_large_as_the_budget_pays_for() -> None:
    policy = ScriptedPolicy({"": ["= 1.", "= 2.", "= 3."]})
    scorer = ScriptedScorer({"= 1.": BAD, "= 2.": GOOD, "= 3.": GOOD})

    def pool(total: int) -> tuple[str, int]:
        tree = Tree(
            Problem("q", "?"), policy, scorer, answers=FractionAnswers(), prm_weight=1.0,
            limits=CostLimits(total_tokens=total),
        )  # fmt: skip
        return asyncio.run(Pool(BestOfN(100), "best")(tree)).text, tree.cost.total_tokens

    assert pool(8) == ("= 1.", 8)
    assert pool(16) == ("= 2.", 16)
    assert pool(4) == ("= 1.", 4)  # sampled, and nothing left to score it


def test_what_bounds_a_strategy() -> None:
    plan = Plan("8x", 800, None, 2.0, 100, {})
    assert plan.bounded("hgs", HGS()) == Bounded(HGS(), 800, 100)
    assert plan.bounded("oracle_best_of_n", BestOfN()) == Pool(BestOfN(), "best")
    assert plan.bounded("weighted_vote", WeightedVote()) == Pool(WeightedVote(), "weighted_vote")


# -- the command line ----------------------------------------------------------------------------------

REFUSED = {
    "what": (["--budget", "8"], "--budget: takes 8x, tokens=N or seconds=S, not '8'"),
    "no baseline": (["--budget", "8x", "--no-baseline"], "--budget 8x counts in costs of greedy cot"),
    "scaled": (["--budget", "8x", "--strategy", "best_of_n", "--set", "n=4"], "--set n: it is what --budget"),
    "question": (["--budget", "tokens=9", "--question", "?"], "does not go with --question"),
    "deadline": (["--budget", "seconds=9", "--deadline", "2"], "leave --deadline out"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_refused(fault: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words, said = REFUSED[fault]
    assert main([*words, "--engine", "hf"]) == 2
    assert said in capfd.readouterr().err and not list(here.iterdir())


def test_parameters_are_counted_in_the_headers(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"a": "b"}, "x": {"shape": [3, 4]}, "y": {"shape": [5]}})
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode())
    assert count_parameters(str(tmp_path)) == 17
    (tmp_path / "model.safetensors").write_bytes(b"\xff\0\0\0\0\0\0\0nothing")
    with pytest.raises(UsageError, match="cannot read"):
        count_parameters(str(tmp_path))


def test_parameters_of_files_without_a_header_follow_from_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"torch_dtype": "float16"}')
    for part, size in ((1, 3000), (2, 1000)):
        (tmp_path / f"pytorch_model-0000{part}-of-00002.bin").write_bytes(b"\0" * size)
    (tmp_path / "training_args.bin").write_bytes(b"\0" * 500)
    assert count_parameters(str(tmp_path)) == 2000
    (tmp_path / "config.json").write_text("{}")
    assert count_parameters(str(tmp_path)) == 1000


def test_a_checkpoint_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="it has no weights"):
        count_parameters(str(tmp_path))
