"""The driver of a run on a Ray cluster, with Ray replaced: whatever dies, the run is that of one machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report.summary import Graded, Summary
from bench.runner.cli.grid import main
from bench.runner.execute import RunWatch, execute
from bench.runner.grid import GridWatch, execute_grid
from bench.runner.models import Models
from bench.runner.ray import engine as engines_module
from bench.runner.ray.cluster import DEATHS, Engines
from bench.runner.ray.engine import Engine, Load, Place
from bench.runner.ray.placement import Resources, check_room, resources_of
from bench.runner.ray.spec import ClusterSpec
from bench.runner.request import Run
from search.errors import TraceError, UnavailableError, UsageError
from search.node import Node, TreeEvent
from search.types import Problem
from tests import ray_worlds
from tests.fake_ray import FakeRay
from tests.fakes import RandomWorld
from tests.grids import finish, grid_at
from tests.ray_worlds import STRATEGIES, a_run, load_world, outcomes, solved

N = 6


@pytest.fixture(scope="module", autouse=True)
def quick() -> Any:
    """Calls take no time, and reports are as short as they can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_worlds, "PAUSE_S", 0.0)
        patch.setattr(engines_module, "INTERVAL_S", 0.001)
        patch.setattr(Engine, "place", lambda self: Place("here", 0))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, list[bytes]]]:
    """The run of one machine: its outcomes and its traces."""
    run = a_run(tmp_path_factory.mktemp("one") / "run", n_problems=N)
    return outcomes(asyncio.run(solved(run))), recorded(run)


def recorded(run: Run) -> dict[str, list[bytes]]:
    """The lines of the run's traces. Siblings that are sampled side by side are recorded in any order."""
    return {name: sorted(run.trace_path(name).read_bytes().splitlines()) for name in STRATEGIES}


async def driven(
    run: Run, n_engines: int, ray: FakeRay, watch: RunWatch | None = None, load: Load = load_world
) -> list[Summary]:
    engines = Engines(ray, run, n_engines, load, Resources(1, 0, 0))
    await engines.start()
    try:
        return await execute(run, engines, watch or RunWatch())
    finally:
        await engines.close()


class Deadly(RunWatch):
    """Kills an engine whenever so many samples were drawn since the last death."""

    def __init__(self, ray: FakeRay, after: list[int]):
        self._ray, self._after = ray, after

    def event(self, problem: Problem, event: TreeEvent, node: Node) -> None:
        alive = [actor for actor in self._ray.actors if not actor.killed]
        if self._after and alive:  # events of one report may come after the last engine's death
            self._after[0] -= 1
            if self._after[0] <= 0:
                self._after.pop(0)
                alive[len(self._after) % len(alive)].killed = True


def with_deaths(n_engines: int) -> st.SearchStrategy[tuple[int, list[int]]]:
    """Not so many that the run gives up."""
    return st.tuples(st.just(n_engines), st.lists(st.integers(1, 60), max_size=DEATHS * n_engines - 1))


@settings(max_examples=8)
@given(st.integers(1, 3).flatmap(with_deaths))
def test_the_run_is_that_of_one_machine(
    whole: Any, tmp_path_factory: pytest.TempPathFactory, deadly: tuple[int, list[int]]
) -> None:
    n_engines, deaths = deadly
    run, ray = a_run(tmp_path_factory.mktemp("run") / "run", n_problems=N), FakeRay()
    done = asyncio.run(driven(run, n_engines, ray, Deadly(ray, deaths)))
    assert (outcomes(done), recorded(run)) == whole


@pytest.mark.parametrize("after", [1, 5, N + 3])
def test_a_driver_that_is_stopped_goes_on_with_other_engines(
    whole: Any, tmp_path: Path, after: int
) -> None:
    run = a_run(tmp_path / "run", n_problems=N)

    class Stop(RunWatch):
        left = after

        def graded(self, graded: Graded) -> None:
            self.left -= 1
            if self.left == 0:
                task.cancel()

    async def stopped() -> None:
        nonlocal task
        task = asyncio.create_task(driven(run, 2, FakeRay(), Stop()))
        await asyncio.gather(task, return_exceptions=True)

    task: Any = None
    asyncio.run(stopped())
    assert task.cancelled()
    trace = run.trace_path("hgs" if after <= N else "beam")
    trace.write_bytes(trace.read_bytes()[:-7])  # and in the middle of a line
    done = asyncio.run(driven(run, 3, FakeRay()))
    assert sum(summary.events.replayed for summary in done) > 0
    assert (outcomes(done), recorded(run)) == whole


