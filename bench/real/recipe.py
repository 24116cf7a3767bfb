"""SmolLM2 on GSM8K: the stages of `python -m bench.real.make`, each kept in a folder of its own.

The policy is tuned on worked solutions. Its own solutions of the shortest of these problems, and whether
their answers are right, train a reward model for whole solutions on its weights (Cobbe et al. 2021,
arXiv:2110.14168, section 4).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from bench.experiments.adapters import check_replaceable, ship
from bench.experiments.stages import claim
from bench.report.recorded import read_trace
from bench.report.sides import Graders
from bench.runner.finished import finished
from bench.runner.request import RunRequest
from bench.runner.specs import PolicySpec
from prm.data.labels import LabelledSolution, write_labels
from prm.data.rows import Row, json_lines
from prm.training.examples import Form
from prm.training.request import RUN, TrainRequest
from prm.training.train import train
from search.errors import UsageError
from search.limits import LengthLimits
from search.params import make_strategy

HERE = Path(__file__).resolve().parent
BASE, TASK = "smollm2", "gsm8k"
TEMPLATE = "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
"""SmolLM2's chat template without its system turn, which would be a fifth of all tokens."""
VOTE = "self_consistency"
CARD = "README.md"
"""Written last by a training."""
POLICY, ORM = "policy", "orm"
"""The models: a policy, and a reward model on its weights."""
BUNDLED_POLICY = "smollm2-gsm8k"
"""The name of the policy whose adapter is in `HERE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything.

    worked: worked solutions that the policy is tuned on, the shortest ones. sampled: the shortest problems,
        which it then samples solutions of. samples: of each.
    top_layers, lora, bf16: see `TrainRequest`. batch: sequences in a step. max_length: tokens.
    epochs, lr: of the policy. orm_epochs, orm_lr, orm_lora: of the reward model.
    """

    worked: int
    sampled: int
    samples: int
    top_layers: int
    lora: int
    bf16: bool
    batch: int
    max_length: int
    epochs: float
    lr: float
    orm_epochs: float
    orm_lr: float
    orm_lora: int


