"""The policies and reward models that the study compares, trained as in `bench.builtin.recipe`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench.builtin import recipe
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
    language_loss,
    prm_metrics,
    solutions,
)
from bench.runner.checkpoints import BUILTIN
from bench.runner.rollouts import TRAINING_SEED
from bench.tasks.generated.problems import WordProblem, generate
from prm.data.labels import LabelledSolution, read_labels, until_first_error, write_labels

EARLY_SOLVES, LATE_SOLVES = 0.2, 0.8
"""The training of these policies stops when they solve this share of the validation problems."""
LATE_LR, LATE_STEPS = 1.5e-3, 1750
"""The learning rate at which the bundled policy's training stopped, and the remaining steps."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of everything.

    problems: test problems per cell. solutions: sampled from the policy on training problems; reward models
    are trained on them for one pass. rollouts: per prefix of these solutions. tried: problems on which
    numbers of rollouts are compared. exercise_steps: training steps of reward models on synthetic mistakes.
    labelled: solutions on which the reward model on the early policy is then trained. validation: labelled
    solutions on which reward models are evaluated during training. early_steps, late_steps: training steps
    of these policies.
    """

    problems: int = 300
    solutions: int = 1000
    rollouts: int = 4
    tried: int = 60
    exercise_steps: int = 500
    labelled: int = 2000
    validation: int = 500
    early_steps: int = recipe.MAX_POLICY_STEPS
    late_steps: int = LATE_STEPS

    def at_most(self, n: int) -> Sizes:
        """The same sizes, but none above `n`, for a trial."""
        return Sizes(**{name: min(value, n) for name, value in self.as_dict().items()})

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def early(work: Path, sizes: Sizes) -> None:
    """Repeat the bundled policy's training, and stop it earlier."""
    model = new_policy(recipe.POLICY, seed=0)
    _train_policy(
        model, solutions(1, recipe.WARMUP), work, "early", sizes.early_steps, recipe.LR, 0.6, EARLY_SOLVES
    )


def late(work: Path, sizes: Sizes) -> None:
    """Continue the bundled policy's training."""
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(BUILTIN / "policy", attn_implementation="eager").float()
    _train_policy(model, solutions(5, 1), work, "late", sizes.late_steps, LATE_LR, 1.0, LATE_SOLVES)


def _train_policy(
    model: Any, data: Iterator[Labelled], work: Path, name: str, steps: int, lr: float, decay: float,
    solves: float,
) -> None:
    fit(
        model, language_loss(model), batches(data, recipe.BATCH, 0), steps=steps, lr=lr, decay=decay,
        log=work / f"{name}.jsonl", evaluate=lambda: recipe.measure(model),
        enough=lambda measured: measured["solved"] >= solves,
    )
    recipe.save_checkpoint(model, work / name)


def labels(work: Path, sizes: Sizes) -> None:
    """Sample and label solutions of the bundled policy, as in `bench.builtin.recipe.labels`."""
    for name, split, seed, n in (
        ("train", "train", 100, sizes.labelled), ("unseen", "validation", 2, sizes.validation)
    ):  # fmt: skip
        if not (path := work / f"labels-{name}.jsonl").exists():
            write_labels(path, sampled(BUILTIN / "policy", list(generate(split, seed, n)), split))


def prm_on_early(work: Path, sizes: Sizes) -> None:
    """Train a reward model on the early policy's weights, on synthetic mistakes and checked solutions."""
    model = recipe.train_on_mistakes(work / "early", work, "exercised-early", sizes.exercise_steps)
    checked = list(read_labels(work / "labels-train.jsonl"))[: sizes.labelled]
    recipe.train(model, checked, work, "prm-early")
    recipe.save_checkpoint(model, work / "prm-early", recipe.LAYOUT)


Supervision = Callable[[WordProblem, LabelledSolution], Labelled]
"""From a problem and a solution, labelled by rollouts and with a known outcome, to a training example."""


def by_checker(problem: WordProblem, solution: LabelledSolution) -> Labelled:
    """The exact label of every step up to the first error."""
    return _encoded(labelled(problem, solution.steps, "train"))


def by_rollouts(problem: WordProblem, solution: LabelledSolution) -> Labelled:
    """Hard labels by rollouts (right if any rollout is right), up to the first wrong step."""
    steps, marks = until_first_error(solution.steps, solution.labels)
    return _encoded(replace(solution, steps=steps, labels=marks, values=()))


def by_outcome(problem: WordProblem, solution: LabelledSolution) -> Labelled:
    """One label at the end of the solution, whether its answer is right, as for an outcome reward model."""
    marks = (1 if solution.outcome else -1,) * len(solution.steps)
    every = _encoded(replace(solution, labels=marks, values=()))
    return Labelled(every.token_ids, [*[IGNORED] * (len(every.targets) - 1), every.targets[-1]])


UNLABELLED = "none"
"""The reward model that is trained on synthetic mistakes alone."""

SUPERVISIONS: Mapping[str, Supervision] = {
    "hard": by_checker,
    "rollouts": by_rollouts,
    "outcome": by_outcome,
}


_tokenizer = cache(build_tokenizer)


def done(folder: Path) -> bool:
    """Whether a complete checkpoint is in the folder."""
    return (folder / "tokenizer_config.json").exists()


def _encoded(solution: LabelledSolution) -> Labelled:
    return encode_labels(_tokenizer(), recipe.LAYOUT, solution)


def train_unlabelled(work: Path, sizes: Sizes) -> None:
    """Train the reward model from which all others on the bundled backbone start, on synthetic mistakes."""
    recipe.train_on_mistakes(BUILTIN / "backbone", work, f"prm-{UNLABELLED}", sizes.exercise_steps)


def train_prm(name: str, work: Path, sizes: Sizes) -> None:
    """Train a reward model on the solutions that rollouts labelled. name: its kind of supervision."""
    from transformers import LlamaForSequenceClassification

    problems = {p.question: p for p in generate("train", TRAINING_SEED, sizes.solutions)}
    whole = [s for s in read_labels(work / "labels-rollouts.jsonl") if s.outcome is not None]
    examples = [SUPERVISIONS[name](problems[s.question], s) for s in whole]
    model = LlamaForSequenceClassification.from_pretrained(work / f"prm-{UNLABELLED}").float()
    freeze(model)
    recipe.train_on_examples(model, examples, work, f"prm-{name}")
    recipe.save_checkpoint(model, work / f"prm-{name}", recipe.LAYOUT)


def step_metrics(prm: Path, solutions: Sequence[LabelledSolution], path: Path) -> dict[str, Any]:
    """Metrics of a reward model on the steps of labelled solutions; read from `path` if it exists."""
    from transformers import LlamaForSequenceClassification

    if not path.exists():
        model = LlamaForSequenceClassification.from_pretrained(prm).float().eval()
        metrics = prm_metrics(model, [_encoded(solution) for solution in solutions])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(metrics) + "\n")
    return dict(json.loads(path.read_text()))
