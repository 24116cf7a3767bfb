"""python -m bench.builtin.make_code: train the code task's policy and reward models, and compare them.

Stages, each kept in --work and not repeated: `policy` trains a small Llama on questions with their programs
and stops when it solves half of the validation problems; `backbone` trains a deeper one, for longer.
`mutants` labels changed references by their tests, `samples` the policy's own programs. `mutation`, `own`,
`mix` and `reworded` each put a 3-class judge on the backbone, which stays as it is, and train it on as many
labelled programs: mutants alone, the policy's alone, half of each, mutants and rewordings. `compare` says
how well they judge, and decodes with the first three. The policy and the first judge go to --out.
"""

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
from bench.builtin.prm_network import new_judge
from bench.builtin.program_labels import mutated, sampled
from bench.builtin.stages import run_stages, save
from bench.builtin.tokenizer import build_code_tokenizer
from bench.builtin.training import (
    Labelled,
    batches,
    encode_labels,
    encode_written,
    fit,
    judge_loss,
    judge_metrics,
    language_loss,
    solved,
)
from bench.tasks.builtin_code import PROMPT
from bench.tasks.generated.programs import ProgramProblem, generate_programs
from mutation.label import LabelParams
from prm.data.labels import LabelledSolution, read_labels, write_labels
from prm.reading.head import LABELS
from prm.reading.layout import Layout
from prm.reading.template import Template

LAYOUT = Layout(Template(question=PROMPT.template))
POLICY, JUDGE = Size(hidden=128, layers=3), Size(hidden=128, layers=4)
BATCH = 2048
"""Tokens of a batch, padding included."""
LR = 2.5e-3
POLICY_SOLVES = 0.5
"""Share of validation problems at which the policy's training stops."""
MOST_POLICY_STEPS = 2000
JUDGE_STEPS = 800
EXAMINED = 200
"""Validation problems that the language models' training is watched on."""

PROBLEMS, EACH = 1100, 8
"""Training problems that are mutated and sampled; programs that the policy writes for each."""
MUTATION = LabelParams(most=4)
PROGRAMS = 5000
"""Labelled ones, that each reward model is trained on."""
UNSEEN, UNSEEN_MUTATED = 500, 50
"""Validation problems that reward models are measured on: one program of the policy's for each; mutants."""
STEP_LENGTH = 3
"""A right angle in 14 tokens, two statements' length (`bench.builtin.prm_network`)."""
READ = 60
"""Solutions that the judges' backbone is measured on."""
EPOCHS = 2
PRM_LR = 2e-3


def main() -> None:
    run_stages("python -m bench.builtin.make_code", __doc__, STAGES, Path("runs/builtin-code"))


def policy(work: Path, out: Path) -> None:
    """The policy: a small model, stopped when it solves half of the problems."""
    log = work / "policy.jsonl"
    model = _language_model(POLICY, 0, log, MOST_POLICY_STEPS, every=25, solves=POLICY_SOLVES)
    save(model, out / "code-policy", build_code_tokenizer())


def backbone(work: Path, out: Path) -> None:
    """What the reward models stand on: deeper than the policy, and trained for longer."""
    model = _language_model(JUDGE, 1, work / "backbone.jsonl", JUDGE_STEPS, every=100)
    save(model, work / "backbone", build_code_tokenizer())


def mutants(work: Path, out: Path) -> None:
    """References of training and of validation problems, changed and reworded, labelled by their tests."""
    for name, split, seed, n, rewordings in (
        ("mutation", "train", 100, PROBLEMS, False), ("reworded", "train", 100, PROBLEMS, True),
        ("unseen-reworded", "validation", 2, UNSEEN_MUTATED, True),
    ):  # fmt: skip
        problems, params = generate_programs(split, seed, n), replace(MUTATION, rewordings=rewordings)
        write_labels(work / f"labels-{name}.jsonl", mutated(problems, split, work / f"tried-{split}", params))


