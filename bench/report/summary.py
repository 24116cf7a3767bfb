"""The results of one strategy on one task."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import ceil
from typing import Any

from bench.report.stats import Paired, mcnemar, wilson
from search.engine import Outcome
from search.limits import Cost, Events


class Ending(StrEnum):
    """How a problem's chosen solution ends."""

    ANSWERED = "answered"
    WITHOUT_ANSWER = "without_answer"
    """The model ended the solution, and no answer was found in it."""
    UNFINISHED = "unfinished"
    """The solution was cut at a limit or repeated itself, or there is none."""
    FAILED = "failed"
    """The problem failed with an error."""


@dataclass(frozen=True, slots=True)
class Graded:
    """A problem's outcome and whether its answer is right; a failed problem is wrong. group: see Example.

    fallback: whether the solution states no answer, and its last mathematics or number was graded.
    turns: of an episode, whether the answer was right after each of its turns.
    """

    outcome: Outcome
    correct: bool
    group: str = ""
    fallback: bool = False
    turns: tuple[bool, ...] = ()

    def right_at(self, turn: int) -> bool:
        """Whether the answer was right after so many turns, from 1; after the last one it stays as it is."""
        return bool(self.turns) and self.turns[min(turn, len(self.turns)) - 1]

    @property
    def ending(self) -> Ending:
        if self.outcome.error is not None:
            return Ending.FAILED
        if not self.outcome.finished:
            return Ending.UNFINISHED
        return Ending.WITHOUT_ANSWER if self.outcome.answer is None else Ending.ANSWERED

    def as_json(self) -> dict[str, Any]:
        """What the JSON output says of one problem."""
        outcome = self.outcome
        return {
            "id": outcome.problem.id, "correct": self.correct, "answer": outcome.answer,
            "fallback": self.fallback,
            "ending": self.ending.value, "error": outcome.error, "group": self.group,
            "policy_tokens": outcome.cost.policy_tokens, "prm_tokens": outcome.cost.prm_tokens,
            "samples": outcome.cost.samples, "backtracks": outcome.events.backtracks,
            "failed_candidates": outcome.events.failed, "hit_limit": outcome.events.exhausted > 0,
            "late": outcome.events.late > 0,
            "seconds": round(outcome.seconds, 3),
            **({"turns": list(self.turns)} if self.turns else {}),
        }  # fmt: skip


