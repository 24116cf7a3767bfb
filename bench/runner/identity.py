"""The identity of a run as its trace may hold it, if an earlier version recorded it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.runner.resolve import ResolvedPolicy, ResolvedPRM

_OLD = re.compile(r"[0-9a-f]{16}( [0-9a-f]{16})*")
"""A fingerprint of version 0.1.0, or several; it had none of models on the hub. Those of today have 32
digits."""


def as_recorded(
    path: Path, identity: Mapping[str, Any], policy: ResolvedPolicy, prm: ResolvedPRM | None
) -> dict[str, Any]:
    """`identity`, as far as the trace at `path` has it, so that it can be resumed as it could be before.

    Version 0.1.0 identified weights otherwise, and traces did not say how the values of steps make one.
    """
    recorded = _recorded(path)
    old = dict(identity)
    if recorded and "aggregate" not in recorded:
        old.pop("aggregate", None)
    if "policy_weights" in recorded and _is_old(recorded["policy_weights"]):
        old["policy_weights"] = policy.old_weights
    if "prm_weights" in recorded and _is_old(recorded["prm_weights"]):
        old["prm_weights"] = None if prm is None else prm.old_weights
    return old


def _is_old(weights: object) -> bool:
    return weights is None or (isinstance(weights, str) and _OLD.fullmatch(weights) is not None)


def _recorded(path: Path) -> Mapping[str, Any]:
    """The configuration in the first line of a trace; empty if there is none."""
    try:
        with path.open("rb") as trace:
            config = json.loads(trace.readline())["config"]
    except (OSError, ValueError, KeyError, TypeError):  # no trace: `Trace` says what is wrong with it
        return {}
    return config if isinstance(config, dict) else {}
