"""The shipped models on the real engines: contracts, caching, an interrupted run. vLLM where it is there."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bench.builtin.tokenizer import build_tokenizer
from bench.runner.checkpoints import BUILTIN
from bench.runner.models import Models, load_run
from bench.tasks.builtin import Builtin
from bench.tasks.generated.problems import generate
from prm.reading.zoo import find
from prm.scoring.scorers import Ensemble, HFScorer, ManagedScorer
from search import STRATEGIES, Policy, Problem, Step, StepScore, StepScorer, Stop, Until, solve
from search.limits import metered
from search.policies.hf import HFPolicy, _Row
from search.vllm_engine import BLOCK_SIZE
from tests.contracts import PolicyContract, ScorerContract
from tests.resumed import WORDS, assert_finished_is_the_uninterrupted_run, lines, validated
from tests.terminal import CTRL_C, Terminal

POLICY, PRM = str(BUILTIN / "policy"), str(BUILTIN / "prm")
PROBLEMS = list(generate("validation", 11, 12))
SHORT = sorted(PROBLEMS, key=lambda p: len(p.steps))[:4]

one_loop = pytest.mark.asyncio(loop_scope="module")
pytestmark = [pytest.mark.slow]


class BuiltinPolicyContract(PolicyContract):
    problem = Problem(PROBLEMS[1].id, PROBLEMS[1].question)  # of 7 steps: samples differ
    others = tuple(Problem(p.id, p.question) for p in SHORT[:2])
    max_tokens = 240


class BuiltinScorerContract(ScorerContract):
    """Right solutions, and one that goes wrong, repeats itself and holds awkward steps."""

    problem = Problem(PROBLEMS[0].id, PROBLEMS[0].question)
    solutions = (
        [step + "\n" for step in PROBLEMS[0].steps],
        [PROBLEMS[0].steps[0] + "\n"] * 3 + ["The answer is 7."],
        ["\n  Zoë hat “12” Äpfel — ½\n", "x" * 300 + "\n", PROBLEMS[0].steps[-1]],
    )
    atol = 0.03  # bfloat16

    def steps(self, texts: Sequence[str]) -> list[Step]:
        return [Step(text, (), 0.0, Stop.STEP, 1) for text in texts]


class TestHFPolicy(BuiltinPolicyContract):
    @pytest.fixture(scope="class")
    @classmethod
    def policy(cls) -> Policy:
        return HFPolicy(POLICY, dtype="float32")

    async def test_a_cancelled_call_leaves_its_batch(
        self, policy: Policy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taken, take = 0, _Row.take

        def counted(row: _Row, logits: Any) -> int:
            nonlocal taken
            taken += 1
            return take(row, logits)

        monkeypatch.setattr(_Row, "take", counted)
        call = asyncio.create_task(self._solution(policy, 0, 1.0))
        while taken < 5:
            await asyncio.sleep(0)
        assert not call.done()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        before = taken
        await policy.propose(self.problem, [], until=Until.STEP, max_tokens=1, seed=0)
        assert taken <= before + 3


class TestHFScorer(BuiltinScorerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def scorer(cls) -> StepScorer:
        return HFScorer(PRM)


class TestHFScorerInFloat32(BuiltinScorerContract):
    atol = 1e-5

    @pytest.fixture(scope="class")
    @classmethod
    def scorer(cls) -> StepScorer:
        return HFScorer(PRM, dtype="float32")


async def test_the_tree_cache_computes_each_token_of_the_trees_once() -> None:
    scorer = HFScorer(PRM)
    problem = BuiltinScorerContract.problem
    steps = BuiltinScorerContract().steps([step + "\n" for step in PROBLEMS[0].steps])
    with metered() as first:
        await scorer.score(problem, steps)
    with metered() as again:
        await scorer.score(problem, steps)
    assert again.prm_tokens == 0 and again.prm_tokens_cached == first.prm_tokens
    with metered() as fork:  # eight calls at once that share all but their last step
        others = [[*steps[:2], *BuiltinScorerContract().steps([f"The answer is {n}.\n"])] for n in range(8)]
        await asyncio.gather(*(scorer.score(problem, other, num_scored=2) for other in others))
    assert fork.prm_tokens <= 8 * 8


async def test_a_small_tree_cache_forgets_but_scores_the_same() -> None:
    large, small = HFScorer(PRM, dtype="float32"), HFScorer(PRM, dtype="float32", max_bytes=1)
    contract = BuiltinScorerContract()
    for texts in contract.solutions:
        steps = contract.steps(texts)
        for k in range(len(steps)):
            pair = [await scorer.score(contract.problem, steps, num_scored=k) for scorer in (large, small)]
            assert [j.value for j in pair[0]] == pytest.approx([j.value for j in pair[1]], abs=1e-5)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def models(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Models]:
    """Both on vLLM, as `search.run` loads them."""
    async with load_run(validated([*WORDS, "--out", str(tmp_path_factory.mktemp("run"))])) as models:
        yield models


@pytest.mark.vllm
@one_loop
class TestVLLMPolicy(BuiltinPolicyContract):
    @pytest.fixture
    def policy(self, models: Models) -> Policy:
        return models.policy

    async def test_a_prefix_is_read_from_the_cache(self, policy: Policy) -> None:
        longest = max(PROBLEMS, key=lambda p: len(p.question))
        problem = Problem("longest", longest.question)
        for seed in range(2):
            with metered() as spent:
                await policy.propose(problem, [], until=Until.STEP, max_tokens=40, seed=seed)
        assert spent.prompt_tokens <= BLOCK_SIZE
        assert spent.prompt_tokens_cached >= 2 * BLOCK_SIZE

    async def test_hgs_searches_on_both_engines(self, models: Models) -> None:
        problems = [Problem(p.id, p.question) for p in SHORT]
        outcomes = [
            outcome
            async for outcome in solve(
                problems, STRATEGIES["hgs"](), models.policy, models.scorer, answers=Builtin()
            )
        ]
        assert [o.error for o in outcomes] == [None] * len(problems)
        assert all(o.cost.samples and o.cost.scores and o.cost.prm_tokens for o in outcomes)
        right = {p.id: str(p.answer) for p in SHORT}
        assert any(o.answer == right[o.problem.id] for o in outcomes)


class Open(ManagedScorer):
    """A scorer that is open already, and that somebody else closes."""

    def __init__(self, scorer: StepScorer):
        self._scorer = scorer

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        return await self._scorer.score(problem, steps, num_scored=num_scored)


@pytest.mark.vllm
@one_loop
class TestVLLMScorer(BuiltinScorerContract):
    atol = 1e-4  # as test_zoo has it for float32

    @pytest.fixture
    def scorer(self, models: Models) -> StepScorer:
        return models.scorer

    async def test_no_score_computes_more_than_the_new_step_and_a_block(self, scorer: StepScorer) -> None:
        tokenizer = build_tokenizer()
        for problem in PROBLEMS:
            steps = self.steps([step + "\n" for step in problem.steps])
            for k in range(len(steps)):
                with metered() as spent:
                    await scorer.score(Problem(problem.id, problem.question), steps[: k + 1], num_scored=k)
                if k:
                    assert spent.prm_tokens <= len(tokenizer(steps[k].text).input_ids) + BLOCK_SIZE

    async def test_it_agrees_with_transformers(self, scorer: StepScorer) -> None:
        other = HFScorer(PRM, dtype="float32")
        for texts in self.solutions:
            theirs = await other.score(self.problem, self.steps(texts))
            self._same(await scorer.score(self.problem, self.steps(texts)), theirs)

    async def test_it_can_be_a_member_beside_another(self, scorer: StepScorer) -> None:
        weak = HFScorer(str(BUILTIN / "prm-weak"), dtype="float32")
        both = Ensemble(find(PRM).layout, [lambda: Open(scorer), lambda: weak])
        await both.open()
        for texts in self.solutions:
            steps = self.steps(texts)
            scores = [await one.score(self.problem, steps, num_scored=1) for one in (both, scorer, weak)]
            for mean, *apart in zip(*scores, strict=True):
                assert mean.positive == pytest.approx(sum(one.positive for one in apart) / 2, abs=self.atol)


@pytest.mark.timeout(1200)  # the engines start once more, in the run that is interrupted
@pytest.mark.vllm
@one_loop
async def test_interrupted_at_a_terminal_on_vllm_then_finished_it_is_the_uninterrupted_run(
    models: Models, tmp_path: Path
) -> None:
    trace = tmp_path / "cut" / "hgs.jsonl"
    words = [*WORDS, "--limit", "5"]
    command = [sys.executable, "-m", "search.run", *words, "--out", str(trace.parent)]
    shown = Terminal(command, Path.cwd(), os.environ)
    shown.wait_for(lambda: lines(trace) > 25, 400)
    shown.press(CTRL_C)
    assert shown.end(60) == 130, shown.text
    assert "Traceback" not in shown.text and "ERROR" not in shown.text, shown.text
    told, resume = shown.text.rstrip().splitlines()[-2:]
    assert told == "interrupted; to continue where it stopped:" and shlex.split(resume)[-1] == "--resume"
    await assert_finished_is_the_uninterrupted_run(trace, words, models)
