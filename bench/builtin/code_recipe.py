"""How the code task's models are trained: the stages of `python -m bench.builtin.make_code`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from math import inf
from pathlib import Path
from typing import Any

from transformers import LlamaForCausalLM

from bench.builtin.code_comparison import write_comparison
from bench.builtin.networks import Size, new_policy
from bench.builtin.prm_network import new_prm
from bench.builtin.program_labels import mutated, sampled
from bench.builtin.stages import save
from bench.builtin.tokenizer import build_code_tokenizer
from bench.builtin.training import (
    Labelled,
    batches,
    encode_labels,
    encode_written,
    fit,
    language_loss,
    prm_loss,
    prm_metrics,
    solved,
)
from bench.tasks.builtin_code import PROMPT
from bench.tasks.generated.programs import ProgramProblem, generate_programs
from mutation.label import LabelParams
from prm.data.labels import LabelledSolution, read_labels, write_labels
from prm.reading.head import LABELS
from prm.reading.layout import Layout
from prm.reading.template import Template

LAYOUT = Layout(Template(question=PROMPT.template), aggregate="product", domain="code")
POLICY, BACKBONE = Size(hidden=128, layers=3), Size(hidden=128, layers=4)
BATCH = 2048
"""Tokens per batch, including padding."""
LR = 2.5e-3
POLICY_SOLVES = 0.5
"""The policy's training stops when it solves this share of the validation problems."""
MAX_POLICY_STEPS = 2000
BACKBONE_STEPS = 800
EXAMINED = 200
"""Validation problems on which language models are evaluated during training."""

PROBLEMS, EACH = 1100, 8
"""Training problems that are mutated and sampled, and the number of programs sampled for each."""
MUTATION = LabelParams(most=4)
PROGRAMS = 5000
"""Labelled programs on which each reward model is trained."""
UNSEEN, UNSEEN_MUTATED = 500, 50
"""Validation problems on which reward models are evaluated: by one sampled program each, and by mutants."""
STEP_LENGTH = 3
"""A right angle within 14 tokens, the length of two statements (`bench.builtin.prm_network.STEP_LENGTH`)."""
SAMPLES = 60
"""Programs on which the backbone of the reward models is measured."""
EPOCHS = 2
PRM_LR = 2e-3


def policy(work: Path, out: Path) -> None:
    """Train the policy: a small model, stopped when it solves half of the problems."""
    log = work / "policy.jsonl"
    model = _language_model(POLICY, 0, log, MAX_POLICY_STEPS, every=25, solves=POLICY_SOLVES)
    save(model, out / "code-policy", build_code_tokenizer())


def backbone(work: Path, out: Path) -> None:
    """Train the backbone of the reward models: deeper than the policy, and trained for longer."""
    model = _language_model(BACKBONE, 1, work / "backbone.jsonl", BACKBONE_STEPS, every=100)
    save(model, work / "backbone", build_code_tokenizer())


def mutants(work: Path, out: Path) -> None:
    """Mutate and reword the references of training and validation problems; label them by their tests."""
    for name, split, seed, n, rewordings in (
        ("mutation", "train", 100, PROBLEMS, False), ("reworded", "train", 100, PROBLEMS, True),
        ("unseen-reworded", "validation", 2, UNSEEN_MUTATED, True),
    ):  # fmt: skip
        problems, params = generate_programs(split, seed, n), replace(MUTATION, rewordings=rewordings)
        write_labels(work / f"labels-{name}.jsonl", mutated(problems, split, work / f"tried-{split}", params))


def samples(work: Path, out: Path) -> None:
    """Sample programs of the same training problems, and of validation problems, from the policy."""
    for name, split, seed, n, each in (
        ("own", "train", 100, PROBLEMS, EACH), ("unseen-own", "validation", 2, UNSEEN, 1)
    ):  # fmt: skip
        problems = generate_programs(split, seed, n)
        write_labels(work / f"labels-{name}.jsonl", sampled(out / "code-policy", problems, split, each))


def mutation(work: Path, out: Path) -> None:
    """Train a reward model on mutants alone."""
    _train(work, "mutation", {"mutation": PROGRAMS}, out / "code-prm")


