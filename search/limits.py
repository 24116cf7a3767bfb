"""What a problem has cost, and the limits it is held to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields


@dataclass(slots=True)
class Usage:
    """What one problem, or one run, has cost so far. Adds up with `+`."""

    samples: int = 0
    """Policy calls asked for by the strategy; one gives one step or one whole solution."""
    policy_tokens: int = 0
    """Tokens sampled, prompts not counted, those thrown away included."""
    policy_tokens_discarded: int = 0
    """Of `policy_tokens`, those that are not part of the chosen solution."""
    prompt_tokens: int = 0
    """Policy prompt tokens computed."""
    prompt_tokens_cached: int = 0
    """Policy prompt tokens read from a prefix cache."""
    judgements: int = 0
    """Steps judged by the reward model; a duplicate takes its twin's judgement and is not counted."""
    prm_tokens: int = 0
    """Reward-model tokens computed."""
    prm_tokens_cached: int = 0
    """Reward-model tokens read from a cache."""
    duplicates: int = 0
    """Samples that say the same as an earlier one from the same node."""
    backtracks: int = 0
    """Times the strategy gave a node up and went back."""
    exhausted: int = 0
    """Limits of `Tree.limit` reached."""
    replayed: int = 0
    """Calls served from a trace; they are counted above as if they had been made."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Usage)))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(Usage)))


class LimitReached(Exception):
    """A call would exceed a limit. Raised before anything is spent."""

    def __init__(self, limits: Limits, name: str, need: int, bound: int):
        super().__init__(f"{name} limit reached: the call needs {need}, the bound is {bound}")
        self.limits = limits


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """Upper bounds on the `Usage` of one problem. None is unbounded; none is ever overshot.

    samples, policy_tokens, judgements: as in `Usage`. A call that would take more samples or
    judgements is not made; a call's tokens are cut to what is left of `policy_tokens`.
    """

    samples: int | None = None
    policy_tokens: int | None = None
    judgements: int | None = None

    def __post_init__(self) -> None:
        for name, bound in asdict(self).items():
            if bound is not None and bound < 0:
                raise ValueError(f"limit {name}={bound}: it must be 0 or more")

    def check(self, usage: Usage, **need: int) -> None:
        """Raise LimitReached if `need` more does not fit."""
        for name, amount in need.items():
            bound = getattr(self, name)
            if bound is not None and getattr(usage, name) + amount > bound:
                raise LimitReached(self, name, getattr(usage, name) + amount, bound)


_METER: ContextVar[Usage | None] = ContextVar("meter", default=None)


@contextmanager
def metered() -> Iterator[Usage]:
    """Collect what the block, and the tasks it starts, `charge`."""
    spent = Usage()
    token = _METER.set(spent)
    try:
        yield spent
    finally:
        _METER.reset(token)


def charge(**amounts: int) -> None:
    """Called by policies and scorers where a cost arises, e.g. `charge(prompt_tokens=120)`."""
    if (meter := _METER.get()) is not None:
        for name, amount in amounts.items():
            setattr(meter, name, getattr(meter, name) + amount)
