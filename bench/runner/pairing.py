"""Whether a reward model was made for the policy whose steps it scores, and for the task."""

from __future__ import annotations

from collections.abc import Iterator

from bench.runner.resolve import ResolvedPolicy, ResolvedPRM
from bench.tasks.base import Task
from prm.reading.bundled import task_of
from prm.reading.zoo import find

_KNOWN_PROBLEMS = {"builtin": "generated arithmetic stories", "builtin-code": "generated programs"}
"""What the bundled models were trained on, by their task."""


def mismatches(policy: ResolvedPolicy, prm: ResolvedPRM, task: Task) -> tuple[str, ...]:
    """A warning of one line if the reward model was not made for the policy or for the task; else nothing.

    What a reward model was made for is known of the bundled models, and of those whose layout has a domain.
    """
    if prm.model is None:
        return ()
    fault = next(filter(None, (_fault(model, policy, task) for model in _models(prm.model))), None)
    return () if fault is None else (f"reward model {prm.model_name}: {fault}",)


def _models(name: str) -> Iterator[str]:
    """The reward model itself, or the members of an ensemble."""
    members = find(name).members
    if not members:
        yield name
    for member in members:
        yield from _models(member)


def _fault(model: str, policy: ResolvedPolicy, task: Task) -> str | None:
    entry = find(model)
    made_for = task_of(entry.model)
    if made_for is not None:
        known = _KNOWN_PROBLEMS[made_for]
        if made_for != task.name:
            return f"it was trained on {known} only, its scores mean nothing on the task {task.name}"
        if made_for not in (task_of(policy.path), task_of(policy.tokenizer or "")):
            return (
                f"it was trained on the built-in policy's steps, its scores may mean little for steps of "
                f"{policy.name}"
            )
        return None
    programs = task.public_tests is not None
    if entry.layout.domain == "code" and not programs:
        return f"it was trained on programs, and the task {task.name} asks for solutions in words"
    if entry.layout.domain == "math" and programs:
        return f"it was trained on mathematics, and the task {task.name} asks for programs"
    return None
