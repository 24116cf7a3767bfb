"""A step-level, reward-guided decoding engine. This is its public API; models come from elsewhere."""

from search.engine import Outcome, solve, solve_all
from search.errors import (
    ContextError,
    PolicyError,
    ScorerError,
    SearchError,
    TraceError,
    UsageError,
)
from search.limits import LimitReached, Limits, Usage, charge
from search.strategies import STRATEGIES
from search.trace import Trace
from search.tree import Budget, Node, Tree
from search.types import (
    Answers,
    Judgement,
    Label,
    Policy,
    Problem,
    Step,
    StepScorer,
    Stop,
    Strategy,
    Until,
)

__all__ = [
    "STRATEGIES",
    "Answers",
    "Budget",
    "ContextError",
    "Judgement",
    "Label",
    "LimitReached",
    "Limits",
    "Node",
    "Outcome",
    "Policy",
    "PolicyError",
    "Problem",
    "ScorerError",
    "SearchError",
    "Step",
    "StepScorer",
    "Stop",
    "Strategy",
    "Trace",
    "TraceError",
    "Tree",
    "Until",
    "Usage",
    "UsageError",
    "charge",
    "solve",
    "solve_all",
]
