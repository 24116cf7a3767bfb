"""Whether a reward model was made for the policy whose steps it scores, and for the task."""

from __future__ import annotations

from collections.abc import Iterator

from bench.runner.resolve import ResolvedPolicy, ResolvedPRM
from bench.tasks.base import Task
from prm.reading.bundled import task_of
from prm.reading.layout import Domain
from prm.reading.zoo import find

_KNOWN_PROBLEMS = {"builtin": "generated arithmetic stories", "builtin-code": "generated programs"}
"""What the bundled models were trained on, by their task."""


def mismatches(policy: ResolvedPolicy, prm: ResolvedPRM, task: Task) -> tuple[str, ...]:
    """A warning of one line if the reward model was not made for the policy or for the task; else nothing.

    What a reward model was made for is known of the bundled models, and of those whose layout has a domain.
    """
    made = [] if prm.model is None else [_made(model) for model in _models(prm.model)]
    if prm.served is not None:
        made = [(prm.served.made_for, prm.served.layout.domain)]
    fault = next(filter(None, (_fault(*one, policy, task) for one in made)), None)
    return () if fault is None else (f"reward model {prm.model_name}: {fault}",)


def _models(name: str) -> Iterator[str]:
    """The reward model itself, or the members of an ensemble."""
    members = find(name).members
    if not members:
        yield name
    for member in members:
        yield from _models(member)


def _made(model: str) -> tuple[str | None, Domain]:
    """The task that a bundled model was made for, and the domain of the layout."""
    entry = find(model)
    return task_of(entry.model), entry.layout.domain


def _fault(made_for: str | None, domain: Domain, policy: ResolvedPolicy, task: Task) -> str | None:
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
    if domain == "code" and not programs:
        return f"it was trained on programs, and the task {task.name} asks for solutions in words"
    if domain == "math" and programs:
        return f"it was trained on mathematics, and the task {task.name} asks for programs"
    return None
