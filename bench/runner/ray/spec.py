"""Which engines a run has on a Ray cluster, and what of the machines each of them gets."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

LOCAL = "local"
"""As an address: Ray is started on this machine, for this run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """Engines on a Ray cluster; each is a policy with its reward model, in one actor on one node.

    address: as `ray.init` takes it: "auto", HOST:PORT, or `LOCAL`.
    policy_gpus: whole cards, or a fraction of one, for each engine. None is one card where the cluster has
        cards and vLLM is the engine, else none. prm_gpus: cards for the reward model alone; 0 lets it share
        those of the policy. Fractions of both are of the same card.
    cpus: that Ray reserves for each engine.
    """

    address: str
    engines: int = 1
    policy_gpus: float | None = None
    prm_gpus: float = 0
    cpus: float = 1

    def faults(self) -> list[str]:
        """What is wrong with it, one message each."""
        found = []
        if find_spec("ray") is None:
            found.append("--ray: Ray is not installed here: install prm-search[ray]")
        if self.engines < 1:
            found.append(f"--engines {self.engines}: it must be at least 1")
        policy = 1.0 if self.policy_gpus is None else self.policy_gpus
        for option, amount in (("policy-gpus", policy), ("prm-gpus", self.prm_gpus), ("cpus", self.cpus)):
            if amount < 0:
                found.append(f"--{option} {amount:g}: it must be 0 or more")
        if self.prm_gpus and not policy:
            found.append(f"--prm-gpus {self.prm_gpus:g} needs --policy-gpus")
        whole = policy % 1 == 0 and self.prm_gpus % 1 == 0
        if not whole and policy + self.prm_gpus > 1:
            found.append(
                f"--policy-gpus {policy:g} --prm-gpus {self.prm_gpus:g}: give whole cards to both, or "
                "fractions that one card has room for"
            )
        return found
