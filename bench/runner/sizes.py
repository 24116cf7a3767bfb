"""The sizes of a recorded run's models, where their checkpoints can be read."""

from __future__ import annotations

from collections.abc import Callable

from bench.report.diagnosis import Sizes
from bench.runner.weights import count_parameters, reward_model_parameters
from prm.pretrained.names import local_policy
from prm.reading.bundled import bundled_prm
from search.errors import UsageError


def sizes_of(policy: str | None, prm: str | None) -> Sizes:
    """The parameters of a policy and a reward model, given by their names. Reads headers, no weights."""
    return Sizes(
        policy=None if policy is None else _known(policy, _here, count_parameters),
        prm=None if prm is None else _known(prm, bundled_prm, reward_model_parameters),
    )


def _here(policy: str) -> str | None:
    return local_policy(policy, fetch=False)


def _known(name: str, bundled: Callable[[str], str | None], count: Callable[[str], int]) -> int | None:
    try:
        return count(bundled(name) or name)
    except UsageError:  # it is not there any more, or on a server: the size is not known
        return None
