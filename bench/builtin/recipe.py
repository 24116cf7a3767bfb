"""How the built-in policy and reward models are trained: the stages of `python -m bench.builtin.make`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from bench.builtin.card import write_card
from bench.builtin.networks import Size, new_policy
from bench.builtin.prm_network import freeze, new_prm
from bench.builtin.sampling import sampled, searched
from bench.builtin.stages import save
from bench.builtin.tokenizer import build_tokenizer
from bench.builtin.training import (
    Labelled,
    backbone_samples,
    batches,
    encode_labels,
    encode_solution,
    fit,
    language_loss,
    mistakes,
    mixed,
    prm_loss,
    prm_metrics,
    solutions,
    solved,
)
from bench.tasks.generated.problems import PROMPT, generate
from prm.data.labels import LabelledSolution, read_labels, write_labels
from prm.reading.head import LABELS
from prm.reading.layout import Layout
from prm.reading.template import Template

CHAT_TEMPLATE = "{{ 'Question: ' + messages[-1]['content'] + '\\n' }}"
"""`PROMPT` in Jinja."""
LAYOUT = Layout(Template(question=PROMPT), aggregate="product", domain="math")

POLICY, BACKBONE = Size(hidden=128, layers=4), Size(hidden=128, layers=6)
BATCH = 2048
"""Tokens per batch, including padding."""
LR = 2.5e-3
WARMUP = 8000
"""Number of solutions over which their length grows to the full one."""
POLICY_SOLVES = 0.5
"""The policy's training stops when it solves this share of the validation problems."""
MAX_POLICY_STEPS = 5000
BACKBONE_STEPS = 5000

SOLUTIONS = 8000
"""Labelled solutions of the policy; half of them are used in each of two rounds."""
SEARCHED = 300
"""Problems that are searched for the second round; each yields several paths."""
EXERCISE_STEPS = 1500
EXERCISE_LR = 2e-3
EXAMINED = 300
"""Validation problems on which language models are evaluated during training."""
UNSEEN = 500
"""Validation problems on whose solutions reward models are evaluated during training."""
PRM_LR = 1e-3


def policy(work: Path, out: Path) -> None:
    """Train the policy: a small model, stopped when it solves half of the problems."""
    model = new_policy(POLICY, seed=0)
    fit(
        model,
        language_loss(model),
        batches(solutions(1, WARMUP), BATCH, 0),
        steps=MAX_POLICY_STEPS,
        lr=LR,
        decay=0.6,
        log=work / "policy.jsonl",
        evaluate=lambda: measure(model),
        enough=lambda measured: measured["solved"] >= POLICY_SOLVES,
    )
    model.save_pretrained(work / "policy")
    save_checkpoint(model, out / "policy")


def backbone(work: Path, out: Path) -> None:
    """Train the backbone of the reward model: deeper than the policy, and trained for longer."""
    model = new_policy(BACKBONE, seed=1)
    fit(
        model,
        language_loss(model),
        batches(solutions(2, WARMUP), BATCH, 0),
        steps=BACKBONE_STEPS,
        lr=LR,
        decay=0.6,
        log=work / "backbone.jsonl",
        evaluate=lambda: measure(model),
    )
    save_checkpoint(model, out / "backbone")


def labels(work: Path, out: Path) -> None:
    """Sample solutions of training and validation problems from the policy, and label them."""
    for name, split, seed, n in (("train", "train", 100, SOLUTIONS), ("unseen", "validation", 2, UNSEEN)):
        problems = list(generate(split, seed, n))
        write_labels(work / f"labels-{name}.jsonl", sampled(out / "policy", problems, split))


def exercise(work: Path, out: Path) -> None:
    """Train the reward model on synthetic mistakes, before it sees any label."""
    train_on_mistakes(out / "backbone", work, "prm-0", EXERCISE_STEPS)


def prm(work: Path, out: Path) -> None:
    """Train the reward model on the policy's solutions, then also on the paths of searches with it."""
    _two_rounds(work, out, "prm")


