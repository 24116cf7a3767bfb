"""What holds of every strategy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from search.engine import check_strategy
from search.errors import UsageError
from search.limits import LengthLimits, charge
from search.strategies import STRATEGIES
from search.strategies.ab_mcts import ABMCTS
from search.strategies.adaptive_vote import AdaptiveVote
from search.strategies.beam import BeamSearch
from search.strategies.best_of_n import BestOfN
from search.strategies.cot import ChainOfThought
from search.strategies.dvts import DVTS
from search.strategies.hgs import HGS
from search.strategies.mcts import MCTS
from search.strategies.particle import ParticleFilter
from search.strategies.puct import PUCT
from search.strategies.rebase import REBASE
from search.strategies.self_consistency import SelfConsistency
from search.strategies.tot import TreeOfThoughts
from search.strategies.weighted_vote import WeightedVote
from search.tree import Strategy, Tree
from search.types import Problem, Step, StepScore, Stop, Until
from tests.fakes import GOOD
from tests.pictures import Picture, Q


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_answers_the_easy_question(name: str) -> None:
    seen = Picture(STRATEGIES[name](), {"": ["= 2."] * 128}, fractions=True)
    assert seen.text == "= 2."
    assert seen.tree.answer(seen.chosen) == "2"


def test_what_needs_step_scores_refuses_an_outcome_model_in_one_line() -> None:
    refused = set()
    for name, strategy in STRATEGIES.items():
        try:
            check_strategy(strategy(), outcome=True)
        except UsageError as error:
            assert str(error).startswith(f"{strategy.__name__} needs a score") and "\n" not in str(error)
            refused.add(name)
        check_strategy(strategy(), outcome=False)
    assert {"hgs", "beam", "rebase"} <= refused and refused.isdisjoint(["best_of_n", "weighted_vote", "cot"])


class Longwinded:
    """Counts to 1,500, a step a number, and is always right: deeper than Python lets functions nest."""

    async def propose(
        self, problem: Problem, steps: Sequence[Step], *, until: Until, **how: object
    ) -> list[Step]:
        last = 1500 if until is Until.END else len(steps) + 1
        charge(policy_tokens=last - len(steps))
        return [
            Step(f"{n},", (n,), 0.0, Stop.END if n == 1500 else Stop.STEP)
            for n in range(len(steps) + 1, last + 1)
        ]

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        return [GOOD] * (len(steps) - num_scored)


@pytest.mark.parametrize(
    "strategy",
    [ChainOfThought(), HGS(max_samples=None), BestOfN(n=2), SelfConsistency(n=2), WeightedVote(n=2),
     MCTS(simulations=2, value="rollout"),
     TreeOfThoughts("dfs", width=1, depth=1050, max_states=1050, threshold=0.0)],
    ids=lambda strategy: type(strategy).__name__,
)  # fmt: skip
def test_a_solution_may_have_more_steps_than_python_has_stack(strategy: Strategy) -> None:
    model = Longwinded()
    tree = Tree(Q, model, model, lengths=LengthLimits(solution_tokens=2000))
    chosen = asyncio.run(strategy(tree))
    assert len(chosen.steps) == 1500 and chosen.is_finished


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_is_one_file_of_less_than_a_hundred_lines(name: str) -> None:
    [path] = Path("search/strategies").glob(f"{STRATEGIES[name].__module__.rpartition('.')[2]}.py")
    text = path.read_text()
    assert len(text.splitlines()) < 100
    assert "arXiv:" in text.split('"""')[1], "the docstring names the paper"


@pytest.mark.parametrize(
    ("strategy", "params"),
    [
        (HGS, {"width": 0}), (HGS, {"max_samples": -1}), (HGS, {"accept": 1.5}), (HGS, {"reject": -0.1}),
        (HGS, {"escalation": -1.0}), (BestOfN, {"n": 0}), (SelfConsistency, {"temperature": -1.0}),
        (WeightedVote, {"n": 0}), (MCTS, {"simulations": 0}), (ChainOfThought, {"temperature": -0.5}),
        (MCTS, {"at_once": 0}), (PUCT, {"width": 0}), (PUCT, {"c_init": -1.0}), (PUCT, {"c_base": 0.0}),
        (AdaptiveVote, {"n": 0}), (AdaptiveVote, {"threshold": 1.1}), (AdaptiveVote, {"at_once": 0}),
        (ParticleFilter, {"n": 0}), (ParticleFilter, {"iterations": 0}), (ABMCTS, {"samples": 0}),
        (REBASE, {"n": 0}), (REBASE, {"balance_temperature": 0.0}), (TreeOfThoughts, {"breadth": 0}),
        (TreeOfThoughts, {"threshold": 1.5}), (TreeOfThoughts, {"outputs": 0}),
        (BeamSearch, {"n": 0}), (BeamSearch, {"lookahead": -1}), (DVTS, {"width": 0}), (DVTS, {"depth": 0}),
    ],
)  # fmt: skip
def test_a_knob_that_makes_no_sense_is_refused_by_name(strategy: type, params: dict[str, float]) -> None:
    [name] = params
    with pytest.raises(ValueError, match=name):
        strategy(**params)
