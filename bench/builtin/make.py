"""python -m bench.builtin.make: train the built-in policy and reward models from nothing.

Stages, each kept in --work and not repeated: `policy` trains a small Llama on worked solutions and
stops when it solves half of the problems; `backbone` trains a deeper one, for longer.
`labels` samples the policy's own solutions and labels every step by the exact checker. `exercise` puts a
3-class judge on the backbone, which stays as it is, and trains it on mistakes that are made up; `prm`
trains it on half of the labels, searches with the result for what it still gets wrong, and trains it on
that and the other half. `weak` does all of this on the policy's own weights: a judge that knows no more
than what it judges. `card` measures everything on unseen problems and writes the model card.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from bench.builtin.card import write_card
from bench.builtin.networks import Size, new_policy
from bench.builtin.prm_network import freeze, new_judge
from bench.builtin.sampling import sampled, searched
from bench.builtin.stages import run_stages, save
from bench.builtin.tokenizer import build_tokenizer
from bench.builtin.training import (
    Labelled,
    batches,
    encode_labels,
    encode_solution,
    fit,
    judge_loss,
    judge_metrics,
    language_loss,
    mistakes,
    mixed,
    read_before,
    solutions,
    solved,
)
from bench.tasks.generated.problems import PROMPT, generate
from prm.data.labels import LabelledSolution, read_labels, write_labels
from prm.reading.head import LABELS
from prm.reading.layout import Layout
from prm.reading.template import Template

CHAT_TEMPLATE = "{{ 'Question: ' + messages[-1]['content'] + '\\n' }}"
"""`PROMPT`, as Jinja has it."""
LAYOUT = Layout(Template(question=PROMPT))

POLICY, JUDGE = Size(hidden=128, layers=4), Size(hidden=128, layers=6)
BATCH = 2048
"""Tokens of a batch, padding included."""
LR = 2.5e-3
WARMUP = 8000
"""Solutions until the longest are among them."""
POLICY_SOLVES = 0.5
"""Share of validation problems at which the policy's training stops."""
MOST_POLICY_STEPS = 5000
JUDGE_STEPS = 5000

SOLUTIONS = 8000
"""Of the policy, labelled: half of them for each of two rounds."""
SEARCHED = 300
"""Problems searched for the second round; each gives several paths."""
EXERCISE_STEPS = 1500
EXERCISE_LR = 2e-3
EXAMINED = 300
"""Validation problems that the language models' training is watched on."""
UNSEEN = 500
"""Validation problems whose solutions the reward models' training is watched on."""
PRM_LR = 1e-3


def main() -> None:
    run_stages("python -m bench.builtin.make", __doc__, STAGES, Path("runs/builtin"))


def policy(work: Path, out: Path) -> None:
    """The policy: a small model, stopped when it solves half of the problems."""
    model = new_policy(POLICY, seed=0)
    fit(
        model,
        language_loss(model),
        batches(solutions(1, WARMUP), BATCH, 0),
        steps=MOST_POLICY_STEPS,
        lr=LR,
        decay=0.6,
        log=work / "policy.jsonl",
        evaluate=lambda: measure(model),
        enough=lambda measured: measured["solved"] >= POLICY_SOLVES,
    )
    model.save_pretrained(work / "policy")
    ship(model, out / "policy")


def backbone(work: Path, out: Path) -> None:
    """What the reward model starts from: deeper than the policy, and trained for longer."""
    model = new_policy(JUDGE, seed=1)
    fit(
        model,
        language_loss(model),
        batches(solutions(2, WARMUP), BATCH, 0),
        steps=JUDGE_STEPS,
        lr=LR,
        decay=0.6,
        log=work / "backbone.jsonl",
        evaluate=lambda: measure(model),
    )
    ship(model, out / "backbone")


def labels(work: Path, out: Path) -> None:
    """The policy's own solutions, of problems of the training and the validation split, labelled."""
    for name, split, seed, n in (("train", "train", 100, SOLUTIONS), ("unseen", "validation", 2, UNSEEN)):
        problems = list(generate(split, seed, n))
        write_labels(work / f"labels-{name}.jsonl", sampled(out / "policy", problems, split))


