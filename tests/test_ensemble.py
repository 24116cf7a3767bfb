"""Ensembles of reward models: their scores, their members, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from bench.runner.checkpoints import BUILTIN
from bench.runner.models import load_scorer as load_resolved
from bench.runner.resolve import ResolvedPRM, resolve_prm
from bench.runner.specs import PRMSpec
from bench.tasks.builtin import Builtin
from bench.tasks.generated.problems import generate
from prm.calibrate import main as calibrate
from prm.reading.layout import read_layout
from prm.reading.zoo import find
from prm.scoring.scorers import Ensemble, HFScorer, ManagedScorer, load_scorer
from search.devices import WHOLE, DeviceShare
from search.errors import ScorerError, UsageError
from search.limits import metered
from search.types import Problem, Step, StepScore, StepScorer, Stop
from tests.contracts import ScorerContract

PRM, WEAK = BUILTIN / "prm", BUILTIN / "prm-weak"
[GENERATED] = generate("validation", 11, 1)
PROBLEM = Problem(GENERATED.id, GENERATED.question)


def steps(texts: Sequence[str]) -> list[Step]:
    return [Step(text, (), 0.0, Stop.STEP, 1) for text in texts]


RIGHT = [step + "\n" for step in GENERATED.steps]


def ensemble(folder: Path, *members: Path | str, **more: object) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "prm.json").write_text(json.dumps({"members": [*map(str, members)], **more}))
    return str(folder)


class TestEnsemble(ScorerContract):
    problem = PROBLEM
    solutions = (RIGHT, [RIGHT[0]] * 3 + ["The answer is 7."])
    atol = 1e-5

    @pytest_asyncio.fixture
    async def scorer(self, tmp_path: Path) -> AsyncIterator[StepScorer]:
        async with load_scorer(ensemble(tmp_path, PRM, WEAK), "hf", dtype="float32") as scorer:
            yield scorer

    def steps(self, texts: Sequence[str]) -> list[Step]:
        return steps(texts)

    async def test_it_scores_the_mean_and_costs_the_sum(self, scorer: StepScorer) -> None:
        with metered() as spent:
            both = await scorer.score(PROBLEM, steps(RIGHT))
        apart, cost = [], 0
        for model in (PRM, WEAK):
            with metered() as own:
                apart.append(await HFScorer(str(model), dtype="float32").score(PROBLEM, steps(RIGHT)))
            cost += own.prm_tokens + own.prm_tokens_cached
        for mean, one, other in zip(both, *apart, strict=True):
            assert mean.negative == pytest.approx((one.negative + other.negative) / 2, abs=1e-5)
            assert mean.positive == pytest.approx((one.positive + other.positive) / 2, abs=1e-5)
        assert spent.prm_tokens + spent.prm_tokens_cached == cost


async def test_members_are_named_from_the_folder_or_from_here(tmp_path: Path) -> None:
    (tmp_path / "weak").symlink_to(WEAK)
    inner = ensemble(tmp_path / "inner", "../weak", PRM)
    assert find(inner).members == (f"{inner}/../weak", str(PRM))
    outer = tmp_path / "outer.yaml"
    outer.write_text(f"members: [inner, {PRM}]\naggregate: min\n")
    assert find(str(outer)).members == (inner, str(PRM))
    assert find(str(outer)).layout.aggregate == "min"
    async with load_scorer(str(outer), "hf") as scorer:
        assert len(await scorer.score(PROBLEM, steps(RIGHT))) == len(RIGHT)


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        ({"members": ["absent"]}, "absent is no reward model"),
        ({"members": [str(PRM)], "labels": ["negative", "positive"]}, "the ensemble process with labels neg"),
        ({"members": [str(PRM)], "kind": "outcome"}, "it is process with"),
        ({"members": ["."]}, "among its own members"),
    ],
)
def test_what_cannot_be_averaged_is_refused(layout: dict[str, object], reason: str, tmp_path: Path) -> None:
    (tmp_path / "prm.json").write_text(json.dumps(layout))
    with pytest.raises(UsageError, match=reason):
        find(str(tmp_path))


def test_one_scorer_holds_one_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is an ensemble"):
        HFScorer(ensemble(tmp_path, PRM, WEAK))


class Refusing(ManagedScorer):
    """Scores nothing, and remembers whether it was closed."""

    closed = False

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        raise ScorerError("lost")

    async def close(self) -> None:
        self.closed = True


async def test_an_error_of_one_is_an_error_of_all() -> None:
    async with Ensemble(find(str(PRM)).layout, [Refusing, lambda: HFScorer(str(PRM))]) as both:
        with pytest.raises(ScorerError, match="lost"):
            await both.score(PROBLEM, steps(RIGHT))


async def test_members_are_closed_and_so_are_those_before_one_that_does_not_load() -> None:
    first = Refusing()
    async with Ensemble(find(str(PRM)).layout, [lambda: first]):
        assert not first.closed
    assert first.closed
    before = [Refusing(), Refusing()]

    def failing() -> ManagedScorer:
        raise UsageError("no memory")

    with pytest.raises(UsageError, match="no memory"):
        async with Ensemble(find(str(PRM)).layout, [lambda: before[0], lambda: before[1], failing]):
            raise AssertionError("it was opened")
    assert all(member.closed for member in before)


async def test_an_ensemble_that_is_not_open_scores_nothing() -> None:
    ensemble = Ensemble(find(str(PRM)).layout, [Refusing])
    await ensemble.close()
    with pytest.raises(ScorerError, match="not open"):
        await ensemble.score(PROBLEM, steps(RIGHT))


def test_it_is_calibrated_as_one(tmp_path: Path) -> None:
    rows = [
        {"question": p.question, "steps": list(p.steps), "labels": [1] * (len(p.steps) - 1) + [label],
         "source": "x", "split": "validation", "produced_by": "x"}
        for p, label in zip(generate("validation", 5, 6), (1, 0, -1, 1, 0, -1), strict=True)
    ]  # fmt: skip
    data = tmp_path / "labels.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = ensemble(tmp_path / "both", PRM, WEAK)
    assert calibrate(["--prm", folder, "--data", str(data)]) == 0
    fitted = read_layout(folder)
    assert len(fitted.calibration.bias) == 3 and fitted.calibration.reject is not None
    assert fitted.members == (str(PRM), str(WEAK))
    raw = ensemble(tmp_path / "raw", PRM, WEAK)

    async def first_step(model: str) -> list[StepScore]:
        async with load_scorer(model, "hf") as scorer:
            return await scorer.score(PROBLEM, steps(RIGHT[:1]))

    assert asyncio.run(first_step(folder)) != asyncio.run(first_step(raw))


async def test_a_search_takes_it_and_its_trace_knows_the_members(tmp_path: Path) -> None:
    def resolved(*members: Path) -> ResolvedPRM:
        spec = PRMSpec(name=ensemble(tmp_path / "both", *members), engine="hf", dtype="float32")
        return resolve_prm(spec, Builtin(), None)

    both, alone = (resolved(*members).identity()["prm_weights"] for members in ((PRM, WEAK), (PRM,)))
    assert both != alone and both.startswith(alone)
    async with load_resolved(resolved(PRM, WEAK)) as scorer:
        assert len(await scorer.score(PROBLEM, steps(RIGHT))) == len(RIGHT)


def test_parts_of_a_machine() -> None:
    assert [list(DeviceShare(i, 2).cores(range(5))) for i in (0, 1)] == [[0, 1], [2, 3, 4]]
    assert [list(DeviceShare(i, 3).cores([7, 8])) for i in (0, 1, 2)] == [[7], [7], [8]]
    assert list(WHOLE.cores(range(3))) == [0, 1, 2]
    assert DeviceShare(1, 2).split(2) == (DeviceShare(2, 4), DeviceShare(3, 4))
    assert DeviceShare(1, 2).gpu_memory * 2 <= 0.9
