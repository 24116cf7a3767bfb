"""Tune a policy: from a `TuneRequest` to a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from prm.command_line import command_line
from prm.reading.layout import Layout
from prm.reading.local import local_base
from prm.reading.zoo import RewardModel
from prm.training.adapter import save_adapter
from prm.training.card import Picture, write_card
from prm.training.data import guard_for
from prm.training.folder import claimed
from prm.training.question import chat_question
from prm.training.rewards import Curve, draw_rewards
from prm.tuning.data import Example, TuningData, read_data, sft_columns
from prm.tuning.request import RUN, TuneRequest
from prm.tuning.tokens import Messages, prompt_for, shown
from search.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TRL = "trl==1.16.0"
"""The release whose trainers are used here, as in pyproject.toml."""


def tune(request: TuneRequest) -> None:
    """Tune, and write the checkpoint, its card and its plots to `request.out`.

    Raises UsageError before anything is written, and KeyboardInterrupt once a signal has stopped the
    training and its state is saved.
    """
    check_installed()
    request.validate()
    from prm.scoring.model import load_tokenizer

    base = local_base(request.base)
    tokenizer = load_tokenizer(RewardModel(base, base, Layout(), None, base))
    prompt = prompt_for(base, tokenizer, request.question_template)
    data = read_data(request, Messages.of(tokenizer, prompt), guard_for(request.held_out))
    model = _load(request, base)
    generates_with_cache = model.config.use_cache  # the trainer turns it off

    from prm.training.trainer import StopOnSignal, last_checkpoint
    from prm.tuning.trainers import trainer_for

    stop = StopOnSignal()
    trainer = trainer_for(request, model, tokenizer, data, stop)
    first, out = trainer.is_world_process_zero(), request.out
    if first:
        _announce(data, tokenizer)
        out.mkdir(parents=True, exist_ok=True)
    run = {**request.settings(), "question": _template(prompt.template, prompt.chat, tokenizer)}
    with claimed(out / RUN, run) if first else nullcontext():
        checkpoint = last_checkpoint(out / "checkpoints") if request.resume else None
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if stop.requested:
            if first:
                print(f"stopped at step {trainer.state.global_step}, nothing is lost: continue with --resume")
            raise KeyboardInterrupt
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # every process takes part
        if first:
            model.config.use_cache = generates_with_cache
            _save(request, trainer, state)
            tokenizer.save_pretrained(out)
            _write_card(request, data, trainer.state.log_history)
            print(f"written: {out}")


def check_installed() -> None:
    """Raise UsageError, with what to install, if TRL or peft is missing."""
    if missing := [name for name in ("trl", "peft", "accelerate") if find_spec(name) is None]:
        raise UsageError(f"tuning needs {' and '.join(missing)}: pip install 'prm-search[tune]' ({TRL})")


def _load(request: TuneRequest, base: str) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    except (OSError, ValueError) as error:
        raise UsageError(f"--base {request.base}: {str(error).strip().splitlines()[0]}") from error


def _template(template: str, is_chat: bool, tokenizer: PreTrainedTokenizerFast) -> str:
    """The text around a question, for searches with the tuned policy and reward models that start from it."""
    return chat_question(tokenizer) if is_chat else template


def _announce(data: TuningData, tokenizer: PreTrainedTokenizerFast) -> None:
    for part in ("train", "validation"):
        counts = ", ".join(f"{n:,} {name}" for name, n in sorted(data.report[part].items()))
        print(f"{part}: {counts or 'nothing'}")
    print(*(note for note in data.notes if note not in data.warnings), sep="\n")
    print(f"what bears loss in the first example:\n{loss_shown(data.first, tokenizer)}")
    for warning in data.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def loss_shown(example: Example, tokenizer: PreTrainedTokenizerFast) -> str:
    """The prompt and the right action of an example, and which of its tokens bear loss, as text."""
    columns = sft_columns(example)
    return shown(tokenizer, columns["input_ids"], columns["labels"])


def _save(request: TuneRequest, trainer: Any, state: dict[str, Any]) -> None:
    """Write a standard checkpoint, with LoRA merged in; also LoRA alone.

    state: the weights, gathered from all processes.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    if request.lora:
        save_adapter(model, request.base, request.out)
        model.merge_and_unload().save_pretrained(request.out)
    else:
        model.save_pretrained(request.out, state_dict=state)


def _write_card(request: TuneRequest, data: TuningData, history: Sequence[Mapping[str, Any]]) -> None:
    pictures = list[Picture]()
    if request.method != "sft":
        unit = "reward, beta log(p / reference)"
        pictures.append(draw_rewards(reward_curves(history), unit, request.out))
    command = command_line("prm.tune", request, options={"held_out": "--hold-out"}, omit=("resume",))
    title = f"a policy tuned by {request.method.upper()}"
    write_card(
        request.out, request.settings(), data.report, history, "\n".join(data.notes), command, title=title,
        pictures=pictures,
    )  # fmt: skip


def reward_curves(history: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """The policy's own rewards of right and wrong actions, in training batches and on held-out pairs.

    A reward is beta log(pi / pi_ref) of a whole action, in nats: 0 for all actions when training begins.
    history: the trainer's log.
    """
    curves = []
    for part, where in (("", "training"), ("eval_", "held out")):
        for side, label, marker in (("chosen", "right", "o"), ("rejected", "wrong", "x")):
            name = f"{part}rewards/{side}"
            rows = [row for row in history if name in row]
            if rows:
                steps, means = [row["step"] for row in rows], [row[name] for row in rows]
                marker = marker if part else ""
                curves.append(Curve(f"{label}, {where}", steps, means, (), side == "chosen", marker))
    return curves
