"""Engines on a Ray cluster: what they solve is what one machine solves, whoever dies on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench.report.recorded import read_trace
from bench.report.summary import Graded
from bench.runner.execute import RunWatch, execute, replay
from bench.runner.merging import merge
from bench.runner.models import Models
from bench.runner.ray.spec import ClusterSpec
from bench.runner.request import Run
from search.errors import UnavailableError, UsageError
from tests.commands import ROOT, environment
from tests.conftest import Checkpoints
from tests.ray_worlds import STRATEGIES, a_run, load_world, outcomes, solved
from tests.resumed import lines

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Nodes:
    """A cluster's head and another node, each with room for one engine."""

    cluster: Any
    other: Any

    def spec(self, engines: int = 2) -> ClusterSpec:
        return ClusterSpec(address=self.cluster.address, engines=engines)

    def kill_other(self) -> None:
        """As if the machine had lost its power; another takes its place."""
        self.cluster.remove_node(self.other, allow_graceful=False)
        self.other = self.cluster.add_node(num_cpus=1)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    from ray.cluster_utils import Cluster

    quickly = {
        "health_check_initial_delay_ms": 0, "health_check_period_ms": 1000,
        "health_check_failure_threshold": 5,
    }  # fmt: skip
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": quickly}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        other = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield Nodes(cluster, other)
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[tuple[str, str], Any]]:
    """The run of one machine, uninterrupted."""
    run = a_run(tmp_path_factory.mktemp("one") / "run")
    return run, outcomes(asyncio.run(solved(run)))


def recorded(run: Run, folder: Path) -> dict[str, list[bytes]]:
    """The lines of a run's traces, which are put in order on the way."""
    folder.mkdir()
    ids = [example.problem.id for example in run.examples]
    merged = [
        merge([run.trace_path(name)], ids, folder / f"{name}.jsonl", lambda done: None) for name in STRATEGIES
    ]
    return {each.strategy: sorted(each.path.read_bytes().splitlines()) for each in merged}


class Killing(RunWatch):
    """Does something once, when so many problems are solved."""

    def __init__(self, after: int, kill: Callable[[], None]):
        self._left, self._kill = after, kill

    def graded(self, graded: Graded) -> None:
        self._left -= 1
        if self._left == 0:
            self._kill()


def pids(engines: Any) -> list[int]:
    return [ray.get(slot.place).pid for slot in engines._slots if slot.actor is not None]


async def test_two_engines_record_what_one_machine_records(nodes: Nodes, whole: Any, tmp_path: Path) -> None:
    """And the trace that is put together is replayed as any other."""
    one, expected = whole
    run = a_run(tmp_path / "two", cluster=nodes.spec())
    assert outcomes(await solved(run)) == expected
    assert recorded(run, tmp_path / "a") == recorded(one, tmp_path / "b")
    again = await replay(replace(run, request=replace(run.request, resume=True)))
    assert again is not None and outcomes(again) == expected


async def test_an_engine_is_killed_and_its_problems_go_on(nodes: Nodes, whole: Any, tmp_path: Path) -> None:
    from bench.runner.ray.cluster import load_engines

    run = a_run(tmp_path / "run", cluster=nodes.spec())
    async with load_engines(run, load_world) as engines:
        before = pids(engines)
        kill = Killing(5, lambda: os.kill(before[0], signal.SIGKILL))
        assert outcomes(await execute(run, engines, kill)) == whole[1]
        assert before[0] not in pids(engines), "another one was started"
    assert recorded(run, tmp_path / "a") == recorded(whole[0], tmp_path / "b")


async def test_a_node_is_killed_and_its_problems_go_on(nodes: Nodes, whole: Any, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", cluster=nodes.spec())
    assert outcomes(await solved(run, Killing(5, nodes.kill_other))) == whole[1]
    assert recorded(run, tmp_path / "a") == recorded(whole[0], tmp_path / "b")


async def test_the_driver_is_killed_and_the_same_command_ends_the_run(
    nodes: Nodes, whole: Any, tmp_path: Path
) -> None:
    run = a_run(tmp_path / "run", cluster=nodes.spec())
    trace = run.trace_path("hgs")
    victim = subprocess.Popen(
        [sys.executable, "-m", "tests.ray_worlds", nodes.cluster.address, str(run.out)], cwd=ROOT,
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while victim.poll() is None and lines(trace) < 60:
        time.sleep(0.01)
    victim.kill()
    victim.wait()
    assert read_trace(trace).trees, "it was killed in the middle"
    summaries = await solved(run)
    assert outcomes(summaries) == whole[1]
    assert sum(summary.events.replayed for summary in summaries) > 0
    assert recorded(run, tmp_path / "a") == recorded(whole[0], tmp_path / "b")


# -- what cannot work ------------------------------------------------------------------------------


async def test_more_engines_than_there_is_room_for_are_refused(nodes: Nodes, tmp_path: Path) -> None:
    """Ray itself would wait for ever."""
    run = a_run(tmp_path / "run", cluster=nodes.spec(engines=3))
    with pytest.raises(UsageError, match=r"--engines 3: an engine takes 1 CPU and 0 GPUs.* has room for 2"):
        await solved(run)
    card = replace(nodes.spec(engines=1), policy_gpus=0.5)
    with pytest.raises(UsageError, match=r"an engine takes 1 CPU and 0.5 GPUs.* has room for 0"):
        await solved(a_run(tmp_path / "run", cluster=card))
    assert not run.out.exists()


@asynccontextmanager
async def load_nothing(run: Run) -> AsyncIterator[Models]:
    raise UsageError("--policy mine: it is not on this node")
    yield


@asynccontextmanager
async def load_deadly(run: Run) -> AsyncIterator[Models]:
    class Deadly:
        async def propose(self, *args: Any, **how: Any) -> Any:
            os.kill(os.getpid(), signal.SIGKILL)

    async with load_world(run) as world:
        yield Models(Deadly(), world.scorer)


async def test_a_model_that_is_not_on_the_node_is_named(nodes: Nodes, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", cluster=nodes.spec(engines=1))
    with pytest.raises(UsageError, match="it is not on this node"):
        await solved(run, load=load_nothing)


async def test_engines_that_die_of_every_problem_end_the_run(nodes: Nodes, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", n_problems=2, cluster=nodes.spec(engines=1))
    with pytest.raises(UnavailableError, match="engines died 3 times with no problem solved in between"):
        await solved(run, load=load_deadly)


def test_the_command_line(
    nodes: Nodes, checkpoints: Checkpoints, models: list[str], here: Path, capfd: Any
) -> None:
    from bench.runner.cli.run import main

    words = [*models, "--limit", "2", "--no-baseline", "--dtype", "float32", "--set", "max_samples=6"]
    assert main([*words, "--out", "one"]) == 0
    assert main([*words, "--out", "two", "--ray", nodes.cluster.address, "--engines", "1"]) == 0
    assert "1 of 1 engines started, on 1 node" in capfd.readouterr().err
    answers = [{t.problem: t.answer for t in read_trace(here / f"{name}/hgs.jsonl").trees.values()}
               for name in ("one", "two")]  # fmt: skip
    assert answers[0] == answers[1]