def test_problems_are_pulled(tmp_path: Path) -> None:
    """An engine that is slow holds few; where there are few problems, all engines have some."""
    run, ray = a_run(tmp_path / "run", n_problems=4), FakeRay()
    run = replace(run, request=replace(run.request, concurrency=64))
    given_to: dict[int, int] = {}
    advance = Engine.advance

    async def counted(self: Engine, job: Any, given: Any) -> Any:
        given_to[id(self)] = given_to.get(id(self), 0) + len(given)
        return await advance(self, job, given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "advance", counted)
        asyncio.run(driven(run, 2, ray))
    assert sorted(given_to.values()) == [4, 4], "of two strategies"


def failing(error: Exception) -> Load:
    def load(run: Run) -> Any:
        raise error

    return load


async def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", n_problems=2)
    with pytest.raises(UsageError, match="not on this node"):
        await driven(run, 2, FakeRay(), load=failing(UsageError("--policy mine: not on this node")))
    assert not run.out.exists()


async def test_servers_that_are_lost_end_the_run_and_lose_nothing(whole: Any, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", n_problems=N)

    class Lost(RandomWorld):
        async def propose(self, *args: Any, **how: Any) -> Any:
            if self.calls > 40:
                raise UnavailableError("no server answers")
            return await super().propose(*args, **how)

    def load(run: Run) -> Any:
        from contextlib import nullcontext

        world = Lost()
        return nullcontext(Models(world, world))

    with pytest.raises(UnavailableError, match="no server answers"):
        await driven(run, 1, FakeRay(), load=load)
    done = await driven(run, 1, FakeRay())
    assert done[0].events.replayed > 0 and (outcomes(done), recorded(run)) == whole


async def test_engines_that_die_of_every_problem_end_the_run(tmp_path: Path) -> None:
    run, ray = a_run(tmp_path / "run", n_problems=2), FakeRay()

    async def die(self: Engine, job: Any, given: Any) -> Any:
        ray.actors[-1].killed = True

    with pytest.MonkeyPatch.context() as patch, pytest.raises(UnavailableError) as error:
        patch.setattr(Engine, "advance", die)
        await driven(run, 1, ray)
    assert f"engines died {DEATHS} times with no problem solved in between" in str(error.value)
    assert len(ray.actors) == DEATHS


async def test_a_node_with_other_models_is_refused(tmp_path: Path) -> None:
    run, start = a_run(tmp_path / "run", n_problems=2), Engine.start

    async def elsewhere(self: Engine, models: dict[str, Any]) -> Any:
        return await start(self, {**models, "policy_weights": "other"})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "start", elsewhere)
        with pytest.raises(UsageError, match=r"has other models: policy_weights was 'other', is "):
            await driven(run, 1, FakeRay())