def right_by_turn(graded: Sequence[Graded]) -> list[int]:
    """How many answers of episodes are right after 1, 2, ... turns; [] for solutions of steps.

    As in MINT (Wang et al. 2023, arXiv:2309.10691): an episode that has ended keeps its answer.
    """
    most = max((len(g.turns) for g in graded), default=0)
    return [sum(g.right_at(turn) for g in graded) for turn in range(1, most + 1)]


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a strategy was given for one problem: tokens or seconds.

    text: as on the command line. prm_weight: what a reward-model token counts, in policy tokens.
    """

    text: str
    tokens: int | None
    seconds: float | None
    prm_weight: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The results of one strategy on one task.

    params: the strategy's. policy, prm: their names. revision: of this code.
    seconds: wall-clock time of this process, without loading the models. allowance: its budget, if any.
    """

    strategy: str
    params: dict[str, Any]
    task: str
    seed: int
    policy: str
    prm: str | None
    revision: str
    seconds: float
    graded: Sequence[Graded]
    allowance: Allowance | None = None

    @property
    def used(self) -> float | None:
        """The share of its budget that the strategy used, on average over problems; None without one."""
        given, n = self.allowance, max(1, len(self.graded))
        if given is None:
            return None
        if given.tokens is not None:
            return self.cost.total_tokens / n / given.tokens
        return sum(g.outcome.seconds for g in self.graded) / n / (given.seconds or 1.0)

    @property
    def cost(self) -> Cost:
        return sum((g.outcome.cost for g in self.graded), Cost())

    @property
    def events(self) -> Events:
        return sum((g.outcome.events for g in self.graded), Events())

    @property
    def correct(self) -> int:
        return sum(g.correct for g in self.graded)

    @property
    def right_by_turn(self) -> list[int]:
        """How many problems of episodes are right after 1, 2, ... turns; [] for solutions of steps."""
        return right_by_turn(self.graded)

    @property
    def failed(self) -> list[Outcome]:
        return [g.outcome for g in self.graded if g.outcome.error is not None]

    def against(self, baseline: Summary) -> Paired:
        """The paired comparison with `baseline`, which has the same problems."""
        theirs = {g.outcome.problem.id: g.correct for g in baseline.graded}
        return mcnemar([g.correct for g in self.graded], [theirs[g.outcome.problem.id] for g in self.graded])

    def as_json(self, baseline: Summary | None = None) -> dict[str, Any]:
        """All results as one JSON object. Counts of tokens and calls are totals over the problems.

        "exhausted" counts the problems whose search reached one of its limits, "errors" the problems that
        failed, which count as wrong. "problems" has one object per problem. baseline: adds the paired
        comparison with it, as "versus".
        """
        cost, events, n = self.cost, self.events, len(self.graded)
        endings = Counter(g.ending for g in self.graded)
        groups: dict[str, list[bool]] = defaultdict(list)
        for g in self.graded:
            groups[g.group].append(g.correct)
        by_turn = [
            {"turn": turn, "correct": right, "accuracy": right / n, "ci95": wilson(right, n)}
            for turn, right in enumerate(self.right_by_turn, start=1)
        ]
        result: dict[str, Any] = {
            "strategy": self.strategy,
            "knobs": self.params,
            "task": self.task,
            "n": n,
            "correct": self.correct,
            "accuracy": self.correct / max(1, n),
            "ci95": wilson(self.correct, n),
            "policy_tokens": cost.policy_tokens,
            "policy_tokens_discarded": cost.policy_tokens_discarded,
            "prm_tokens": cost.prm_tokens,
            "prm_tokens_cached": cost.prm_tokens_cached,
            "samples": cost.samples,
            "judgements": cost.scores,
            "backtracks": events.backtracks,
            "duplicates": events.duplicates,
            "exhausted": sum(g.outcome.events.exhausted > 0 for g in self.graded),
            "errors": len(self.failed),
            "seconds": round(self.seconds, 2),
            "seed": self.seed,
            "policy": self.policy,
            "prm": self.prm,
            "revision": self.revision,
            "prompt_tokens": cost.prompt_tokens,
            "prompt_tokens_cached": cost.prompt_tokens_cached,
            "replayed": events.replayed,
            **{ending.value: endings[ending] for ending in Ending if ending is not Ending.FAILED},
            "fallback": sum(g.fallback for g in self.graded),
            "failed_candidates": events.failed,
            "repetitions": events.repetitions,
            "late": events.late,
            **({} if self.allowance is None else {"budget": {**asdict(self.allowance), "used": self.used}}),
            **({"total_tokens": cost.total_tokens} if cost.total_tokens else {}),
            **({"success_at_turn": by_turn} if by_turn else {}),
            "by_group": {
                name: {"n": len(right), "accuracy": sum(right) / len(right)}
                for name in sorted(groups, key=natural) if name and (right := groups[name])
            },
        }
        result["problems"] = [g.as_json() for g in self.graded]
        if baseline is not None and baseline is not self:
            paired = self.against(baseline)
            ratio = cost.policy_tokens / max(1, baseline.cost.policy_tokens)
            result["versus"] = {
                "strategy": baseline.strategy, **asdict(paired), "policy_token_ratio": round(ratio, 3),
            }
        return result


def matched(search: Summary, sampled: Summary) -> int:
    """The least N for which N sampled solutions cost at least as many policy tokens as the search.

    sampled: a run with one sampled solution per problem.
    """
    return max(1, ceil(search.cost.policy_tokens / max(1, sampled.cost.policy_tokens)))


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts "10 steps" after "2 steps"."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
