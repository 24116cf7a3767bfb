"""Train a reward model, or the language model under it: from a `TrainRequest` to a checkpoint."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from prm.command_line import command_line
from prm.reading.encoder import Encoder
from prm.reading.layout import Layout, save_layout
from prm.reading.local import local_base
from prm.reading.zoo import RewardModel
from prm.training.adapter import save_adapter
from prm.training.arguments import arguments, on_one_gpu
from prm.training.card import Picture, write_card
from prm.training.data import guard_for, read_data
from prm.training.folder import claimed
from prm.training.question import question_template, recorded_template
from prm.training.request import RUN, TrainRequest, layout_of
from prm.training.rewards import draw_rewards, held_out_rewards
from search.errors import UsageError


def train(request: TrainRequest) -> None:
    """Train, and write the checkpoint, its layout, card and loss plot to `request.out`.

    Raises UsageError before anything is written, and KeyboardInterrupt once a signal has stopped the
    training and its state is saved.
    """
    from prm.scoring.model import load_tokenizer

    request.validate()
    base = local_base(request.base)
    tokenizer = load_tokenizer(RewardModel(base, base, Layout(), None, base))
    question = request.question_template or recorded_template(request.out / RUN)
    layout = layout_of(request, question or question_template(base, tokenizer))
    guard = guard_for(request.held_out)
    data = read_data(request, Encoder(layout, tokenizer), guard)
    objective = build_objective(request, layout, tokenizer, data.weights)

    from prm.training.trainer import RewardTrainer, last_checkpoint

    checkpoint = last_checkpoint(request.out / "checkpoints") if request.resume else None
    options = _arguments(request, len(data.train), bool(data.validation), is_new=checkpoint is None)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    trainer = RewardTrainer(
        objective, options, data.train, data.validation, pad=pad, patience=request.patience,
        with_muon=request.optimizer == "muon",
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
    run = {**request.settings(), "question": layout.template.question}
    with claimed(out / RUN, run) if first else nullcontext():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if trainer.interrupted:
            if first:
                print(f"stopped at step {trainer.state.global_step}, nothing is lost: continue with --resume")
            raise KeyboardInterrupt
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # every process takes part
        if first:
            if request.form != "sft":
                save_layout(replace(layout, domain=data.domain), out)
            _save(request, objective, state)
            tokenizer.save_pretrained(out)
            command = command_line("prm.train", request, options={"held_out": "--hold-out"}, omit=("resume",))
            history = trainer.state.log_history
            notes = [guard.describe(), *([data.left_out.describe()] if data.left_out else []), *data.warnings]
            settings = {**request.settings(), "question_template": layout.template.question}
            title, pictures = f"a reward model, form {request.form}", list[Picture]()
            if request.form == "pairs" and data.validation:
                pictures.append(draw_rewards(held_out_rewards(history), "reward", out))
            write_card(
                out, settings, data.report, history, "\n".join(notes), command, title=title, pictures=pictures
            )
            print(f"written: {out}")


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
    if request.trees:
        _check_windows(request, model.config)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    if request.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    trunk = _trunk(request, model) if request.top_layers else None
    if request.lora:
        model = _with_lora(request, model)
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
    return Objective(
        model, request.form, weights, language=request.language, every_token=request.every_token,
        direct_only=request.direct_only, trunk=trunk,
    )  # fmt: skip


def _check_windows(request: TrainRequest, config: Any) -> None:
    """Raise UsageError if a block attends to a part of its path only, which a tree's mask does not say."""
    config = config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    if window and "sliding_attention" in kinds and window < request.max_length:
        raise UsageError(
            f"--trees does not work with {request.base}, which attends to {window:,} tokens, where sequences "
            f"have up to {request.max_length:,}: leave it out"
        )


def _trunk(request: TrainRequest, model: Any) -> Any:
    """The model cut below the blocks that are trained; what is below is frozen. Raises UsageError."""
    from prm.training.trunk import Trunk, freeze_below

    try:
        trunk = Trunk(model.model, request.top_layers)
    except (AttributeError, ValueError) as error:
        raise UsageError(f"--top-layers {request.top_layers}: {error}") from error
    freeze_below(model, request.top_layers)
    return trunk


def _with_lora(request: TrainRequest, model: Any) -> Any:
    """The model with LoRA in the blocks that are trained; a head is trained whole."""
    from peft import LoraConfig, get_peft_model

    head = None if request.form in ("tokens", "sft") else ["score"]
    targets: str | list[str] = "all-linear"
    if request.top_layers:
        from torch.nn import Linear

        blocks = [f"model.layers.{i}" for i in range(model.config.num_hidden_layers)][-request.top_layers :]
        targets = [
            f"{block}.{name}"
            for block in blocks
            for name, module in model.get_submodule(block).named_modules()
            if isinstance(module, Linear)
        ]
    config = LoraConfig(
        r=request.lora, lora_alpha=2 * request.lora, target_modules=targets, modules_to_save=head,
        exclude_modules=["score"] if head else ["lm_head"],
    )  # fmt: skip
    return get_peft_model(model, config)


def _arguments(request: TrainRequest, examples: int, validated: bool, *, is_new: bool) -> Any:
    """transformers' options. is_new: whether the run begins, rather than continues."""
    from transformers import TrainingArguments

    is_pairs = request.form == "pairs"
    return on_one_gpu(TrainingArguments(
        **arguments(request, examples, validated), learning_rate=request.lr, adam_beta2=request.beta2,
        load_best_model_at_end=validated and request.patience is not None,
        metric_for_best_model="eval_loss", greater_is_better=False, remove_unused_columns=False,
        label_names=["direct" if is_pairs else "targets"], prediction_loss_only=not is_pairs,
        eval_on_start=is_pairs and validated and is_new,
    ))  # fmt: skip


def _save(request: TrainRequest, objective: Any, state: dict[str, Any]) -> None:
    """Write a standard checkpoint, with LoRA merged in; also LoRA alone.

    state: the weights, gathered from all processes.
    """
    if request.lora:
        save_adapter(objective.model, request.base, request.out)
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