def samples(work: Path, out: Path) -> None:
    """The policy's own programs: for the same training problems, and for validation problems."""
    for name, split, seed, n, each in (
        ("own", "train", 100, PROBLEMS, EACH), ("unseen-own", "validation", 2, UNSEEN, 1)
    ):  # fmt: skip
        problems = generate_programs(split, seed, n)
        write_labels(work / f"labels-{name}.jsonl", sampled(out / "code-policy", problems, split, each))


def mutation(work: Path, out: Path) -> None:
    """The reward model that has seen no program of the policy's."""
    _train(work, "mutation", {"mutation": PROGRAMS}, out / "code-prm")


def reworded(work: Path, out: Path) -> None:
    """The same, with programs among them that mean what the reference does, in other words."""
    _train(work, "reworded", {"reworded": PROGRAMS}, work / "reworded")


def own(work: Path, out: Path) -> None:
    """The reward model that has seen no mutant."""
    _train(work, "own", {"own": PROGRAMS}, work / "own")


def mix(work: Path, out: Path) -> None:
    """Half and half."""
    _train(work, "mix", {"mutation": PROGRAMS // 2, "own": PROGRAMS // 2}, work / "mix")


def compare(work: Path, out: Path) -> None:
    """How well the reward models judge unseen programs; strategies with them, on the test split."""
    judges = {"mutation": str(out / "code-prm"), "own": str(work / "own"), "mix": str(work / "mix")}
    write_comparison(work, out / "code-policy", judges | {"tests": "tests"})


STAGES = {
    stage.__name__: stage
    for stage in (policy, backbone, mutants, samples, mutation, own, mix, reworded, compare)
}


def _language_model(
    size: Size, seed: int, log: Path, steps: int, *, every: int, solves: float = inf
) -> LlamaForCausalLM:
    """Trained on questions with their programs, until it `solves` so large a share of validation problems."""
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
    """Endless training questions, each with its program."""
    tokenizer = build_code_tokenizer()
    for round_ in count():
        for problem in generate_programs("train", seed * 10**6 + round_, 500):
            yield _encoded(tokenizer, problem)


def _encoded(tokenizer: Any, problem: ProgramProblem) -> Labelled:
    return encode_written(
        tokenizer, PROMPT.fill(problem.question), problem.function.reference.removesuffix("\n")
    )


def _measure(model: LlamaForCausalLM) -> dict[str, float]:
    """`solved`, of validation problems."""
    tokenizer = build_code_tokenizer()
    return solved(model, [_encoded(tokenizer, p) for p in generate_programs("validation", 1, EXAMINED)])


def _labelled(work: Path, wanted: Mapping[str, int]) -> list[LabelledSolution]:
    """As many labelled programs of each kind as wanted, in random order."""
    rng = random.Random(0)
    kept: list[LabelledSolution] = []
    for kind, n in wanted.items():
        kept += rng.sample(list(read_labels(work / f"labels-{kind}.jsonl")), n)
    rng.shuffle(kept)
    return kept


def _train(work: Path, name: str, wanted: Mapping[str, int], folder: Path) -> None:
    """A judge, from as many labelled programs of each kind as wanted."""
    tokenizer = build_code_tokenizer()
    read = [_encoded(tokenizer, p).token_ids[:-1] for p in generate_programs("train", 0, READ)]
    backbone = LlamaForCausalLM.from_pretrained(work / "backbone")
    model = new_judge(backbone, LABELS, read, seed=0, step_length=STEP_LENGTH)
    examples = [encode_labels(tokenizer, LAYOUT, solution) for solution in _labelled(work, wanted)]
    unseen = {
        kind: [encode_labels(tokenizer, LAYOUT, s) for s in read_labels(work / f"labels-unseen-{kind}.jsonl")]
        for kind in ("own", "reworded")
    }
    data = [batch for epoch in range(EPOCHS) for batch in batches(examples, BATCH, epoch)]
    fit(
        model,
        judge_loss(model),
        iter(data),
        steps=len(data),
        lr=PRM_LR,
        decay=0.6,
        log=work / f"{name}.jsonl",
        evaluate=lambda: {kind: judge_metrics(model, those) for kind, those in unseen.items()},
    )
    save(model, folder, tokenizer, LAYOUT)


if __name__ == "__main__":
    main()