def reworded(work: Path, out: Path) -> None:
    """Train a reward model on mutants and rewordings, which have the same behaviour as the reference."""
    _train(work, "reworded", {"reworded": PROGRAMS}, work / "reworded")


def own(work: Path, out: Path) -> None:
    """Train a reward model on the policy's programs alone."""
    _train(work, "own", {"own": PROGRAMS}, work / "own")


def mix(work: Path, out: Path) -> None:
    """Train a reward model on half mutants, half programs of the policy."""
    _train(work, "mix", {"mutation": PROGRAMS // 2, "own": PROGRAMS // 2}, work / "mix")


def compare(work: Path, out: Path) -> None:
    """Measure the reward models on unseen programs, and strategies that use them on the test split."""
    prms = {"mutation": str(out / "code-prm"), "own": str(work / "own"), "mix": str(work / "mix")}
    write_comparison(work, out / "code-policy", prms | {"tests": "tests"})


STAGES = {
    stage.__name__: stage
    for stage in (policy, backbone, mutants, samples, mutation, own, mix, reworded, compare)
}


def _language_model(
    size: Size, seed: int, log: Path, steps: int, *, every: int, solves: float = inf
) -> LlamaForCausalLM:
    """Train on questions with their programs. solves: the share of validation problems at which to stop."""
    model = new_policy(size, seed=seed, tokenizer=build_code_tokenizer())
    fit(
        model,
        language_loss(model),
        batches(_written(seed + 1), BATCH, 0),
        steps=steps,
        lr=LR,
        decay=0.6,
        log=log,
        evaluate=lambda: _measure(model),
        every=every,
        enough=lambda measured: measured["solved"] >= solves,
    )
    return model


def _written(seed: int) -> Iterator[Labelled]:
    """Unlimited training questions, each with its program."""
    tokenizer = build_code_tokenizer()
    for round_ in count():
        for problem in generate_programs("train", seed * 10**6 + round_, 500):
            yield _encoded(tokenizer, problem)


def _encoded(tokenizer: Any, problem: ProgramProblem) -> Labelled:
    return encode_written(
        tokenizer, PROMPT.fill(problem.question), problem.function.reference.removesuffix("\n")
    )


def _measure(model: LlamaForCausalLM) -> dict[str, float]:
    """`solved` on validation problems."""
    tokenizer = build_code_tokenizer()
    return solved(model, [_encoded(tokenizer, p) for p in generate_programs("validation", 1, EXAMINED)])


def _labelled(work: Path, counts: Mapping[str, int]) -> list[LabelledSolution]:
    """Labelled programs in random order. counts: how many of each kind."""
    rng = random.Random(0)
    programs: list[LabelledSolution] = []
    for kind, n in counts.items():
        programs += rng.sample(list(read_labels(work / f"labels-{kind}.jsonl")), n)
    rng.shuffle(programs)
    return programs


def _train(work: Path, name: str, counts: Mapping[str, int], folder: Path) -> None:
    """Train a new reward model on labelled programs. counts: how many of each kind."""
    tokenizer = build_code_tokenizer()
    written = [_encoded(tokenizer, p).token_ids[:-1] for p in generate_programs("train", 0, SAMPLES)]
    backbone = LlamaForCausalLM.from_pretrained(work / "backbone")
    model = new_prm(backbone, LABELS, written, seed=0, step_length=STEP_LENGTH)
    examples = [encode_labels(tokenizer, LAYOUT, solution) for solution in _labelled(work, counts)]
    unseen = {
        kind: [encode_labels(tokenizer, LAYOUT, s) for s in read_labels(work / f"labels-unseen-{kind}.jsonl")]
        for kind in ("own", "reworded")
    }
    data = [batch for epoch in range(EPOCHS) for batch in batches(examples, BATCH, epoch)]
    fit(
        model,
        prm_loss(model),
        iter(data),
        steps=len(data),
        lr=PRM_LR,
        decay=0.6,
        log=work / f"{name}.jsonl",
        evaluate=lambda: {kind: prm_metrics(model, programs) for kind, programs in unseen.items()},
    )
    save(model, folder, tokenizer, LAYOUT)