def exercise(work: Path, out: Path) -> None:
    """The reward model before it sees a label: what can be learned from mistakes that are made up."""
    exercised(out / "backbone", work, "prm-0", EXERCISE_STEPS)


def prm(work: Path, out: Path) -> None:
    """The reward model: over the policy's solutions; then over where that search goes wrong, too."""
    _two_rounds(work, out, "prm")


def weak(work: Path, out: Path) -> None:
    """The reward model that knows no more than the policy: its own weights, the same training."""
    exercised(out / "policy", work, "prm-weak-0", EXERCISE_STEPS)
    _two_rounds(work, out, "prm-weak")


def card(work: Path, out: Path) -> None:
    """What all of them can do on unseen problems, as a page, numbers and a picture."""
    write_card(work, out)


STAGES = {stage.__name__: stage for stage in (policy, backbone, labels, exercise, prm, weak, card)}


def exercised(backbone: Path, work: Path, name: str, steps: int) -> LlamaForSequenceClassification:
    """A judge on a backbone, trained on mistakes that are made up; its checkpoint is `work / name`."""
    model = new_judge(LlamaForCausalLM.from_pretrained(backbone), LABELS, read_before(), seed=0)
    fit(
        model,
        judge_loss(model),
        batches(mistakes(3), BATCH, 0),
        steps=steps,
        lr=EXERCISE_LR,
        decay=0.6,
        log=work / f"{name}.jsonl",
        evaluate=lambda: negatives(model, work),
    )
    ship(model, work / name, LAYOUT)
    return model


def _two_rounds(work: Path, out: Path, name: str) -> None:
    """One over half of the policy's labelled solutions, one over the other half and what search found."""
    model = LlamaForSequenceClassification.from_pretrained(work / f"{name}-0").float()
    freeze(model)
    sampled_ = list(read_labels(work / "labels-train.jsonl"))
    half = len(sampled_) // 2
    train(model, sampled_[:half], work, f"{name}-1")
    ship(model, work / f"{name}-1", LAYOUT)
    problems = list(generate("train", 200, SEARCHED))
    found = searched(out / "policy", work / f"{name}-1", problems, "train")
    write_labels(work / f"labels-{name}-searched.jsonl", found)
    train(model, [*sampled_[half:], *found], work, f"{name}-2")
    ship(model, out / name, LAYOUT)


def train(
    model: LlamaForSequenceClassification, labelled: Sequence[LabelledSolution], work: Path, name: str
) -> None:
    """One pass over the labels, as `learn` has them."""
    tokenizer = build_tokenizer()
    learn(model, [encode_labels(tokenizer, LAYOUT, solution) for solution in labelled], work, name)


def learn(
    model: LlamaForSequenceClassification, examples: Sequence[Labelled], work: Path, name: str
) -> None:
    """Each example once, with as many made-up mistakes among them, so that none is forgotten."""
    data = list(batches(mixed(examples, mistakes(4), 0), BATCH, 0))
    fit(
        model,
        judge_loss(model),
        iter(data),
        steps=len(data),
        lr=PRM_LR,
        decay=1.0,
        log=work / f"{name}.jsonl",
        evaluate=lambda: negatives(model, work),
    )


def negatives(model: LlamaForSequenceClassification, work: Path) -> dict[str, float]:
    """How many of the wrong steps of the policy's solutions of validation problems are found."""
    tokenizer = build_tokenizer()
    unseen = [encode_labels(tokenizer, LAYOUT, s) for s in read_labels(work / "labels-unseen.jsonl")]
    found = judge_metrics(model, unseen)
    return {f"negative_{m}": found[m]["negative"] for m in ("precision", "recall")}


def measure(model: LlamaForCausalLM) -> dict[str, float]:
    """`solved`, of validation problems."""
    tokenizer = build_tokenizer()
    problems = generate("validation", 1, EXAMINED)
    return solved(model, [encode_solution(tokenizer, problem) for problem in problems])


def ship(model: Any, folder: Path, layout: Layout | None = None) -> None:
    """`save`, with the tokenizer of this task."""
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    save(model, folder, tokenizer, layout)


if __name__ == "__main__":
    main()
