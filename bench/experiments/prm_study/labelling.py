"""Labels from rollouts of the bundled policy, compared with the exact checker's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.experiments.prm_study.cells import RememberingPolicy
from bench.experiments.prm_study.models import Sizes
from bench.runner import rollouts
from bench.runner.models import NoScorer, load_policy
from bench.runner.resolve import resolve_policy
from bench.runner.rollouts import TRAINING_SEED
from bench.runner.specs import PolicySpec
from bench.tasks.base import Example
from bench.tasks.builtin import Builtin
from bench.tasks.generated.checker import label_steps
from bench.tasks.generated.problems import generate
from prm.data.estimation import Bisect, Estimate
from prm.data.labels import LabelledSolution, write_labels
from search.trace import Trace

TRIED = (1, 2, 4, 8)
"""Numbers of rollouts per prefix for which labels are compared with the checker's."""
SEARCHES = 4
"""Binary searches of `Bisect` per problem."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Labels by rollouts compared with the checker's. A step counts as wrong if it or any step before it is.

    agreed: share of the labels that agree. wrong_found: share of the wrong steps that are labelled wrong.
    right_kept: share of the right steps that are labelled right.
    """

    how: str
    rollouts_a_prefix: int
    labels: int
    agreed: float
    wrong_found: float
    right_kept: float
    rollouts: int
    policy_tokens: int


def compare(how: str, width: int, made: rollouts.Labelled, n_problems: int) -> Agreement:
    """The agreement of all labels of a run on the first `n_problems` training problems.

    how, width: the method and its number of rollouts per prefix, for the table.
    """
    by_question = {p.question: p for p in generate("train", TRAINING_SEED, n_problems)}
    pairs: list[tuple[bool, bool]] = []
    for solution in made.solutions:
        exact = label_steps(by_question[solution.question], solution.steps)
        pairs += [(min(exact[: i + 1]) >= 0, solution.labels[i] > 0) for i in solution.counted]
    wrong = [label for truth, label in pairs if not truth]
    right = [label for truth, label in pairs if truth]
    return Agreement(
        how, width, len(pairs), sum(truth == label for truth, label in pairs) / max(1, len(pairs)),
        wrong.count(False) / max(1, len(wrong)), right.count(True) / max(1, len(right)),
        made.rollouts, made.cost.policy_tokens,
    )  # fmt: skip


async def label(work: Path, sizes: Sizes) -> None:
    """Write `labels-rollouts.jsonl`, on which three reward models are trained, and `agreement.json`."""
    task = Builtin()
    examples = rollouts.read_examples(task, None, sizes.solutions)
    problems = {example.problem.id: example.problem for example in examples}
    tried = examples[: sizes.tried]

    def right(id_: str, answer: str | None) -> bool:
        return task.grade(problems[id_], answer).correct

    async def labelled(on: Sequence[Example], how: Estimate | Bisect, trace: Trace) -> rollouts.Labelled:
        return await rollouts.label(on, task, how, policy, NoScorer(), trace=trace, seed=0)

    resolved = resolve_policy(PolicySpec(), task, list(problems.values()))
    identity = {"rollouts": sizes.rollouts, **resolved.identity(), "prm": None, "prm_weights": None}
    rows: list[Agreement] = []
    async with load_policy(resolved) as loaded:
        policy = RememberingPolicy(loaded)
        with closing(Trace(work / "rollouts.trace", identity)) as trace:
            made = await labelled(examples, Estimate(right, 1, sizes.rollouts), trace)
            rows.append(compare("estimate, all", sizes.rollouts, made, sizes.solutions))
            for width in TRIED:
                few = await labelled(tried, Estimate(right, 1, width), Trace())
                rows.append(compare("estimate", width, few, sizes.solutions))
            for width in TRIED[1:]:
                few = await labelled(tried, Bisect(right, SEARCHES, width), Trace())
                rows.append(compare("bisect", width, few, sizes.solutions))
    write_labels(work / "labels-rollouts.jsonl", _finished(made.solutions))
    (work / "agreement.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def _finished(solutions: Sequence[LabelledSolution]) -> list[LabelledSolution]:
    """The solutions that were not cut short and therefore have an outcome."""
    return [solution for solution in solutions if solution.outcome is not None]
