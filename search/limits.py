"""What a problem has cost, and the limits it is held to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, fields
from math import ceil


@dataclass(slots=True)
class Cost:
    """What one problem, or one run, has cost so far. Adds up with `+`."""

    samples: int = 0
    """Policy calls made by the strategy; one gives one step or one whole solution."""
    policy_tokens: int = 0
    """Tokens sampled by the policy, discarded ones included, prompts excluded."""
    policy_tokens_discarded: int = 0
    """Of `policy_tokens`, those that are not part of the chosen solution."""
    prompt_tokens: int = 0
    """Policy prompt tokens computed."""
    prompt_tokens_cached: int = 0
    """Policy prompt tokens read from a prefix cache."""
    scores: int = 0
    """Steps scored by the reward model; a duplicate shares its original's score and is not counted."""
    prm_tokens: int = 0
    """Reward-model tokens computed."""
    prm_tokens_cached: int = 0
    """Reward-model tokens read from a cache."""
    total_tokens: int = 0
    """`policy_tokens`, plus the tokens of the steps scored, times a weight; 0 where no weight is given.

    It depends on neither caches nor timing: a step that was scored counts once, and prompts do not count.
    """

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)))

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(Cost)))


@dataclass(slots=True)
class Events:
    """What happened while one problem, or one run, was searched; nothing here costs anything. Adds up."""

    duplicates: int = 0
    """Samples identical to an earlier one from the same node."""
    backtracks: int = 0
    """Times the strategy gave a node up and went back."""
    exhausted: int = 0
    """Limits reached: those of the problem, and those of `Tree.limit`."""
    repetitions: int = 0
    """Samples that were cut because they repeat themselves."""
    failed: int = 0
    """Candidates that were lost because sampling or scoring them failed."""
    replayed: int = 0
    """Calls served from a trace; their cost is counted as if they had been made."""
    late: int = 0
    """Problems whose search was ended by the deadline."""

    def __add__(self, other: Events) -> Events:
        return Events(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Events)))


class LimitReached(Exception):
    """A call would exceed a limit. Raised before anything is spent."""

    def __init__(self, scope: Scope, name: str, need: int, bound: int):
        super().__init__(f"{name} limit reached: the call needs {need}, the limit is {bound}")
        self.scope = scope


@dataclass(frozen=True, slots=True)
class CostLimits:
    """Upper bounds on the `Cost` of one problem, or of a part of it; never exceeded. None is unbounded.

    samples, policy_tokens, scores, prm_tokens, total_tokens: as in `Cost`. A call that does not fit is not
    made. A call's tokens are cut to what is left. `prm_tokens` needs a scorer that can say beforehand how
    many tokens a call may compute (`BoundedScorer`), `total_tokens` a weight (`search.solve`).
    """

    samples: int | None = None
    policy_tokens: int | None = None
    scores: int | None = None
    prm_tokens: int | None = None
    total_tokens: int | None = None

    def __post_init__(self) -> None:
        for name, bound in asdict(self).items():
            if bound is not None and bound < 0:
                raise ValueError(f"limit {name}={bound}: it must be 0 or more")


@dataclass(slots=True, eq=False)
class Scope:
    """Limits in force: what was spent since they were set, and what calls in flight may still spend.

    reached: whether a call was cut, or not made, because of these limits.
    """

    limits: CostLimits
    spent: Cost = field(default_factory=Cost)
    promised: Cost = field(default_factory=Cost)
    reached: bool = False

    def left(self, name: str) -> int | None:
        """How much of `name` is neither spent nor promised; None if unbounded."""
        bound: int | None = getattr(self.limits, name)
        if bound is None:
            return None
        used: int = getattr(self.spent, name) + getattr(self.promised, name)
        return bound - used

    def refusal(self, name: str, need: int) -> LimitReached:
        """The error for a call that needs so much more of `name` than is left."""
        bound: int = getattr(self.limits, name)
        used: int = getattr(self.spent, name) + getattr(self.promised, name)
        return LimitReached(self, name, used + need, bound)


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """How long texts may get, in policy tokens. A longer solution is cut (`Stop.LENGTH`)."""

    step_tokens: int = 256
    solution_tokens: int = 1024

    def __post_init__(self) -> None:
        for name, tokens in asdict(self).items():
            if tokens < 1:
                raise ValueError(f"{name}={tokens}: it must be at least 1")


def weighted(weight: float | None, n_tokens: int) -> int:
    """What scoring a step of so many tokens adds to `Cost.total_tokens`, rounded up."""
    return 0 if weight is None else ceil(weight * n_tokens)


_METER: ContextVar[Cost | None] = ContextVar("meter", default=None)


@contextmanager
def metered(spent: Cost | None = None) -> Iterator[Cost]:
    """Collect what the block, and the tasks it starts, `charge`; added to `spent`, if given."""
    spent = Cost() if spent is None else spent
    token = _METER.set(spent)
    try:
        yield spent
    finally:
        _METER.reset(token)


def charge(**amounts: int) -> None:
    """Add to the cost of the current call. Called by policies and scorers, where a cost arises.

    A policy charges every token it samples, kept or not: `charge(policy_tokens=12, prompt_tokens=120)`.
    Outside of a call of the engine this does nothing.
    """
    if (meter := _METER.get()) is not None:
        for name, amount in amounts.items():
            setattr(meter, name, getattr(meter, name) + amount)
