"""Train a reward model, or the language model under it: from a `TrainRequest` to a checkpoint."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from prm.command_line import command_line
from prm.pretrained.names import local_base
from prm.reading.encoder import Encoder
from prm.reading.layout import Layout, save_layout
from prm.reading.zoo import RewardModel
from prm.training.card import write_card
from prm.training.data import guard_for, read_data
from prm.training.question import question_template, recorded_template
from prm.training.request import TrainRequest, layout_of
from search.errors import UsageError
from search.lock import only_writer

LOG_EVERY = 10
"""Steps between logged losses; shorter runs log every step."""


def train(request: TrainRequest) -> None:
    """Train, and write the checkpoint, its layout, card and loss plot to `request.out`.

    Raises UsageError before anything is written, and KeyboardInterrupt once a signal has stopped the
    training and its state is saved.
    """
    from prm.scoring.model import load_tokenizer

    request.validate()
    base = local_base(request.base)
    tokenizer = load_tokenizer(RewardModel(base, base, Layout(), None, base))
    question = request.question_template or recorded_template(request.out / "train.json")
    layout = layout_of(request, question or question_template(base, tokenizer))
    guard = guard_for(request)
    data = read_data(request, Encoder(layout, tokenizer), guard)
    objective = build_objective(request, layout, tokenizer, data.weights)

    from prm.training.trainer import RewardTrainer, last_checkpoint

    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    trainer = RewardTrainer(
        objective, _arguments(request, len(data.train), bool(data.validation)), data.train, data.validation,
        pad=pad, patience=request.patience, with_muon=request.optimizer == "muon",
    )  # fmt: skip
    out = request.out
    first = trainer.is_world_process_zero()
    if first:
        print(guard.describe(), _counts(data.report), sep="\n")
        if data.left_out:
            print(data.left_out.describe())
        for warning in data.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        out.mkdir(parents=True, exist_ok=True)
    with _claimed(request, layout) if first else nullcontext():
        checkpoint = last_checkpoint(out / "checkpoints") if request.resume else None
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if trainer.interrupted:
            if first:
                print(f"stopped at step {trainer.state.global_step}, nothing is lost: continue with --resume")
            raise KeyboardInterrupt
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # every process takes part
        if first:
            _save(request, objective, state)
            tokenizer.save_pretrained(out)
            if request.form != "sft":
                save_layout(replace(layout, domain=data.domain), out)
            command = command_line("prm.train", request, options={"held_out": "--hold-out"}, omit=("resume",))
            history = trainer.state.log_history
            notes = [guard.describe(), *([data.left_out.describe()] if data.left_out else []), *data.warnings]
            settings = {**request.settings(), "question_template": layout.template.question}
            write_card(out, settings, data.report, history, "\n".join(notes), command)
            print(f"written: {out}")


@contextmanager
def _claimed(request: TrainRequest, layout: Layout) -> Iterator[None]:
    """Lock `train.json` in the folder of the run, and fill it in if it is new.

    It holds the settings, and the question's template as it was chosen.

    Raises UsageError if another process holds the lock.
    """
    path = request.out / "train.json"
    with path.open("ab+") as file:
        only_writer(file, path)
        if not file.tell():
            settings = {**request.settings(), "question": layout.template.question}
            file.write((json.dumps(settings, indent=2) + "\n").encode())
            file.flush()
        yield


def build_objective(
    request: TrainRequest, layout: Layout, tokenizer: Any, weights: list[float] | None
) -> Any:
    """The model to train and its loss. Raises UsageError if the base model does not fit the request."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from prm.training import attention
    from prm.training.objectives import Objective, add_dropout

    torch.manual_seed(request.seed)  # the new head
    base = local_base(request.base)
    options = {"dtype": "float32", **({"attn_implementation": attention.NAME} if request.trees else {})}
    try:
        if request.form in ("tokens", "sft"):
            model = AutoModelForCausalLM.from_pretrained(base, **options)
        else:
            names = dict(enumerate(layout.head.labels))
            model = AutoModelForSequenceClassification.from_pretrained(
                base, num_labels=len(names), id2label=names,
                label2id={name: i for i, name in names.items()}, ignore_mismatched_sizes=True, **options,
            )  # fmt: skip
    except (OSError, ValueError) as error:
        raise UsageError(f"--base {request.base}: {str(error).strip().splitlines()[0]}") from error
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    if request.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if request.lora:
        from peft import LoraConfig, get_peft_model

        head = None if request.form in ("tokens", "sft") else ["score"]
        config = LoraConfig(
            r=request.lora, lora_alpha=2 * request.lora, target_modules="all-linear", modules_to_save=head,
            exclude_modules=["score"] if head else ["lm_head"],
        )  # fmt: skip
        model = get_peft_model(model, config)
    if request.dropout:
        try:
            add_dropout(model, request.dropout)
        except ValueError as error:
            raise UsageError(f"--dropout: {error}") from error
    if request.language and not model.config.tie_word_embeddings:
        raise UsageError(
            f"--language needs a base model with tied embeddings: {request.base} has a separate output "
            "layer, which the new head replaces"
        )
    return Objective(model, request.form, weights, language=request.language, every_token=request.every_token)


def _arguments(request: TrainRequest, examples: int, validated: bool) -> Any:
    import torch
    from transformers import TrainingArguments

    per_step = request.batch * request.accumulate
    steps = request.steps if request.steps > 0 else request.epochs * examples / per_step
    best = validated and request.patience is not None
    return TrainingArguments(
        output_dir=str(request.out / "checkpoints"), per_device_train_batch_size=request.batch,
        per_device_eval_batch_size=request.batch, gradient_accumulation_steps=request.accumulate,
        num_train_epochs=request.epochs, max_steps=request.steps, learning_rate=request.lr,
        weight_decay=request.weight_decay, adam_beta2=request.beta2,
        lr_scheduler_type="cosine", warmup_steps=request.warmup, bf16=request.bf16,
        use_cpu=not torch.cuda.is_available(), seed=request.seed, report_to="none",
        logging_steps=LOG_EVERY if steps >= 2 * LOG_EVERY else 1,
        eval_strategy="steps" if validated else "no", eval_steps=request.every, save_steps=request.every,
        save_total_limit=2, load_best_model_at_end=best, metric_for_best_model="eval_loss",
        greater_is_better=False, label_names=["targets"], remove_unused_columns=False,
        prediction_loss_only=True, dataloader_pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


def _save(request: TrainRequest, objective: Any, state: dict[str, Any]) -> None:
    """Write a standard checkpoint, with LoRA merged in. state: the weights, gathered from all processes."""
    if request.lora:
        objective.model.merge_and_unload().save_pretrained(request.out)
    else:
        own = {name.removeprefix("model."): tensor for name, tensor in state.items()}
        objective.model.save_pretrained(request.out, state_dict=own)


def _counts(report: dict[str, Any]) -> str:
    lines = []
    for part in ("train", "validation"):
        counts = ", ".join(f"{n:,} {name}" for name, n in sorted(report[part].items()))
        lines.append(f"{part}: {counts or 'nothing'}")
    return "\n".join(lines)
