"""Equal cost: every strategy gets the same budget for each problem, and is scaled to what it pays for."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from bench.tasks.oracle import guided_name
from search.errors import UsageError
from search.limits import LimitReached
from search.node import Node
from search.params import params, with_params
from search.tree import StepGuided, Strategy, Tree, aggregate_of
from search.values import Aggregate, Choice

FILE = "budget.json"
"""In the folder of a run: its `Plan`."""
LEAST_TOKENS = 8
"""Fewer tokens than a sample costs: what the budget pays for of this price, no strategy needs more of."""
MOST_TRIES = 1024
"""How far a parameter is raised where the budget is in seconds, or where raising it costs nothing more."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a strategy may spend on one problem; exactly one of the three.

    times: of the mean cost of greedy decoding on the same problems. tokens: sampled tokens, plus those of
    scored steps times the reward model's parameters per parameter of the policy (`Cost.total_tokens`).
    seconds: of wall-clock time. Raises UsageError.
    """

    times: float | None = None
    tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = [amount for amount in (self.times, self.tokens, self.seconds) if amount is not None]
        if len(given) != 1:
            raise UsageError("a budget is one of: times greedy's cost, tokens, seconds")
        if not 0 < given[0] < math.inf:
            raise UsageError(f"--budget {self.text}: it must be above 0")
        if self.times is not None and self.times < 1:
            raise UsageError(f"--budget {self.text}: less than greedy decoding costs")

    @property
    def text(self) -> str:
        """As on the command line."""
        if self.times is not None:
            return f"{self.times:g}x"
        return f"tokens={self.tokens}" if self.seconds is None else f"seconds={self.seconds:g}"


def parse_budget(text: str) -> Budget:
    """A budget such as 8x, tokens=2000 or seconds=1.5. Raises UsageError."""
    unit, equals, amount = text.partition("=")
    try:
        if not equals and text.endswith("x"):
            return Budget(times=float(text[:-1]))
        if unit == "tokens":
            return Budget(tokens=int(amount))
        if unit == "seconds":
            return Budget(seconds=float(amount))
    except ValueError:
        pass
    raise UsageError(f"--budget takes 8x, tokens=N or seconds=S, not {text!r}")


@dataclass(frozen=True, slots=True)
class Scale:
    """How the cost of a strategy grows: by which parameters, which get the same value.

    open: it can stop at any time, so the value is set higher than needed, and the budget ends the search.
    pool: a choice among independent solutions, sampled and scored one after the other while the budget lasts.
    fitted: it has an answer only at its end, so the value is the largest whose mean cost fits the budget.
    divisor: a parameter that the value must be a multiple of.
    """

    parameters: tuple[str, ...]
    how: Literal["open", "pool", "fitted"]
    divisor: str | None = None


SCALES: Mapping[str, Scale] = MappingProxyType({
    "hgs": Scale(("max_samples",), "open"),
    "self_consistency": Scale(("n",), "open"),
    "adaptive_vote": Scale(("n",), "open"),
    "best_of_n": Scale(("n",), "pool"),
    "weighted_vote": Scale(("n",), "pool"),
    "beam": Scale(("n",), "fitted", divisor="width"),
    "dvts": Scale(("n",), "fitted", divisor="width"),
    "mcts": Scale(("simulations",), "open"),
    "puct": Scale(("simulations",), "open"),
    "ab_mcts": Scale(("samples",), "open"),
    "particle": Scale(("n",), "fitted"),
    "rebase": Scale(("n",), "fitted"),
    "tot": Scale(("width", "breadth"), "fitted"),
})  # fmt: skip
"""By strategy. One that is not here runs with its own parameters, and is only bounded."""


def is_scaled(name: str, param: str) -> bool:
    """Whether a budget sets this parameter of a strategy."""
    scale = SCALES.get(guided_name(name))
    return scale is not None and param in scale.parameters


@dataclass(frozen=True, slots=True)
class Plan:
    """A budget in figures, and what each strategy makes of it; recorded beside the traces.

    budget: as on the command line. tokens, seconds: for one problem; one of them is None. prm_weight: what a
    scored token counts, in sampled tokens. greedy: the most tokens that greedy decoding took for a solution
    with an answer; 0 if there is none. values: of the parameters that `SCALES` names, by strategy.
    """

    budget: str
    tokens: int | None
    seconds: float | None
    prm_weight: float
    greedy: int
    values: Mapping[str, int]

    def scaled(self, name: str, strategy: Strategy) -> Strategy:
        """The strategy with its parameter as planned."""
        if name not in self.values:
            return strategy
        parameters = SCALES[guided_name(name)].parameters
        return with_params(strategy, dict.fromkeys(parameters, self.values[name]))

    def bounded(self, name: str, strategy: Strategy) -> Strategy:
        """The scaled strategy as it is run: within the budget, with an answer where it ends."""
        if self.tokens is None:
            return strategy  # the deadline bounds it
        scale = SCALES.get(guided_name(name))
        if scale is not None and scale.how == "pool":
            return Pool(strategy, "best" if guided_name(name) == "best_of_n" else "weighted_vote")
        if isinstance(strategy, StepGuided):
            return Bounded(strategy, self.tokens, min(self.tokens, self.greedy))
        return strategy


@dataclass(frozen=True, slots=True)
class Bounded:
    """A tree search within `tokens`, of which it leaves `kept` for the case that it ends without an answer.

    Its best prefix is then completed greedily; of a solution without an answer, such as one that was cut, all
    steps but the last.
    """

    strategy: Strategy
    tokens: int
    kept: int

    @property
    def aggregate(self) -> Aggregate | None:
        """That of the strategy."""
        return aggregate_of(self.strategy)

    async def __call__(self, tree: Tree) -> Node:
        leaf = tree.root
        with tree.limit(total_tokens=self.tokens - self.kept):
            leaf = await self.strategy(tree)
        if tree.answer(leaf) is None:
            leaf = await tree.best_so_far(self.aggregate)
        if tree.answer(leaf) is not None:
            return leaf
        return await tree.finish(leaf.parent if leaf.parent and leaf.is_terminal else leaf)


@dataclass(frozen=True, slots=True)
class Pool:
    """Best-of-N or a weighted vote with the largest N that the limits pay for, scores included."""

    strategy: Strategy
    choice: Choice

    @property
    def aggregate(self) -> Aggregate | None:
        """That of the strategy."""
        return aggregate_of(self.strategy)

    async def __call__(self, tree: Tree) -> Node:
        given, solutions = params(self.strategy), list[Node]()
        try:
            for _ in range(given["n"]):
                solutions += await tree.complete([tree.root], temperature=given["temperature"])
                if tree.answer(solutions[-1]) is not None:
                    await tree.score(solutions[-1:])
        except LimitReached:
            pass
        if scored := [node for node in solutions if node.score is not None]:
            return await tree.choose(scored, self.choice, given["aggregate"])
        return await tree.choose(solutions, "vote") if solutions else await tree.best_so_far(self.aggregate)


Measure = Callable[[Strategy], Awaitable[float]]
"""The mean cost of a strategy on some problems, in the unit of the budget."""


async def scaled_value(
    name: str, strategy: Strategy, amount: float, *, in_tokens: bool, measure: Measure
) -> int | None:
    """The value of the parameter by which the budget scales a strategy; None if there is no such parameter.

    amount: the budget, in tokens or seconds.
    """
    scale = SCALES.get(guided_name(name))
    if scale is None:
        return None
    if scale.how == "open" or (scale.how == "pool" and in_tokens):
        return max(1, math.ceil(amount / LEAST_TOKENS)) if in_tokens else MOST_TRIES
    unit: int = 1 if scale.divisor is None else params(strategy)[scale.divisor]

    async def cost(multiple: int) -> float:
        changed: dict[str, Any] = dict.fromkeys(scale.parameters, multiple * unit)
        return await measure(with_params(strategy, changed))

    return unit * await largest(cost, amount)


async def largest(cost: Callable[[int], Awaitable[float]], amount: float) -> int:
    """The largest value from 1 on whose cost is at most `amount`, for a cost that grows; at least 1."""
    low, high = 1, 2
    while high <= MOST_TRIES and await cost(high) <= amount:
        low, high = high, 2 * high
    high = min(high, MOST_TRIES + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if await cost(middle) <= amount else (low, middle)
    return low


def recorded_plan(out: Path, budget: Budget, weight: float) -> Plan | None:
    """The plan of the run in a folder, None if there is none. Raises UsageError if it is another budget's."""
    path = out / FILE
    if not path.exists():
        return None
    try:
        plan = Plan(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: not the plan of a run: {error}") from error
    if plan.budget != budget.text:
        raise UsageError(f"{out} is a run with --budget {plan.budget}, not {budget.text}")
    if plan.prm_weight != weight:
        raise UsageError(f"{out} is a run in which a PRM token counts {plan.prm_weight:g}, not {weight:g}")
    return plan