def weak(work: Path, out: Path) -> None:
    """Train a reward model that knows no more than the policy, because it is built on its weights."""
    train_on_mistakes(out / "policy", work, "prm-weak-0", EXERCISE_STEPS)
    _two_rounds(work, out, "prm-weak")


def card(work: Path, out: Path) -> None:
    """Measure all models on unseen problems; write the page, the figures and the plot."""
    write_card(work, out)


STAGES = {stage.__name__: stage for stage in (policy, backbone, labels, exercise, prm, weak, card)}


def train_on_mistakes(backbone: Path, work: Path, name: str, steps: int) -> LlamaForSequenceClassification:
    """A new reward model on a backbone, trained on synthetic mistakes. Its checkpoint is `work / name`."""
    model = new_prm(LlamaForCausalLM.from_pretrained(backbone), LABELS, backbone_samples(), seed=0)
    fit(
        model,
        prm_loss(model),
        batches(mistakes(3), BATCH, 0),
        steps=steps,
        lr=EXERCISE_LR,
        decay=0.6,
        log=work / f"{name}.jsonl",
        evaluate=lambda: negative_metrics(model, work),
    )
    save_checkpoint(model, work / name, LAYOUT)
    return model


def _two_rounds(work: Path, out: Path, name: str) -> None:
    """Train on half of the policy's solutions, then on the other half and the paths of searches."""
    model = LlamaForSequenceClassification.from_pretrained(work / f"{name}-0").float()
    freeze(model)
    solutions_ = list(read_labels(work / "labels-train.jsonl"))
    half = len(solutions_) // 2
    train(model, solutions_[:half], work, f"{name}-1")
    save_checkpoint(model, work / f"{name}-1", LAYOUT)
    problems = list(generate("train", 200, SEARCHED))
    paths = searched(out / "policy", work / f"{name}-1", problems, "train")
    write_labels(work / f"labels-{name}-searched.jsonl", paths)
    train(model, [*solutions_[half:], *paths], work, f"{name}-2")
    save_checkpoint(model, out / name, LAYOUT)


def train(
    model: LlamaForSequenceClassification, labelled: Sequence[LabelledSolution], work: Path, name: str
) -> None:
    """Train for one pass over labelled solutions; see `train_on_examples`."""
    tokenizer = build_tokenizer()
    examples = [encode_labels(tokenizer, LAYOUT, solution) for solution in labelled]
    train_on_examples(model, examples, work, name)


def train_on_examples(
    model: LlamaForSequenceClassification, examples: Sequence[Labelled], work: Path, name: str
) -> None:
    """Train on each example once, and on as many synthetic mistakes, so that they are not forgotten."""
    data = list(batches(mixed(examples, mistakes(4), 0), BATCH, 0))
    fit(
        model,
        prm_loss(model),
        iter(data),
        steps=len(data),
        lr=PRM_LR,
        decay=1.0,
        log=work / f"{name}.jsonl",
        evaluate=lambda: negative_metrics(model, work),
    )


def negative_metrics(model: LlamaForSequenceClassification, work: Path) -> dict[str, float]:
    """Precision and recall on the wrong steps of the policy's solutions of validation problems."""
    tokenizer = build_tokenizer()
    unseen = [encode_labels(tokenizer, LAYOUT, s) for s in read_labels(work / "labels-unseen.jsonl")]
    metrics = prm_metrics(model, unseen)
    return {f"negative_{m}": metrics[m]["negative"] for m in ("precision", "recall")}


def measure(model: LlamaForCausalLM) -> dict[str, float]:
    """`solved` on validation problems."""
    tokenizer = build_tokenizer()
    problems = generate("validation", 1, EXAMINED)
    return solved(model, [encode_solution(tokenizer, problem) for problem in problems])


def save_checkpoint(model: Any, folder: Path, layout: Layout | None = None) -> None:
    """Save a checkpoint with the tokenizer of this task."""
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    save(model, folder, tokenizer, layout)
