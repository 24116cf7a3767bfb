"""What of a node an engine gets: whether the cluster has it, and how policy and reward model divide it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.runner.checkpoints import quiet_transformers
from bench.runner.models import Models, load, load_policy, load_scorer
from bench.runner.ray.engine import Load
from bench.runner.ray.spec import ClusterSpec
from bench.runner.request import Run
from search.devices import WHOLE, DeviceShare
from search.errors import UsageError

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Ray sets it in an actor's process to the actor's cards."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What Ray reserves for one engine. policy_gpus, prm_gpus: as in `ClusterSpec`."""

    cpus: float
    policy_gpus: float
    prm_gpus: float

    @property
    def gpus(self) -> float:
        return self.policy_gpus + self.prm_gpus

    @property
    def as_options(self) -> dict[str, float]:
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}

    def __str__(self) -> str:
        return _amounts(self.cpus, self.gpus)

    def room(self, cpus: float, gpus: float) -> int:
        """How many engines a node with so many CPUs and cards holds. A fraction is of one card."""
        by_cpus = int(cpus / self.cpus) if self.cpus else None
        by_gpus = None
        if self.gpus:
            by_gpus = int(gpus / self.gpus) if self.gpus >= 1 else int(gpus) * int(1 / self.gpus)
        limits = [limit for limit in (by_cpus, by_gpus) if limit is not None]
        return min(limits, default=1)


def resources_of(spec: ClusterSpec, run: Run, nodes: Sequence[Mapping[str, Any]]) -> Resources:
    """The resources of one engine on a cluster. nodes: as `ray.nodes` describes them."""
    policy_gpus = spec.policy_gpus
    if policy_gpus is None:
        has_cards = any(gpus for _, gpus in _alive(nodes))
        policy_gpus = 1.0 if has_cards and run.policy.engine == "vllm" else 0.0
    return Resources(spec.cpus, policy_gpus, spec.prm_gpus)


def check_room(resources: Resources, engines: int, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Raise UsageError if the nodes have no room for so many engines: Ray would wait for ever."""
    alive = _alive(nodes)
    room = sum(resources.room(cpus, gpus) for cpus, gpus in alive)
    if room < engines:
        there = "; ".join(_amounts(cpus, gpus) for cpus, gpus in alive)
        raise UsageError(
            f"--engines {engines}: an engine takes {resources}, and the cluster has room for {room} (its "
            f"nodes have {there}); change --engines, --cpus, --policy-gpus or --prm-gpus"
        )


def _alive(nodes: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    return [(each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in resources]


def _amounts(cpus: float, gpus: float) -> str:
    parts = [(cpus, "CPU"), (gpus, "GPU")]
    return " and ".join(f"{amount:g} {name}{'' if amount == 1 else 's'}" for amount, name in parts)


def load_placed(resources: Resources) -> Load:
    """Loads the models of a run on an engine's cards."""
    return partial(_load, resources)


@asynccontextmanager
async def _load(resources: Resources, run: Run) -> AsyncIterator[Models]:
    concurrency, tests = run.request.concurrency, run.task.public_tests
    policy_gpus, prm_gpus = resources.policy_gpus, resources.prm_gpus
    if not prm_gpus:
        share = WHOLE if policy_gpus % 1 == 0 else DeviceShare(part=policy_gpus)
        async with load(run.policy, run.prm, tests, concurrency=concurrency, share=share) as models:
            yield models
        return
    quiet_transformers()
    apart = policy_gpus % 1 == 0
    cards = os.environ.get(VISIBLE, "").split(",")
    first, second = (cards[: int(policy_gpus)], cards[int(policy_gpus) :]) if apart else (cards, cards)
    shares = (WHOLE, WHOLE) if apart else (DeviceShare(part=policy_gpus), DeviceShare(part=prm_gpus))
    async with AsyncExitStack() as stack:
        with _visible(first):
            policy = await stack.enter_async_context(
                load_policy(run.policy, shares[0], concurrency=concurrency)
            )
        with _visible(second):
            scorer = await stack.enter_async_context(load_scorer(run.prm, tests, shares[1]))
        yield Models(policy, scorer)


@contextmanager
def _visible(cards: Sequence[str]) -> Iterator[None]:
    """For the processes that are started in the block: vLLM's engines inherit it."""
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = ",".join(cards)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before
