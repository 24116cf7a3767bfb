"""The policies and reward models that the study compares, trained in `bench.builtin.make`'s way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench.builtin import make
from bench.builtin.networks import new_policy
from bench.builtin.prm_network import freeze
from bench.builtin.sampling import labelled, sampled
from bench.builtin.tokenizer import build_tokenizer
from bench.builtin.training import (
    IGNORED,
    Labelled,
    batches,
    encode_labels,
    fit,
    judge_metrics,
    language_loss,
    solutions,
)
from bench.runner.checkpoints import BUILTIN
from bench.runner.rollouts import TRAINING_SEED
from bench.tasks.generated.problems import WordProblem, generate
from prm.data.labels import LabelledSolution, read_labels, until_first_error, write_labels

EARLY_SOLVES, LATE_SOLVES = 0.2, 0.8
"""Shares of validation problems at which the training of these policies stops."""
LATE_LR, LATE_STEPS = 1.5e-3, 1750
"""What is left of the learning rate, and of the schedule, where the shipped policy's training stopped."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything. *_steps: of training.

    problems: of the test split, in each cell. exercise_steps: of a judge, on made-up mistakes.
    solutions: the policy's own, of training problems, that judges then learn from, once; rollouts: of
    each of their prefixes. tried: problems on which numbers of rollouts are compared. labelled: solutions
    that the judge on the early policy learns from after its exercise.
    """

    problems: int = 300
    solutions: int = 1000
    rollouts: int = 4
    tried: int = 60
    exercise_steps: int = 500
    labelled: int = 2000
    validation: int = 500
    early_steps: int = make.MOST_POLICY_STEPS
    late_steps: int = LATE_STEPS

    def at_most(self, n: int) -> Sizes:
        """For a trial: nothing more than `n`."""
        return Sizes(**{name: min(value, n) for name, value in self.as_dict().items()})

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def early(work: Path, sizes: Sizes) -> None:
    """The shipped policy's training once more, stopped earlier."""
    model = new_policy(make.POLICY, seed=0)
    _train_policy(
        model, solutions(1, make.WARMUP), work, "early", sizes.early_steps, make.LR, 0.6, EARLY_SOLVES
    )


def late(work: Path, sizes: Sizes) -> None:
    """The shipped policy, trained on."""
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(BUILTIN / "policy", attn_implementation="eager").float()
    _train_policy(model, solutions(5, 1), work, "late", sizes.late_steps, LATE_LR, 1.0, LATE_SOLVES)


def _train_policy(
    model: Any, data: Iterator[Labelled], work: Path, name: str, steps: int, lr: float, decay: float,
    solves: float,
) -> None:
    fit(
        model, language_loss(model), batches(data, make.BATCH, 0), steps=steps, lr=lr, decay=decay,
        log=work / f"{name}.jsonl", evaluate=lambda: make.measure(model),
        enough=lambda measured: measured["solved"] >= solves,
    )
    make.ship(model, work / name)


def labels(work: Path, sizes: Sizes) -> None:
    """The shipped policy's solutions, labelled by the exact checker, as `bench.builtin.make` has them."""
    for name, split, seed, n in (
        ("train", "train", 100, sizes.labelled), ("unseen", "validation", 2, sizes.validation)
    ):  # fmt: skip
        if not (path := work / f"labels-{name}.jsonl").exists():
            write_labels(path, sampled(BUILTIN / "policy", list(generate(split, seed, n)), split))


def judge_on_early(work: Path, sizes: Sizes) -> None:
    """A judge on the early policy's weights: the exercise, and a round over checked solutions."""
    model = make.exercised(work / "early", work, "exercised-early", sizes.exercise_steps)
    checked = list(read_labels(work / "labels-train.jsonl"))[: sizes.labelled]
    make.train(model, checked, work, "prm-early")
    make.ship(model, work / "prm-early", make.LAYOUT)


Supervision = Callable[[WordProblem, LabelledSolution], Labelled]
"""What a judge is to learn from one solution; rollouts labelled its steps, and its outcome is known."""


def by_checker(problem: WordProblem, solution: LabelledSolution) -> Labelled:
    """Every step's label, exactly, up to the first error."""
    return _encoded(labelled(problem, solution.steps, "train"))


def by_rollouts(problem: WordProblem, solution: LabelledSolution) -> Labelled:
    """Every step's hard label (right if any rollout is), up to the first step that is wrong by it."""
    steps, marks = until_first_error(solution.steps, solution.labels)
    return _encoded(replace(solution, steps=steps, labels=marks, values=()))


def by_outcome(problem: WordProblem, solution: LabelledSolution) -> Labelled:
    """At the end of the whole solution, whether its answer is right; nothing before (an ORM's label)."""
    marks = (1 if solution.outcome else -1,) * len(solution.steps)
    every = _encoded(replace(solution, labels=marks, values=()))
    return Labelled(every.token_ids, [*[IGNORED] * (len(every.targets) - 1), every.targets[-1]])


UNLABELLED = "none"
"""The judge that has seen made-up mistakes alone."""

SUPERVISIONS: Mapping[str, Supervision] = {
    "hard": by_checker,
    "rollouts": by_rollouts,
    "outcome": by_outcome,
}


_tokenizer = cache(build_tokenizer)


def done(folder: Path) -> bool:
    """Whether a checkpoint was saved in full."""
    return (folder / "tokenizer_config.json").exists()


def _encoded(solution: LabelledSolution) -> Labelled:
    return encode_labels(_tokenizer(), make.LAYOUT, solution)


def exercised(work: Path, sizes: Sizes) -> None:
    """What all judges on the shipped backbone begin with: made-up mistakes, and no label of the policy's."""
    make.exercised(BUILTIN / "backbone", work, f"prm-{UNLABELLED}", sizes.exercise_steps)


def train_judge(name: str, work: Path, sizes: Sizes) -> None:
    """That judge, after the solutions that rollouts were made of."""
    from transformers import LlamaForSequenceClassification

    problems = {p.question: p for p in generate("train", TRAINING_SEED, sizes.solutions)}
    whole = [s for s in read_labels(work / "labels-rollouts.jsonl") if s.outcome is not None]
    examples = [SUPERVISIONS[name](problems[s.question], s) for s in whole]
    model = LlamaForSequenceClassification.from_pretrained(work / f"prm-{UNLABELLED}").float()
    freeze(model)
    make.learn(model, examples, work, f"prm-{name}")
    make.ship(model, work / f"prm-{name}", make.LAYOUT)


def measured(prm: Path, solutions: Sequence[LabelledSolution], path: Path) -> dict[str, Any]:
    """How a judge's labels of these solutions' steps compare with theirs; kept in `path`."""
    from transformers import LlamaForSequenceClassification

    if not path.exists():
        model = LlamaForSequenceClassification.from_pretrained(prm).float().eval()
        found = judge_metrics(model, [_encoded(solution) for solution in solutions])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found) + "\n")
    return dict(json.loads(path.read_text()))
