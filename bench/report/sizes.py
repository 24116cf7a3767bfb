"""The sizes of a recorded run's models, where their checkpoints are on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prm.reading.bundled import bundled_prm
from prm.reading.local import is_adapter, local_policy, merged_folder
from prm.reading.parameters import count_parameters, reward_model_parameters
from search.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Parameters of the models; None where it is not known, or where there is no model."""

    policy: int | None = None
    prm: int | None = None


def sizes_of(policy: str | None, prm: str | None) -> Sizes:
    """The parameters of a policy and a reward model, given by their names.

    Reads the headers of weights that are here, not the weights, and asks no hub for them.
    """
    return Sizes(
        policy=None if policy is None else _known(lambda: _policy(policy)),
        prm=None if prm is None else _known(lambda: _reward_model(prm)),
    )


def _known(count: Callable[[], int]) -> int | None:
    try:
        return count()
    except UsageError:  # it is not here, or on a server: the size is not known
        return None


def _policy(name: str) -> int:
    return _count(local_policy(name, fetch=False) or name)


def _reward_model(name: str) -> int:
    if is_adapter(name) and merged_folder(name, merge=False) is None:
        raise UsageError(f"{name} is an adapter that is not merged on this machine")
    return reward_model_parameters(bundled_prm(name) or name, _count)


def _count(path: str) -> int:
    """Of a folder, or of a hub id in the hub's cache. Raises UsageError."""
    if is_adapter(path):
        raise UsageError(f"{path} is an adapter that is not merged on this machine")
    if Path(path).expanduser().is_dir():
        return count_parameters(path)
    from huggingface_hub import snapshot_download

    try:
        return count_parameters(snapshot_download(path, local_files_only=True))
    except Exception as error:  # not in the cache, or no such name: the client has a class for each
        raise UsageError(f"{path} is not on this machine") from error
