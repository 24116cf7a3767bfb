"""python -m prm.train: train a process or outcome reward model, or the language model under it.

Forms:
  sft       next tokens of worked solutions: what the paper does before it trains a head
  classes3  wrong, neutral, right at the end of each step: a sequence-classification checkpoint
  classes2  the same with two classes; --neutral says what a neutral step is
  soft      two classes, trained on soft labels (the records' `values`)
  tokens    a language model that says "+" or "-" at the end of each step
  outcome   right or wrong, at the end of whole solutions; classes count the same (see --class-weights)
  pairs     one score a solution, from pairs: Bradley-Terry and direct rewards (Eurus)

Problems of the evaluation sets that it knows are refused, and listed. After Ctrl-C, or kill -9, the
same command with --resume goes on and ends with the weights it would have ended with. On several
GPUs: accelerate launch --config_file prm/fsdp.yaml -m prm.train ...
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from prm.data import load_all
from prm.data.guard import Guard
from prm.data.labels import LabelledSolution
from prm.data.pairs import Pair, pairs_of, ultrainteract
from prm.data.rows import read_rows
from prm.reading.encoder import Encoder
from prm.reading.layout import Layout, save_layout
from prm.reading.zoo import RewardModel
from prm.training.card import write_card
from prm.training.examples import Examples, class_weights
from prm.training.options import Run, layout_of, parse
from prm.training.sequences import Example, PairExample
from search import command
from search.errors import UsageError
from search.lock import only_writer


@dataclass(frozen=True, slots=True)
class Data:
    """train, validation: examples or pairs of them. report: counts, for people and the card."""

    train: Sequence[Example] | Sequence[PairExample]
    validation: Sequence[Example] | Sequence[PairExample]
    weights: list[float] | None
    report: dict[str, Any]


def read_data(run: Run, encoder: Encoder, guard: Guard) -> Data:
    """Read, guard, split and encode. Raises UsageError; writes nothing."""
    makers = [
        Examples(encoder, run.form, run.max_length, run.too_long == "cut", run.neutral, run.trees)
        for _ in range(2)
    ]
    if run.form == "pairs":
        parts = _split(run, _guarded_pairs(run, guard), lambda pair: pair.question)
        made: list[Any] = [
            maker.of_pairs((pair, _is_direct(run, pair)) for pair in part) if part else []
            for maker, part in zip(makers, parts, strict=True)
        ]
    else:
        solutions = guard.filter(load_all(run.data))
        parts = _split(run, solutions, lambda solution: solution.question)
        if run.validation:
            parts = (parts[0] + parts[1], list(guard.filter(load_all(run.validation))))
        made = [maker.of(part) if part else [] for maker, part in zip(makers, parts, strict=True)]
    train, validation = made
    if not train:
        raise UsageError("nothing is left to train on: all records were dropped")
    classes = {"classes3": 3, "classes2": 2, "outcome": 2}.get(run.form)
    weights = class_weights(train, classes) if run.balanced and classes else None
    report = {
        "train": dict(makers[0].counts), "validation": dict(makers[1].counts), "split_guard": guard.report(),
        "class_weights": weights,
    }
    return Data(train, validation, weights, report)


def _guarded_pairs(run: Run, guard: Guard) -> Iterator[Pair]:
    """Pairs of data sets of pairs (`pairs:FILE`), and of solutions whose outcomes are known."""
    solutions = [spec for spec in run.data if not spec.startswith("pairs:")]
    for spec in run.data:
        if spec.startswith("pairs:"):
            for pair in ultrainteract(spec.removeprefix("pairs:")):
                probe = LabelledSolution(pair.question, ("",), (0,), pair.source, "train", "pairs")
                if list(guard.filter([probe])):
                    yield pair
    yield from pairs_of(guard.filter(load_all(solutions)))


def _is_direct(run: Run, pair: Pair) -> bool:
    return "all" in run.direct or any(pair.source.startswith(name) for name in run.direct)


def _split(run: Run, items: Iterable[Any], question: Any) -> tuple[list[Any], list[Any]]:
    """Training and validation part, by problem, so that no problem is in both."""
    share = 0.0 if run.validation else run.validation_share
    train, validation = [], []
    for item in items:
        if is_for_validation(question(item), share):
            validation.append(item)
        elif _draw("share", question(item)) < run.share:
            train.append(item)
    return train, validation


def is_for_validation(question: str, share: float) -> bool:
    """Whether a problem is among those that are not trained on but validated with, whatever else there is."""
    return _draw("validation", question) < share


def _draw(purpose: str, question: str) -> float:
    """A number in [0, 1) that depends on the problem alone."""
    digest = blake2b(f"{purpose} {question}".encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") / 2**64)


def train(run: Run, out: Path, *, resume: bool) -> None:
    """Train, and write the checkpoint, its layout, card and loss plot to `out`. Raises UsageError."""
    from prm.scoring.model import load_tokenizer

    _check_sharding(run)
    _check_out(run, out, resume)
    layout = layout_of(run)
    tokenizer = load_tokenizer(RewardModel(run.base, run.base, layout, None, run.base))
    encoder = Encoder(layout, tokenizer)
    guard = Guard.known()
    for item in run.held_out:
        name, _, path = item.partition("=")
        guard.add(name, (str(row.fields["problem"]) for row in read_rows(path)))
    data = read_data(run, encoder, guard)
    objective = _objective(run, layout, tokenizer, data.weights)

    from prm.training.trainer import RewardTrainer, last_checkpoint

    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    trainer = RewardTrainer(
        objective, _arguments(run, out, bool(data.validation)), data.train, data.validation, pad=pad,
        patience=run.patience, with_muon=run.optimizer == "muon",
    )
    first = trainer.is_world_process_zero()
    if first:
        print(guard.describe(), _counts(data.report), sep="\n")
        out.mkdir(parents=True, exist_ok=True)
    with _claimed(run, out) if first else nullcontext():
        checkpoint = last_checkpoint(out / "checkpoints") if resume else None
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if trainer.interrupted:
            if first:
                print(f"stopped at step {trainer.state.global_step}, nothing is lost: go on with --resume")
            raise KeyboardInterrupt
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # every process takes part
        if first:
            _save(run, objective, state, out)
            tokenizer.save_pretrained(out)
            if run.form != "sft":
                save_layout(layout, out)
            ran = "python -m prm.train " + shlex.join(sys.argv[1:])
            write_card(out, asdict(run), data.report, trainer.state.log_history, guard.describe(), ran)
            print(f"written: {out}")


@contextmanager
def _claimed(run: Run, out: Path) -> Iterator[None]:
    """With `train.json` in `out`, which no other process has meanwhile. Raises UsageError if one has it."""
    path = out / "train.json"
    with path.open("ab+") as kept:
        only_writer(kept, path)
        if not kept.tell():
            kept.write((json.dumps(asdict(run), indent=2) + "\n").encode())
            kept.flush()
        yield


def _check_sharding(run: Run) -> None:
    """Refuse under FSDP, as `accelerate launch` announces it, what needs whole weights in one process."""
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() != "true":
        return
    if run.lora:
        raise UsageError("--lora does not go with FSDP here: its matrices fit one GPU, or train all weights")
    if run.language:
        raise UsageError("--language does not go with FSDP here: no process holds all embeddings")
    if run.optimizer == "muon":
        raise UsageError("--optimizer muon does not go with FSDP here: no process holds whole matrices")


def _check_out(run: Run, out: Path, resume: bool) -> None:
    kept = out / "train.json"
    if not kept.exists():
        if resume:
            raise UsageError(f"--resume: there is no run in {out}")
        return
    if not kept.stat().st_size:  # killed as it began
        return
    if not resume:
        raise UsageError(f"{out} holds a run already: --resume goes on with it; or name another --out")
    before = json.loads(kept.read_text())
    now = json.loads(json.dumps(asdict(run)))
    if changed := [name for name in now if before.get(name) != now[name]]:
        name = changed[0]
        raise UsageError(f"--resume: the run in {out} has {name}={before.get(name)}, this one {now[name]}")


def _objective(run: Run, layout: Layout, tokenizer: Any, weights: list[float] | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from prm.training import attention
    from prm.training.objectives import Objective, add_dropout

    torch.manual_seed(run.seed)  # the new head
    said = {"dtype": "float32", **({"attn_implementation": attention.NAME} if run.trees else {})}
    try:
        if run.form in ("tokens", "sft"):
            model = AutoModelForCausalLM.from_pretrained(run.base, **said)
        else:
            names = dict(enumerate(layout.labels))
            model = AutoModelForSequenceClassification.from_pretrained(
                run.base, num_labels=len(names), id2label=names,
                label2id={name: i for i, name in names.items()}, ignore_mismatched_sizes=True, **said,
            )
    except (OSError, ValueError) as error:
        raise UsageError(f"--base {run.base}: {str(error).strip().splitlines()[0]}") from error
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    if run.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if run.lora:
        from peft import LoraConfig, get_peft_model

        head = None if run.form in ("tokens", "sft") else ["score"]
        config = LoraConfig(
            r=run.lora, lora_alpha=2 * run.lora, target_modules="all-linear", modules_to_save=head,
            exclude_modules=["score"] if head else ["lm_head"],
        )
        model = get_peft_model(model, config)
    if run.dropout:
        try:
            add_dropout(model, run.dropout)
        except ValueError as error:
            raise UsageError(f"--dropout: {error}") from error
    if run.language and not model.config.tie_word_embeddings:
        raise UsageError(f"--language: {run.base} has an output layer of its own, which a head replaces")
    return Objective(model, run.form, weights, language=run.language, every_token=run.every_token)


def _arguments(run: Run, out: Path, validated: bool) -> Any:
    import torch
    from transformers import TrainingArguments

    best = validated and run.patience is not None
    return TrainingArguments(
        output_dir=str(out / "checkpoints"), per_device_train_batch_size=run.batch,
        per_device_eval_batch_size=run.batch, gradient_accumulation_steps=run.accumulate,
        num_train_epochs=run.epochs, max_steps=run.steps, learning_rate=run.lr,
        weight_decay=run.weight_decay, adam_beta2=run.beta2,
        lr_scheduler_type="cosine", warmup_steps=run.warmup, bf16=run.bf16,
        use_cpu=not torch.cuda.is_available(), seed=run.seed, report_to="none", logging_steps=10,
        eval_strategy="steps" if validated else "no", eval_steps=run.every, save_steps=run.every,
        save_total_limit=2, load_best_model_at_end=best, metric_for_best_model="eval_loss",
        greater_is_better=False, label_names=["targets"], remove_unused_columns=False,
        prediction_loss_only=True, dataloader_pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


def _save(run: Run, objective: Any, state: dict[str, Any], out: Path) -> None:
    """A standard checkpoint; LoRA's matrices are merged into it. state: gathered from every process."""
    if run.lora:
        objective.model.merge_and_unload().save_pretrained(out)
    else:
        own = {name.removeprefix("model."): tensor for name, tensor in state.items()}
        objective.model.save_pretrained(out, state_dict=own)


def _counts(report: dict[str, Any]) -> str:
    lines = []
    for part in ("train", "validation"):
        said = ", ".join(f"{n:,} {what}" for what, n in sorted(report[part].items()))
        lines.append(f"{part}: {said or 'nothing'}")
    return "\n".join(lines)


def main() -> None:
    run, out, resume = parse(sys.argv[1:], __doc__)
    train(run, out, resume=resume)


if __name__ == "__main__":
    command.run(main)