SIZES = {
    "cpu": Sizes(
        worked=1500, sampled=150, samples=8, top_layers=15, lora=16, bf16=False, batch=8, max_length=192,
        epochs=2, lr=1e-3, orm_epochs=2, orm_lr=2e-4, orm_lora=3,
    ),
    "gpu": Sizes(
        worked=7473, sampled=2000, samples=32, top_layers=0, lora=64, bf16=True, batch=32, max_length=640,
        epochs=3, lr=5e-4, orm_epochs=2, orm_lr=2e-4, orm_lora=64,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RealRequest:
    """data: GSM8K's train.jsonl. work: the folder of the stages; what it holds whole is not made again.

    out: where the adapters are written, None leaves them in `work`. engine: that samples; None is vLLM if it
    is installed.
    """

    data: Path
    sizes: Sizes
    work: Path
    out: Path | None = None
    engine: str | None = None


def run(request: RealRequest) -> None:
    """Run the stages that are not done yet. Raises UsageError before it spends."""
    if not request.data.is_file():
        raise UsageError(f"--data {request.data}: give GSM8K's train.jsonl")
    if request.out is not None:
        if request.out.resolve() == request.work.resolve():
            raise UsageError(f"--out {request.out} is the folder of the stages: give another one")
        for name in (POLICY, ORM):
            check_replaceable(request.out / name)
    rows = by_length(request.data)
    digest = sha256(request.data.read_bytes()).hexdigest()
    claim(request.work, {"data": digest, **asdict(request.sizes)})
    sizes, work = request.sizes, request.work
    worked = _written(work / "worked.jsonl", rows[: sizes.worked])
    asked = _written(work / "asked.jsonl", rows[: sizes.sampled])
    policy = _trained(request, POLICY, "sft", BASE, f"worked:{worked}")
    labels = _sampled(request, policy, asked)
    _trained(request, ORM, "outcome", str(policy), f"labels:{labels}")
    if request.out is not None:
        tuned = request.out / POLICY
        ship(work / POLICY / "adapter", tuned, BASE)
        base = BUNDLED_POLICY if request.out.resolve() == HERE else str(tuned.resolve())
        ship(work / ORM / "adapter", request.out / ORM, base)


def by_length(path: Path) -> list[Row]:
    """The rows of GSM8K's training set, those with the shortest texts first. Raises UsageError."""

    def length(row: Row) -> int:
        return len(row.text("question")) + len(re.sub(r"<<.*?>>", "", row.text("answer")))

    return sorted(json_lines(path), key=length)


def values_of_samples(trace: Path) -> Iterator[LabelledSolution]:
    """The distinct sampled solutions of a trace. Each step is labelled by whether the answer is right.

    Unfinished ones are wrong. Problems that were always solved, or never, are left out: they teach how hard a
    problem is, not which of its solutions is right.
    """
    run = read_trace(trace)
    graders = Graders(run)
    for name, tree in run.trees.items():
        problem, reader = graders.examples[name].problem, graders.solutions(tree)
        found = dict[tuple[str, ...], bool]()
        for leaf in sorted((sample.leaf for sample in tree.samples), key=lambda leaf: leaf.address):
            steps = tuple(step.text.strip("\n") for step in leaf.steps if step.text.strip())
            if steps:
                found.setdefault(steps, graders.grade(name, reader.answer(leaf)))
        for steps, right in found.items() if len(set(found.values())) == 2 else ():
            labels = (1 if right else -1,) * len(steps)
            yield LabelledSolution(problem.question, steps, labels, TASK, "train", "answers", outcome=right)


def _written(path: Path, rows: Sequence[Row]) -> Path:
    """A file of the rows, in their original order."""
    lines = (json.dumps(row.fields) + "\n" for row in sorted(rows, key=lambda row: row.number))
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _trained(request: RealRequest, name: str, form: Form, base: str, data: str) -> Path:
    """A model with LoRA merged in; its adapter is in the folder `adapter`."""
    out, sizes = request.work / name, request.sizes
    is_policy = form == "sft"
    if not _is_done(request, out / CARD):
        train(
            TrainRequest(
                form=form, base=base, data=(data,), out=out, resume=(out / RUN).exists(),
                question_template=TEMPLATE, class_weights="auto" if is_policy else "balanced",
                validation_share=0.02 if is_policy else 0.1,
                epochs=sizes.epochs if is_policy else sizes.orm_epochs, batch=sizes.batch,
                max_length=sizes.max_length, lr=sizes.lr if is_policy else sizes.orm_lr, bf16=sizes.bf16,
                lora=sizes.lora if is_policy else sizes.orm_lora, top_layers=sizes.top_layers, every=100,
            )
        )  # fmt: skip
    return out


def _sampled(request: RealRequest, policy: Path, problems: Path) -> Path:
    """The policy's solutions of training problems, labelled by their answers."""
    labels = request.work / "labels.jsonl"
    if not _is_done(request, labels):
        out = request.work / "samples"
        vote = make_strategy(VOTE, {"n": str(request.sizes.samples)})
        run = RunRequest(
            strategies={VOTE: vote}, task=TASK, data=problems, prm=None, out=out, resume=out.is_dir(),
            lengths=LengthLimits(64, request.sizes.max_length),
            policy=PolicySpec(name=str(policy), engine=request.engine),
        ).validate()  # fmt: skip
        asyncio.run(finished(run))
        write_labels(labels, list(values_of_samples(out / f"{VOTE}.jsonl")))
    return labels


def _is_done(request: RealRequest, file: Path) -> bool:
    done = file.exists()
    print(f"{file.relative_to(request.work)}: {'already done' if done else 'begins or continues'}")
    return done