async def test_a_trace_of_another_run_is_refused_and_so_is_a_damaged_one(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", n_problems=2)
    await driven(run, 1, FakeRay())
    other = replace(run, request=replace(run.request, seed=7))
    with pytest.raises(TraceError, match="seed was 0, is 7"):
        await driven(other, 1, FakeRay())
    trace = run.trace_path("hgs")
    trace.write_text(trace.read_text() + json.dumps({"event": "sample", "problem": "w/000"}) + "\n")
    with pytest.raises(TraceError, match="not an event of a trace"):
        await driven(run, 1, FakeRay())


# -- where engines fit -----------------------------------------------------------------------------


def node(cpus: float, gpus: float = 0.0, *, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("resources", "nodes", "room"),
    [
        (Resources(1, 0, 0), [node(2), node(3)], 5),
        (Resources(2, 0, 0), [node(3), node(3)], 2),
        (Resources(1, 1, 1), [node(64, 4), node(64, 3)], 3),
        (Resources(1, 0.6, 0), [node(64, 4)], 4),
        (Resources(1, 0.3, 0.2), [node(64, 4)], 8),
        (Resources(1, 1, 0), [node(64, 4), node(64, 4, alive=False)], 4),
        (Resources(1, 1, 0), [node(2, 4)], 2),
    ],
)
def test_as_many_engines_as_the_nodes_have_room_for(
    resources: Resources, nodes: list[Any], room: int
) -> None:
    """An engine is on one node, and a fraction of a card on one card."""
    check_room(resources, room, nodes)
    with pytest.raises(UsageError, match=rf"--engines {room + 1}: .* has room for {room} "):
        check_room(resources, room + 1, nodes)


def test_an_engine_has_a_card_where_there_are_cards(tmp_path: Path) -> None:
    run = a_run(tmp_path, n_problems=1)
    on_vllm = replace(run, policy=replace(run.policy, engine="vllm"))
    spec = ClusterSpec(address="auto")
    assert resources_of(spec, on_vllm, [node(8, 1)]) == Resources(1, 1, 0)
    assert resources_of(spec, on_vllm, [node(8)]) == Resources(1, 0, 0)
    assert resources_of(spec, run, [node(8, 1)]) == Resources(1, 0, 0)
    assert resources_of(replace(spec, policy_gpus=0.5), on_vllm, [node(8, 1)]) == Resources(1, 0.5, 0)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"engines": 0}, "--engines 0"),
        ({"cpus": -1.0}, "--cpus -1"),
        ({"policy_gpus": 0.0, "prm_gpus": 1.0}, "needs --policy-gpus"),
        ({"policy_gpus": 1.0, "prm_gpus": 0.5}, "give whole cards to both"),
        ({"policy_gpus": 0.7, "prm_gpus": 0.4}, "give whole cards to both"),
    ],
)
def test_what_cannot_be_placed_is_said(fields: dict[str, Any], fault: str) -> None:
    assert any(fault in each for each in ClusterSpec(address="auto", **fields).faults())


def test_what_can_be_placed_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[[str], object] = lambda name: object()  # noqa: E731
    monkeypatch.setattr("bench.runner.ray.spec.find_spec", find)
    for fields in ({}, {"policy_gpus": 2.0, "prm_gpus": 1.0}, {"policy_gpus": 0.7, "prm_gpus": 0.3}):
        assert ClusterSpec(address="auto", **fields).faults() == []


def test_a_grid_on_engines_is_that_of_one_machine(tmp_path: Path) -> None:
    """With the strategies' own parameters; what a budget pays for is measured on one machine."""
    one, many = (grid_at(tmp_path / name, budgets=[None], n_problems=N) for name in ("one", "many"))

    async def on_engines() -> None:
        engines = Engines(FakeRay(), many.base, 2, load_world, Resources(1, 0, 0))
        await engines.start()
        try:
            await execute_grid(many, engines, GridWatch())
        finally:
            await engines.close()

    finish(one, RandomWorld(pause_s=0.0))
    asyncio.run(on_engines())
    assert many.is_finished
    for alone, spread in zip(one.rows, many.rows, strict=True):
        for name in alone.run.strategies:
            answers = [
                {g.outcome.problem.id: (g.outcome.answer, g.outcome.cost.policy_tokens) for g in found.graded}
                for row in (alone, spread)
                if (found := row.recorded(name)) is not None
            ]
            assert len(answers) == 2 and answers[0] == answers[1]


def test_a_grid_with_a_budget_is_not_for_engines_elsewhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path / "grid"), "--engine", "hf", "--ray", "auto", "--engines", "2"]
    assert main([*words, "--budget", "default,4x"]) == 2
    assert "--ray goes with --budget default only" in capfd.readouterr().err
    assert main([*words, "--budget", "default", "--dry-run"]) == 2
    assert "leave --ray out" in capfd.readouterr().err
