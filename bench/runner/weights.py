"""What a reward-model token costs beside a policy token."""

from __future__ import annotations

from bench.runner.resolve import ResolvedPolicy, ResolvedPRM
from prm.reading.parameters import count_parameters, reward_model_parameters
from search.errors import UsageError


def prm_weight(policy: ResolvedPolicy, prm: ResolvedPRM | None) -> float:
    """What a reward-model token costs, in policy tokens: parameters over parameters. Raises UsageError.

    0 without a reward model, and for one that only runs tests. An ensemble has the parameters of all members.
    """
    if prm is None or not prm.has_model:
        return 0.0
    if prm.model is not None:
        parameters: int | None = reward_model_parameters(prm.model)
    else:
        assert prm.served is not None
        parameters = prm.served.parameters
    if parameters is None:
        raise UsageError(f"--budget: the server does not say how many parameters {prm.model_name} has")
    return parameters / count_parameters(policy.path)
