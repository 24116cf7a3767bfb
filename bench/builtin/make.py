"""python -m bench.builtin.make: train the built-in policy and reward models from nothing.

Stages, each kept in --work and not repeated: `policy` trains a small Llama on worked solutions and
stops when it solves half of the problems; `backbone` trains a deeper one, for longer.
`labels` samples the policy's own solutions and labels every step by the exact checker. `prm` trains a
3-class head on the backbone, and all below it; searches with the result for what it still gets wrong;
and trains again. `weak` does the same from the policy's own weights: a judge that knows no more than
what it judges. `card` measures all of it on unseen problems and writes the model card.
"""

from __future__ import annotations

import argparse
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from bench.builtin.card import write_card
from bench.builtin.networks import Size, new_judge, new_policy
from bench.builtin.problems import PROMPT, generate
from bench.builtin.sampling import sampled, searched
from bench.builtin.tokenizer import build_tokenizer
from bench.builtin.training import (
    IGNORED,
    batches,
    encode_labels,
    encode_solution,
    fit,
    judge_metrics,
    solutions,
)
from prm.labels import read_labels, write_labels
from prm.layout import LABELS, Layout, save_layout

HERE = Path(__file__).parent
CHAT_TEMPLATE = "{{ 'Question: ' + messages[-1]['content'] + '\\n' }}"
"""`PROMPT`, as Jinja has it."""
LAYOUT = Layout(question=PROMPT)

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

SOLUTIONS = 16_000
"""Of the policy, labelled for the first round."""
SEARCHED = 2000
"""Problems searched for the second round; each gives several paths."""
EXAMINED = 300
"""Validation problems that the language models' training is watched on."""
UNSEEN = 500
"""Validation problems whose solutions the reward models' training is watched on."""
PRM_LR = 1e-3
PRM_BATCH = 4096


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.builtin.make", description=__doc__)
    parser.add_argument(
        "--work",
        metavar="DIR",
        type=Path,
        default=Path("runs/builtin"),
        help="checkpoints, labels and logs (default runs/builtin)",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=HERE, help="where the models go (default: this package)"
    )
    parser.add_argument("--stage", choices=STAGES, help="this one alone (default: all that are not done)")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    for name in [asked.stage] if asked.stage else STAGES:
        done = asked.work / f"{name}.done"
        if done.exists() and not asked.stage:
            print(f"{name}: done before, kept in {asked.work}")
            continue
        STAGES[name](asked.work, asked.out)
        done.touch()


def policy(work: Path, out: Path) -> None:
    """The policy: a small model, stopped when it solves half of the problems."""
    model = new_policy(POLICY, seed=0)
    fit(
        model,
        batches(solutions(1, WARMUP), BATCH, 0),
        steps=MOST_POLICY_STEPS,
        lr=LR,
        decay=0.6,
        log=work / "policy.jsonl",
        evaluate=lambda: _measure(model),
        enough=lambda measured: measured["solved"] >= POLICY_SOLVES,
    )
    model.save_pretrained(work / "policy")
    _ship(model, out / "policy")


def backbone(work: Path, out: Path) -> None:
    """What the reward model starts from: deeper than the policy, and trained for longer."""
    model = new_policy(JUDGE, seed=1)
    fit(
        model,
        batches(solutions(2, WARMUP), BATCH, 0),
        steps=JUDGE_STEPS,
        lr=LR,
        decay=0.6,
        log=work / "backbone.jsonl",
        evaluate=lambda: _measure(model),
    )
    _ship(model, out / "backbone")


def labels(work: Path, out: Path) -> None:
    """The policy's own solutions, of problems of the training and the validation split, labelled."""
    for name, split, seed, n in (("train", "train", 100, SOLUTIONS), ("unseen", "validation", 2, UNSEEN)):
        problems = list(generate(split, seed, n))
        write_labels(work / f"labels-{name}.jsonl", sampled(out / "policy", problems, split))


def prm(work: Path, out: Path) -> None:
    """The reward model: once over the policy's solutions; then over where that search goes wrong, too."""
    model = new_judge(LlamaForCausalLM.from_pretrained(out / "backbone"), LABELS)
    _train_prm(model, [work / "labels-train.jsonl"], work, "prm-1")
    _ship(model, work / "prm-1", LAYOUT)
    problems = list(generate("train", 200, SEARCHED))
    found = searched(out / "policy", work / "prm-1", problems, "train")
    write_labels(work / "labels-searched.jsonl", found)
    files = [work / "labels-train.jsonl", work / "labels-searched.jsonl"]
    _train_prm(model, files, work, "prm-2")
    _ship(model, out / "prm", LAYOUT)


def weak(work: Path, out: Path) -> None:
    """The reward model that knows no more than the policy: its own weights, the same labels."""
    model = new_judge(LlamaForCausalLM.from_pretrained(work / "policy"), LABELS)
    files = [work / "labels-train.jsonl", work / "labels-searched.jsonl"]
    _train_prm(model, files, work, "prm-weak")
    _ship(model, out / "prm-weak", LAYOUT)


def card(work: Path, out: Path) -> None:
    """What all of them can do on unseen problems, as a page, numbers and a picture."""
    write_card(work, out)


STAGES = {"policy": policy, "backbone": backbone, "labels": labels, "prm": prm, "weak": weak, "card": card}


def _train_prm(
    model: LlamaForSequenceClassification, files: Sequence[Path], work: Path, name: str
) -> None:
    """One pass over the labels, in random order."""
    tokenizer = build_tokenizer()
    examples = [encode_labels(tokenizer, LAYOUT, s) for file in files for s in read_labels(file)]
    random.Random(0).shuffle(examples)
    unseen = [encode_labels(tokenizer, LAYOUT, s) for s in read_labels(work / "labels-unseen.jsonl")]
    data = list(batches(examples, PRM_BATCH, 0))

    def measure() -> dict[str, float]:
        found = judge_metrics(model, unseen)
        return {f"negative_{m}": found[m]["negative"] for m in ("precision", "recall")}

    fit(
        model,
        iter(data),
        steps=len(data),
        lr=PRM_LR,
        decay=0.5,
        log=work / f"{name}.jsonl",
        evaluate=measure,
    )


def _measure(model: LlamaForCausalLM) -> dict[str, float]:
    """On validation problems: how often the next token is right, and how often all of a solution's are.

    The latter is what greedy decoding solves in the very words of the worked solution.
    """
    tokenizer = build_tokenizer()
    right = []
    for ids, targets in batches(
        (encode_solution(tokenizer, problem) for problem in generate("validation", 1, EXAMINED)), 8192, 0
    ):
        said = model(input_ids=ids).logits.argmax(-1)
        right += [(s == t)[t != IGNORED] for s, t in zip(said, targets, strict=True)]
    return {
        "token_accuracy": float(torch.cat(right).float().mean()),
        "solved": sum(bool(r.all()) for r in right) / len(right),
    }


def _ship(model: Any, folder: Path, layout: Layout | None = None) -> None:
    """Save a standard checkpoint in bfloat16, its tokenizer beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    if layout is not None:
        save_layout(layout, folder)
    model.float()


if __name__ == "__main__":
    main()
