"""A step-level, reward-guided decoding engine. This is its public API; models come from elsewhere."""

from search.engine import Outcome, solve, solve_all
from search.errors import (
    ContextError,
    PolicyError,
    ScorerError,
    SearchError,
    TraceError,
    UnavailableError,
    UsageError,
)
from search.limits import Cost, CostLimits, Events, LengthLimits, LimitReached, charge
from search.node import Node, TreeEvent
from search.strategies import STRATEGIES
from search.trace import Trace
from search.tree import Strategy, Tree, Unguided
from search.types import (
    Answers,
    Label,
    Policy,
    Problem,
    Step,
    StepScore,
    StepScorer,
    Stop,
    Until,
)

__all__ = [
    "STRATEGIES",
    "Answers",
    "ContextError",
    "Cost",
    "CostLimits",
    "Events",
    "Label",
    "LengthLimits",
    "LimitReached",
    "Node",
    "Outcome",
    "Policy",
    "PolicyError",
    "Problem",
    "ScorerError",
    "SearchError",
    "Step",
    "StepScore",
    "StepScorer",
    "Stop",
    "Strategy",
    "Trace",
    "TraceError",
    "Tree",
    "TreeEvent",
    "UnavailableError",
    "Unguided",
    "Until",
    "UsageError",
    "charge",
    "solve",
    "solve_all",
]
